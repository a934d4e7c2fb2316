"""The per-atom operations on compact tensors in plain torch: their specification."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.cartesian import PART_SLICES, compose, decompose, part_norms2

__all__ = ["gate_parts", "normalize", "part_linear", "part_norms", "product", "square_update"]


def normalize(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.normalize`."""
    (x,) = tensors
    return x / (x.square().sum(-2, keepdim=True) + 1.0)


def _entries(x: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the matrix entries [row][column], (N, C) each."""
    return [row.unbind(-1) for row in compose(x).unbind(-2)]


def _multiply(a: list[tuple[Tensor, ...]], b: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Return the nine entries of the matrix product; written out, because batched 3x3 matmuls are several times slower."""
    return [a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j] for i in range(3) for j in range(3)]


def product(symmetric: bool, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.product`."""
    x, y, scale = tensors
    a, b = _entries(x), _entries(y)
    c = torch.stack(_multiply(a, b), -1)
    c = c + torch.stack(_multiply(b, a), -1) if symmetric else 2.0 * c
    return decompose(c.unflatten(-1, (3, 3))) * scale[:, None, None]


def part_linear(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.part_linear`."""
    x, weight = tensors
    return torch.cat([x[:, rows] @ w.T for rows, w in zip(PART_SLICES, weight, strict=True)], 1)


def part_norms(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.part_norms`."""
    return part_norms2(tensors[0])


def gate_parts(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.gate_parts`."""
    x, gates = tensors
    return torch.cat([x[:, rows] * gates[:, k : k + 1] for k, rows in enumerate(PART_SLICES)], 1)


def square_update(_: None, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.cartesian.square_update`."""
    x, d, scale = tensors
    return x + d + product(True, (d, d, 0.5 * scale))
