"""Tensor products as operators of torch, for code that is compiled, exported or traced.

A trace sees three operators, ``geomlib::tensor_product``, its gradient and the gradient of that, with the product written out
as text, so that an exported program needs nothing but geomlib to run. Calls that are not traced do not pass through here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.dispatch import refuse_forward_mode
from geomlib.kernels.operators import autograd_inside, leaves, placed
from geomlib.kernels.tensor_product import channelwise
from geomlib.kernels.tensor_product.eager import Call, checked, loops_of
from geomlib.kernels.tensor_product.layout import weights_by_channel

__all__ = ["as_operator"]

Maybe = Tensor | None


def as_operator(
    spec: ProductSpec,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    edge_index: Tensor | None,
    count: int,
    backend: str | None,
) -> Tensor:
    """Call the operator, which checks its arguments when it runs."""
    if weight is None:
        weight = x.new_zeros(1, 0)
    if weight.dim() == 1:
        weight = weight[None]
    return _product(x, y, weight, edge_index, count, spec.text, backend or "")


@functools.lru_cache(maxsize=256)
def _spec(text: str) -> ProductSpec:
    return ProductSpec.from_text(text)


def _call(edge_index: Maybe, count: int, text: str, backend: str) -> Call:
    refuse_forward_mode("geomlib::tensor_product")
    return Call(_spec(text), edge_index, count, backend or None)


@torch.library.custom_op("geomlib::tensor_product", mutates_args=())
def _product(
    x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor | None, count: int, text: str, backend: str
) -> Tensor:
    return _call(edge_index, count, text, backend)(x, y, weight)


@_product.register_fake
def _(
    x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor | None, count: int, text: str, backend: str
) -> Tensor:
    spec = _call(edge_index, count, text, backend).spec
    checked(spec, x, y, weight, x.shape[0], x.shape[0] if edge_index is None else edge_index.shape[1])
    return x.new_empty(x.shape[0] if edge_index is None else count, spec.irreps_out.dim)


@torch.library.custom_op("geomlib::tensor_product_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor | None, count: int, text: str, backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    call = _call(edge_index, count, text, backend)
    loops = loops_of(call, x, y, weight)
    if loops is not None:
        w = weights_by_channel(weight, call.spec, 0)
        dx, dy, dw = channelwise.OPERATION.gradient(loops, grad, (x, y, w), (needs[0], needs[1], needs[2]))
        dw = None if dw is None else weights_by_channel(dw, call.spec, 0, inverse=True)
        a, b, c = placed((dx, dy, dw), x)
        return a, b, c
    with autograd_inside():
        inputs = leaves((x, y, weight))
        found = _wanted(call(*inputs), inputs, needs, grad)
    a, b, c = placed(found, x)
    return a, b, c


def _wanted(
    value: Tensor, inputs: Sequence[Tensor], needs: Sequence[bool], grad: Maybe = None
) -> list[Maybe]:
    asked = [t for t, n in zip(inputs, needs, strict=True) if n]
    if not asked:
        return [None] * len(inputs)
    if not value.requires_grad:
        return [torch.zeros_like(t) if n else None for t, n in zip(inputs, needs, strict=True)]
    found = iter(torch.autograd.grad(value, asked, grad, allow_unused=True, materialize_grads=True))
    return [next(found) if n else None for n in needs]


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor | None, count: int, text: str, backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    _call(edge_index, count, text, backend)
    a, b, c = (
        t.new_empty(t.shape) if n else grad.new_empty(0) for t, n in zip((x, y, weight), needs, strict=True)
    )
    return a, b, c


@torch.library.custom_op("geomlib::tensor_product_double_backward", mutates_args=())
def _double_backward(
    tx: Tensor | None, ty: Tensor | None, tw: Tensor | None, grad: Tensor, x: Tensor, y: Tensor, weight: Tensor,
    edge_index: Tensor | None, count: int, text: str, backend: str, needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    call, flags = _call(edge_index, count, text, backend), (needs[0], needs[1], needs[2], needs[3])
    loops = loops_of(call, x, y, weight)
    if loops is not None:
        w = weights_by_channel(weight, call.spec, 0)
        t = None if tw is None else weights_by_channel(tw, call.spec, 0)
        dg, dx, dy, dw = channelwise.OPERATION.curvature(loops, (tx, ty, t), grad, (x, y, w), flags)
        dw = None if dw is None else weights_by_channel(dw, call.spec, 0, inverse=True)
        a, b, c, d = placed((dg, dx, dy, dw), x)
        return a, b, c, d
    with autograd_inside():
        inputs = leaves((grad, x, y, weight))
        pairs = [(k, t) for k, t in enumerate((tx, ty, tw), 1) if t is not None]
        value = call(*inputs[1:])
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        if value.requires_grad:
            first = torch.autograd.grad(
                value, [inputs[k] for k, _ in pairs], inputs[0], create_graph=True, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
            for g, (_, t) in zip(first, pairs, strict=True):
                total = total + (g * t).sum()
        found = _wanted(total, inputs, flags)
    a, b, c, d = placed(found, x)
    return a, b, c, d


@_double_backward.register_fake
def _(
    tx: Tensor | None, ty: Tensor | None, tw: Tensor | None, grad: Tensor, x: Tensor, y: Tensor, weight: Tensor,
    edge_index: Tensor | None, count: int, text: str, backend: str, needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    _call(edge_index, count, text, backend)
    a, b, c, d = (
        t.new_empty(t.shape) if n else grad.new_empty(0)
        for t, n in zip((grad, x, y, weight), needs, strict=True)
    )
    return a, b, c, d


def _keep_value(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.rest = inputs[4:]


def _differentiate_value(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:3])
    found = _backward(grad, *ctx.saved_tensors, *ctx.rest, needs)
    return *(t if n else None for t, n in zip(found, needs, strict=True)), None, None, None, None


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5])
    ctx.rest, ctx.wanted = inputs[5:8], inputs[8]


def _differentiate_gradient(ctx: Any, *tangents: Maybe) -> tuple[Any, ...]:
    given = [t if n else None for t, n in zip(tangents, ctx.wanted, strict=True)]
    needs = list(ctx.needs_input_grad[:4])
    if all(t is None for t in given):
        return (None,) * 9
    found = _double_backward(*given, *ctx.saved_tensors, *ctx.rest, needs)
    return *(t if n else None for t, n in zip(found, needs, strict=True)), None, None, None, None, None


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)


def _refuse(ctx: Any, *cotangents: Maybe) -> tuple[Any, ...]:
    if any(c is not None for c in cotangents):
        raise InvalidInput(
            "geomlib::tensor_product: third derivatives are not served in traced code. Take them without compilation."
        )
    return (None,) * 12


_product.register_autograd(_differentiate_value, setup_context=_keep_value)
_backward.register_autograd(_differentiate_gradient, setup_context=_keep_gradient)
_double_backward.register_autograd(_refuse, setup_context=_keep_nothing)


def _one_by_one(operator: Callable[..., Any]) -> Callable[..., Any]:
    def batched(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        """Call once per sample."""
        moved = [a.movedim(d, 0) if isinstance(d, int) else a for a, d in zip(args, in_dims, strict=True)]
        results = [
            operator(*(a[k] if isinstance(d, int) else a for a, d in zip(moved, in_dims, strict=True)))
            for k in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(torch.stack(part) for part in zip(*results, strict=True)), (0,) * len(results[0])

    return batched


for _operator in (_product, _backward, _double_backward):
    _operator.register_vmap(_one_by_one(_operator))
