r"""Pointwise products of signals on the sphere: Gaunt products, Poisson brackets, cross products of vector signals.

:math:`T_{ijk}` does not change when its indices are turned in a circle, so the derivative of :math:`\langle g, z\rangle` with
respect to x is the product of y and g: one kernel serves every order of differentiation.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import no_autocast
from geomlib.kernels.dispatch import choose, refuse_forward_mode, transformed
from geomlib.kernels.gaunt.cost import Situation, best_method, explain
from geomlib.kernels.gaunt.methods import METHODS, chunked, methods_of, whole
from geomlib.kernels.gaunt.spec import LAYOUTS, SignalProduct

__all__ = ["LAYOUTS", "METHODS", "SignalProduct", "explain_product", "gaunt_product", "methods_of"]


def gaunt_product(
    spec: SignalProduct,
    x: Tensor,  # (B, d1 C)
    y: Tensor,  # (B, d2 C)
    *,
    method: str = "auto",
    backend: str | None = None,
) -> Tensor:  # (B, d3 C)
    r"""Multiply signals on the sphere, channel by channel.

    .. math:: z_{kc} = \sum_{ij} T_{ijk}\, x_{ic}\, y_{jc}, \qquad T_{ijk} = \int Y_i Y_j Y_k\, d\Omega
              \;\text{ or }\; \int Y_k\, \hat r \cdot (\nabla Y_i \times \nabla Y_j)\, d\Omega

    in orthonormal harmonics. All methods are exact and agree to round-off; derivatives have any order.

    **Group** O(3); a bracket or a vector product of two true signals is a pseudo-signal. **Shapes** ``x`` (B, d1 C),
    ``y`` (B, d2 C) to (B, d3 C), blocks in the order of the spaces of ``spec``.

    Args:
        spec: spaces, channels, kind and memory order.
        x: first factor.
        y: second factor.
        method: ``"auto"``, ``"sparse"``, ``"dense"``, ``"half"``, ``"separable"`` or ``"fft"``.
        backend: "auto", "torch" or "cpu"; it decides how the sparse table is summed. Grids and transforms are torch's.

    Raises:
        InvalidInput: shapes or types that do not fit, a method that does not serve this kind of product.

    >>> spec = SignalProduct("gaunt", (0, 1), (0, 1), (0, 1, 2), channels=2)
    >>> gaunt_product(spec, torch.randn(5, 8), torch.randn(5, 8)).shape
    torch.Size([5, 18])
    """
    _check(spec, x, y, method)
    if x.dtype in (torch.float16, torch.bfloat16):
        return gaunt_product(spec, x.float(), y.float(), method=method, backend=backend).to(x.dtype)
    if torch.compiler.is_compiling() or not (_is_plain(x) and _is_plain(y)):
        return _operator(x, y, spec.key, method, backend or "")
    return _product(spec, method, backend, x, y)


def explain_product(
    spec: SignalProduct, x: Tensor, *, backend: str | None = None, may_time: bool = True
) -> str:
    """Return what every method costs for tensors like ``x``, and which one ``auto`` takes."""
    return explain(spec, _situation(x, choose("gaunt_product", (x,), backend)), may_time=may_time)


def _situation(x: Tensor, backend: str) -> Situation:
    return Situation(x.device.type, x.dtype, backend, torch.get_num_threads())


def _product(spec: SignalProduct, method: str, backend: str | None, x: Tensor, y: Tensor) -> Tensor:
    served, inside = choose("gaunt_product", (x, y), backend), transformed()
    if method == "auto":
        method = best_method(spec, _situation(x, served), may_time=not inside)
    with no_autocast(x.device.type):
        if inside:
            return whole(spec, method, x, y)
        # Without a graph to build, autograd's share would be a third of a small product.
        if forward_ad._current_level < 0 and not (
            torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
        ):
            return chunked(spec, method, served, x.detach(), y.detach())
        return _Product.apply(spec, method, served, x, y)


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, spec: SignalProduct, method: str, backend: str, x: Tensor, y: Tensor) -> Tensor:
        ctx.call = spec, method, backend
        ctx.save_for_backward(x, y)
        return chunked(spec, method, backend, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        spec, method, backend = ctx.call
        x, y = ctx.saved_tensors
        gx = gy = None
        with no_autocast(x.device.type):
            if ctx.needs_input_grad[3]:
                gx = _Product.apply(spec.turned, method, backend, y, grad)
            if ctx.needs_input_grad[4]:
                gy = _Product.apply(spec.turned.turned, method, backend, grad, x)
        return None, None, None, gx, gy


# What torch.compile, torch.export and other tracers see: one opaque operation that is its own derivative.


@functools.lru_cache(maxsize=1024)
def _spec_of(key: str) -> SignalProduct:
    kind, first, second, out, channels, layout = json.loads(key)
    return SignalProduct(kind, _space(first), _space(second), _space(out), channels, layout)


def _space(labels: Sequence[Any]) -> Any:
    return tuple(tuple(s) if isinstance(s, list) else s for s in labels)


@torch.library.custom_op("geomlib::gaunt_product", mutates_args=())
def _operator(x: Tensor, y: Tensor, key: str, method: str, backend: str) -> Tensor:
    refuse_forward_mode("geomlib::gaunt_product")
    spec = _spec_of(key)
    served = choose("gaunt_product", (x, y), backend or None)
    if method == "auto":
        method = best_method(spec, _situation(x, served), may_time=False)
    with torch.no_grad(), no_autocast(x.device.type):
        return chunked(spec, method, served, x, y)


@_operator.register_fake
def _shape(x: Tensor, y: Tensor, key: str, method: str, backend: str) -> Tensor:
    refuse_forward_mode("geomlib::gaunt_product")
    return x.new_empty(x.shape[0], _spec_of(key).sizes[2])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, y, *ctx.call = inputs
    ctx.save_for_backward(x, y)


def _pull(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    key, method, backend = ctx.call
    x, y = ctx.saved_tensors
    spec = _spec_of(key)
    gx = _operator(y, grad, spec.turned.key, method, backend) if ctx.needs_input_grad[0] else None
    gy = _operator(grad, x, spec.turned.turned.key, method, backend) if ctx.needs_input_grad[1] else None
    return gx, gy, None, None, None


_operator.register_autograd(_pull, setup_context=_keep)


def _is_plain(x: Tensor) -> bool:
    return type(x) in (Tensor, torch.nn.Parameter) or transformed()


def _check(spec: SignalProduct, x: Tensor, y: Tensor, method: str) -> None:
    if method != "auto" and method not in methods_of(spec.kind):
        raise InvalidInput(
            f"gaunt_product: method={method!r} does not serve a {spec.kind} product; expected 'auto' or one of "
            f"{', '.join(methods_of(spec.kind))}."
        )
    for name, t, size in (("x", x, spec.sizes[0]), ("y", y, spec.sizes[1])):
        if t.dim() != 2 or t.shape[1] != size:
            raise InvalidInput(f"{name}: expected shape (rows, {size}), got {tuple(t.shape)}.")
    if x.shape[0] != y.shape[0]:
        raise InvalidInput(f"x and y: {x.shape[0]} and {y.shape[0]} rows; expected the same number.")
    if x.dtype != y.dtype or x.device != y.device or not x.is_floating_point():
        raise InvalidInput(
            f"x and y: expected one floating type on one device, got {x.dtype} on {x.device} and {y.dtype} on {y.device}."
        )
