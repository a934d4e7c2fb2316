r"""Per-atom operations on compact Cartesian tensors: normalisation, 3x3 products, channel mixing."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.cartesian import PART_SLICES
from geomlib.kernels.arrays import array, features, major
from geomlib.kernels.cartesian import reference
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.dispatch import choose

__all__ = ["gate_parts", "normalize", "part_linear", "part_norms", "product", "square_update"]

Maybe = Tensor | None


def normalize(x: Tensor, *, backend: str | None = None) -> Tensor:  # (N, 9, C) -> (N, 9, C)
    r"""Return :math:`X / (\|X\|^2 + 1)` for every node and channel.

    Shapes: ``x`` (N, 9, C) to (N, 9, C).

    Source: arXiv 2306.06482.
    """
    if choose("normalize", (x,), backend) == "cpu":
        return _NORMALIZE(None, x)
    return reference.normalize(None, (x,))


def product(
    x: Tensor,  # (N, 9, C)
    y: Tensor,  # (N, 9, C)
    scale: Tensor,  # (N,)
    *,
    symmetric: bool = True,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C)
    r"""Multiply the 3x3 matrices of two feature sets, channel by channel.

    .. math:: s\,(XY + YX) \quad\text{or}\quad 2s\,XY

    The first keeps :math:`\{I, S\}` even and :math:`A` odd under reflections, hence O(3); the second mixes them and is
    equivariant under SO(3) only.

    Args:
        x: left factor, (N, 9, C).
        y: right factor, (N, 9, C).
        scale: one factor per node, (N,); it gets no gradient on the ``cpu`` backend, which is refused if it wants one.
        symmetric: take :math:`XY + YX`.
        backend: "auto", "torch" or "cpu".

    Source: arXiv 2306.06482.
    """
    if not scale.requires_grad and choose("product", (x, y, scale), backend) == "cpu":
        return _PRODUCT(symmetric, x, y, scale)
    return reference.product(symmetric, (x, y, scale))


def part_linear(
    x: Tensor,  # (N, 9, C)
    weight: Tensor,  # (3, C_out, C)
    *,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C_out)
    r"""Mix channels, each irreducible part with its own matrix: :math:`W_0 I + W_1 A + W_2 S`.

    Shapes: ``x`` (N, 9, C), ``weight`` (3, C_out, C) to (N, 9, C_out).
    """
    if choose("part_linear", (x, weight), backend) == "cpu":
        return _LINEAR(None, x, weight)
    return reference.part_linear(None, (x, weight))


def part_norms(x: Tensor, *, backend: str | None = None) -> Tensor:  # (N, 9, C) -> (N, 3, C)
    r"""Return :math:`(3I^2, \|A\|^2, \|S\|^2)` for every node and channel.

    Shapes: ``x`` (N, 9, C) to (N, 3, C).
    """
    if choose("part_norms", (x,), backend) == "cpu":
        return _NORMS(None, x)
    return reference.part_norms(None, (x,))


def gate_parts(
    x: Tensor,  # (N, 9, C)
    gates: Tensor,  # (N, 3, C)
    *,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C)
    r"""Return :math:`g_0 I + g_1 A + g_2 S` for every node and channel.

    Shapes: ``x`` (N, 9, C), ``gates`` (N, 3, C) to (N, 9, C).
    """
    if choose("gate_parts", (x, gates), backend) == "cpu":
        return _GATE(None, x, gates)
    return reference.gate_parts(None, (x, gates))


def square_update(
    x: Tensor,  # (N, 9, C)
    d: Tensor,  # (N, 9, C)
    scale: Tensor,  # (N,)
    *,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C)
    r"""Return :math:`X + D + s D^2`, with the matrix product.

    Shapes: ``x``, ``d`` (N, 9, C), ``scale`` (N,) to (N, 9, C). The ``scale`` is a constant, as in :func:`product`.

    Source: arXiv 2306.06482; the factor s = 1 + 0.1 q: arXiv 2403.15073.
    """
    if not scale.requires_grad and choose("square_update", (x, d, scale), backend) == "cpu":
        return _SQUARE(None, x, d, scale)
    return reference.square_update(None, (x, d, scale))


@functools.cache
def _constants(dtype: torch.dtype) -> Any:
    values = [math.sqrt(0.5), math.sqrt(1 / 3), math.sqrt(2 / 3), math.sqrt(1.5), 0.5, 1 / 3, 1.0]
    return torch.tensor(values, dtype=torch.float64).to(dtype).numpy()


def _normalize_forward(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.cartesian import cpu

    (x,) = tensors
    out, a = features(x)
    cpu.normalize(_constants(x.dtype), major(x), a)
    return out


def _normalize_backward(
    _: None, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.cartesian import cpu

    (x,) = tensors
    out, a = features(x)
    cpu.normalize_backward(_constants(x.dtype), major(x), major(grad), a)
    return (out,)


def _normalize_double_backward(
    _: None, tangents: tuple[Maybe, ...], grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.cartesian import cpu

    (x,), (t,) = tensors, tangents
    if t is None:
        return None, None
    d_grad, a = features(x)
    d_x, b = features(x)
    cpu.normalize_double_backward(_constants(x.dtype), major(x), major(grad), major(t), a, b)
    return d_grad, d_x


_NORMALIZE = FusedOperation(
    reference.normalize, _normalize_forward, _normalize_backward, _normalize_double_backward
)


def _anticommutator(
    x: Tensor, y: Tensor, scale: Tensor, *, flip: bool = False, factor: float = 1.0, plus: float = 0.0
) -> Tensor:
    """Return factor scale (x y' + y' x) + plus x; ``flip`` transposes y."""
    from geomlib.kernels.cartesian import cpu

    out, a = features(x)
    number = a.dtype.type
    cpu.anticommutator(
        _constants(x.dtype), number(factor), major(x), number(-1.0 if flip else 1.0), major(y), array(scale),
        number(plus), a,
    )  # fmt: skip
    return out


def _matrix_product(
    x: Tensor, y: Tensor, scale: Tensor, *, flip_x: bool = False, flip_y: bool = False
) -> Tensor:
    """Return 2 scale x' y'; the flips transpose."""
    from geomlib.kernels.cartesian import cpu

    out, a = features(x)
    number = a.dtype.type
    cpu.matrix_product(
        _constants(x.dtype), number(2.0), number(-1.0 if flip_x else 1.0), major(x),
        number(-1.0 if flip_y else 1.0), major(y), array(scale), a,
    )  # fmt: skip
    return out


def _product_forward(symmetric: bool, tensors: tuple[Tensor, ...]) -> Tensor:
    return (_anticommutator if symmetric else _matrix_product)(*tensors)


def _product_backward(
    symmetric: bool, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, y, scale = tensors
    d_x: Maybe = None
    d_y: Maybe = None
    if symmetric:
        d_x = _anticommutator(grad, y, scale, flip=True) if needs[0] else None
        d_y = _anticommutator(grad, x, scale, flip=True) if needs[1] else None
    else:
        d_x = _matrix_product(grad, y, scale, flip_y=True) if needs[0] else None
        d_y = _matrix_product(x, grad, scale, flip_x=True) if needs[1] else None
    return d_x, d_y, None


def _product_double_backward(
    symmetric: bool,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    # The gradients are products themselves: <t, dx> + <u, dy> = <grad, t y + x u> (+ transposed order).
    (t, u, _), (x, y, scale) = tangents, tensors
    d_g: Maybe = None
    d_x: Maybe = None
    d_y: Maybe = None
    if t is not None:
        d_g = _product_forward(symmetric, (t, y, scale))
        d_y = _product_backward(symmetric, grad, (t, y, scale), (False, needs[2]))[1]
    if u is not None:
        other = _product_forward(symmetric, (x, u, scale))
        d_g = other if d_g is None else d_g.add_(other)
        d_x = _product_backward(symmetric, grad, (x, u, scale), (needs[1], False))[0]
    return d_g, d_x, d_y, None


_PRODUCT = FusedOperation(reference.product, _product_forward, _product_backward, _product_double_backward)


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """Apply one matrix per part without copying: the rows of a part are contiguous in component-major order."""
    nodes, channels = x.shape[0], weight.shape[1]
    rows = x.transpose(0, 1).contiguous()
    out = x.new_empty(9, nodes, channels)
    for part, w in zip(PART_SLICES, weight.transpose(1, 2).unbind(), strict=True):
        torch.mm(rows[part].flatten(0, 1), w, out=out[part].view(-1, channels))
    return out.transpose(0, 1)


def _outer(g: Tensor, x: Tensor) -> Tensor:
    """Return sum over nodes and rows of each part of g x^T, (3, C_g, C_x)."""
    a, b = g.transpose(0, 1).contiguous(), x.transpose(0, 1).contiguous()
    out = x.new_empty(3, g.shape[2], x.shape[2])
    for k, part in enumerate(PART_SLICES):
        torch.mm(a[part].flatten(0, 1).T, b[part].flatten(0, 1), out=out[k])
    return out


def _linear_forward(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    return _mix(*tensors)


def _linear_backward(
    _: None, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, weight = tensors
    return (
        _mix(grad, weight.transpose(1, 2)) if needs[0] else None,
        _outer(grad, x) if needs[1] else None,
    )


def _linear_double_backward(
    _: None, tangents: tuple[Maybe, ...], grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    (a, b), (x, weight) = tangents, tensors
    d_grad: Maybe = None
    if needs[0]:
        terms = [_mix(t, w) for t, w in ((a, weight), (x, b)) if t is not None and w is not None]
        d_grad = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    d_x = _mix(grad, b.transpose(1, 2)) if needs[1] and b is not None else None
    d_weight = _outer(grad, a) if needs[2] and a is not None else None
    return d_grad, d_x, d_weight


_LINEAR = FusedOperation(
    reference.part_linear, _linear_forward, _linear_backward, _linear_double_backward, parameters=(1,)
)


def _norms(x: Tensor, y: Tensor) -> Tensor:
    from geomlib.kernels.cartesian import cpu

    out = x.new_empty(x.shape[0], 3, x.shape[2])
    cpu.part_norms(major(x), major(y), out.numpy())
    return out


def _gated(x: Tensor, gates: Tensor, factor: float = 1.0) -> Tensor:
    from geomlib.kernels.cartesian import cpu

    out, a = features(x)
    cpu.gate_parts(major(x), array(gates), a.dtype.type(factor), a)
    return out


def _norms_double_backward(
    _: None, tangents: tuple[Maybe, ...], grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    (x,), (t,) = tensors, tangents
    if t is None:
        return None, None
    return (2.0 * _norms(x, t) if needs[0] else None), (_gated(t, grad, 2.0) if needs[1] else None)


_NORMS = FusedOperation(
    reference.part_norms,
    lambda _, tensors: _norms(tensors[0], tensors[0]),
    lambda _, grad, tensors, needs: (_gated(tensors[0], grad, 2.0),),
    _norms_double_backward,
)


def _gate_backward(
    _: None, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, gates = tensors
    return (_gated(grad, gates) if needs[0] else None), (_norms(grad, x) if needs[1] else None)


def _gate_double_backward(
    _: None, tangents: tuple[Maybe, ...], grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    (t, u), (x, gates) = tangents, tensors
    d_grad: Maybe = None if t is None else _gated(t, gates)
    if u is not None:
        d_grad = _gated(x, u) if d_grad is None else d_grad.add_(_gated(x, u))
    d_x = _gated(grad, u) if u is not None and needs[1] else None
    return d_grad, d_x, (_norms(grad, t) if t is not None and needs[2] else None)


_GATE = FusedOperation(
    reference.gate_parts,
    lambda _, tensors: _gated(tensors[0], tensors[1]),
    _gate_backward,
    _gate_double_backward,
)


def _square_forward(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    x, d, scale = tensors
    return _anticommutator(d, d, scale, factor=0.5, plus=1.0).add_(x)


def _square_backward(
    _: None, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    _x, d, scale = tensors
    d_d = _anticommutator(grad, d, scale, flip=True, plus=1.0) if needs[1] else None
    return grad.clone() if needs[0] else None, d_d, None


def _square_double_backward(
    _: None, tangents: tuple[Maybe, ...], grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    (t, u, _scale), (_x, d, scale) = tangents, tensors
    if u is None:
        return t, None, None, None
    d_grad = _anticommutator(u, d, scale, plus=1.0)
    d_d = _anticommutator(grad, u, scale, flip=True) if needs[2] else None
    return d_grad if t is None else d_grad.add_(t), None, d_d, None


_SQUARE = FusedOperation(reference.square_update, _square_forward, _square_backward, _square_double_backward)
