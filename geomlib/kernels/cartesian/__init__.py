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

__all__ = ["normalize", "part_linear", "product"]

Maybe = Tensor | None


def normalize(x: Tensor, *, backend: str | None = None) -> Tensor:  # (N, 9, C) -> (N, 9, C)
    r"""Return :math:`X / (\|X\|^2 + 1)` for every node and channel.

    Shapes: ``x`` (N, 9, C) to (N, 9, C).

    Source: arXiv 2306.06482, section 3.2.
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

    Source: arXiv 2306.06482, eq. 10.
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


@functools.cache
def _constants(dtype: torch.dtype) -> Any:
    values = [math.sqrt(0.5), math.sqrt(1 / 3), math.sqrt(2 / 3), math.sqrt(1.5), 0.5, 1 / 3]
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
    d_grad, a = features(x)
    d_x, b = features(x)
    cpu.normalize_double_backward(_constants(x.dtype), major(x), major(grad), major(t), a, b)
    return d_grad, d_x


_NORMALIZE = FusedOperation(
    reference.normalize, _normalize_forward, _normalize_backward, _normalize_double_backward
)


def _product_forward(symmetric: bool, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.cartesian import cpu

    x, y, scale = tensors
    out, a = features(x)
    cpu.product(_constants(x.dtype), symmetric, major(x), major(y), array(scale), a)
    return out


def _product_backward(
    symmetric: bool, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.cartesian import cpu

    x, y, scale = tensors
    (d_x, a), (d_y, b) = features(x), features(x)
    cpu.product_backward(_constants(x.dtype), symmetric, major(x), major(y), array(scale), major(grad), a, b)
    return d_x, d_y, None


def _product_double_backward(
    symmetric: bool,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    from geomlib.kernels.cartesian import cpu

    x, y, scale = tensors
    t, u = (torch.zeros_like(x) if a is None else a for a in tangents[:2])
    (d_g, a), (d_x, b), (d_y, c) = features(x), features(x), features(x)
    cpu.product_double_backward(
        _constants(x.dtype), symmetric, major(x), major(y), array(scale), major(grad), major(t), major(u), a, b, c
    )
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
