"""Spherical harmonics as operators of torch, for code that is compiled, exported or traced.

A trace sees ``geomlib::spherical_harmonics``, its gradient and the gradient of that; higher derivatives are plain operations.
Calls that are not traced do not pass through here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps import spherical_harmonics as reference
from geomlib.kernels.dispatch import choose, refuse_forward_mode
from geomlib.kernels.harmonics.cuda import refusal
from geomlib.kernels.harmonics.loops import OPERATION
from geomlib.kernels.harmonics.plan import plan_of
from geomlib.kernels.operators import autograd_inside, leaves, placed

__all__ = ["arranged", "as_operator"]


def as_operator(
    degrees: tuple[int, ...], x: Tensor, normalize: bool, normalization: str, backend: str | None
) -> Tensor:  # (..., 3) -> (..., sum of 2l + 1)
    """Call the operator."""
    if not degrees:
        return reference(degrees, x, normalize, normalization)
    each = tuple(sorted(set(degrees)))
    out = _value(x.reshape(-1, 3), each, normalize, normalization, backend or "")
    if each != degrees:
        out = arranged(out, each, degrees)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def arranged(values: Tensor, given: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Return the columns of other degrees, in any order and repeated ones too, from those of increasing ones."""
    start = {d: sum(2 * k + 1 for k in given if k < d) for d in given}
    return torch.cat([values[:, start[d] : start[d] + 2 * d + 1] for d in wanted], dim=1)


def _by_kernels(x: Tensor, degrees: Sequence[int], backend: str) -> bool:
    refuse_forward_mode("geomlib::spherical_harmonics")
    names = tuple(degrees)
    return choose("spherical_harmonics", (x,), backend or None, cuda=lambda: refusal(names)) != "torch"


@torch.library.custom_op("geomlib::spherical_harmonics", mutates_args=())
def _value(x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str) -> Tensor:
    if _by_kernels(x, degrees, backend):
        return OPERATION.forward(plan_of(tuple(degrees), normalize, normalization), (x,))
    (found,) = placed([reference(degrees, x, normalize, normalization)], x)
    return found


@_value.register_fake
def _(x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str) -> Tensor:
    refuse_forward_mode("geomlib::spherical_harmonics")
    return x.new_empty(x.shape[0], sum(2 * d + 1 for d in degrees))


@torch.library.custom_op("geomlib::spherical_harmonics_backward", mutates_args=())
def _gradient(
    grad: Tensor, x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str
) -> Tensor:
    if _by_kernels(x, degrees, backend):
        (found,) = OPERATION.backward(plan_of(tuple(degrees), normalize, normalization), grad, (x,), (True,))
    else:
        with autograd_inside():
            (leaf,) = leaves((x,))
            (found,) = torch.autograd.grad(reference(degrees, leaf, normalize, normalization), leaf, grad)
    (found,) = placed([found], x)
    return found


@_gradient.register_fake
def _(
    grad: Tensor, x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str
) -> Tensor:
    refuse_forward_mode("geomlib::spherical_harmonics_backward")
    return x.new_empty(x.shape)


@torch.library.custom_op("geomlib::spherical_harmonics_double_backward", mutates_args=())
def _curvature(
    v: Tensor, grad: Tensor, x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    wanted = needs[0], needs[1]
    if _by_kernels(x, degrees, backend):
        plan = plan_of(tuple(degrees), normalize, normalization)
        found = OPERATION.curvature(plan, (v,), grad, (x,), wanted)
    else:
        with autograd_inside():
            inputs = leaves((grad, x))
            found = _second(v, inputs[0], inputs[1], degrees, normalize, normalization, wanted)
    a, b = placed(found, x)
    return a, b


def _second(
    v: Tensor, grad: Tensor, x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, needs: tuple[bool, bool],
    create_graph: bool = False,
) -> list[Tensor | None]:  # fmt: skip
    """Return the gradients of <v, gradient> with respect to grad and x by differentiating the reference twice."""
    y = reference(degrees, x, normalize, normalization)
    (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
    asked = [t for t, n in zip((grad, x), needs, strict=True) if n]
    total = (first * v).sum()
    if not total.requires_grad or not asked:
        return [torch.zeros_like(t) if n else None for t, n in zip((grad, x), needs, strict=True)]
    found = iter(
        torch.autograd.grad(
            total, asked, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    )
    return [next(found) if n else None for n in needs]


@_curvature.register_fake
def _(
    v: Tensor, grad: Tensor, x: Tensor, degrees: Sequence[int], normalize: bool, normalization: str, backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    refuse_forward_mode("geomlib::spherical_harmonics_double_backward")
    empty = x.new_empty(0)
    return grad.new_empty(grad.shape) if needs[0] else empty, x.new_empty(x.shape) if needs[1] else empty


def _keep_value(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.rest = inputs
    ctx.save_for_backward(x)


def _differentiate_value(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (x,) = ctx.saved_tensors
    return _gradient(grad, x, *ctx.rest), None, None, None, None


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, x, *ctx.rest = inputs
    ctx.save_for_backward(grad, x)


def _differentiate_gradient(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:2])
    found = _curvature(v, *ctx.saved_tensors, *ctx.rest, needs)
    return *(t if n else None for t, n in zip(found, needs, strict=True)), None, None, None, None


def _keep_curvature(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)
    v, grad, x, *ctx.rest, ctx.wanted = inputs
    ctx.save_for_backward(v, grad, x)


def _differentiate_curvature(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
    degrees, normalize, normalization, _ = ctx.rest
    needs = tuple(n and c is not None for n, c in zip(ctx.wanted, cotangents, strict=True))
    if not any(needs):
        return (None,) * 8
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, because the derivatives wanted are partial: one argument may be computed from another.
        args = tuple(
            t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors
        )
        v, grad, x = args
        second = _second(
            v, grad, x, degrees, normalize, normalization, (needs[0], needs[1]), create_graph=True
        )
        pairs = zip(second, cotangents, strict=True)
        total = torch.stack([(s * c).sum() for s, c in pairs if s is not None and c is not None]).sum()
        if not total.requires_grad:
            return *(torch.zeros_like(t) for t in args), None, None, None, None, None
        third = torch.autograd.grad(
            total, args, create_graph=again, materialize_grads=True, allow_unused=True
        )
    return *third, None, None, None, None, None


_value.register_autograd(_differentiate_value, setup_context=_keep_value)
_gradient.register_autograd(_differentiate_gradient, setup_context=_keep_gradient)
_curvature.register_autograd(_differentiate_curvature, setup_context=_keep_curvature)


def _side_by_side(operator: Callable[..., Any], tensors: int) -> Callable[..., Any]:
    """Return the rule of vmap for an operator whose first arguments have independent rows."""

    def batched(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        size = info.batch_size
        rows = [
            (a.movedim(d, 0) if isinstance(d, int) else a.expand(size, *a.shape)).flatten(0, 1)
            for a, d in zip(args[:tensors], in_dims, strict=False)
        ]
        found = operator(*rows, *args[tensors:])
        if isinstance(found, Tensor):
            return found.unflatten(0, (size, -1)), 0
        # What was not asked for is empty.
        parts = [t.unflatten(0, (size, -1)) if t.dim() == 2 else t.expand(size, 0) for t in found]
        return tuple(parts), (0,) * len(parts)

    return batched


_value.register_vmap(_side_by_side(_value, 1))
_gradient.register_vmap(_side_by_side(_gradient, 2))
_curvature.register_vmap(_side_by_side(_curvature, 3))
