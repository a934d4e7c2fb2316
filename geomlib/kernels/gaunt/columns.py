"""Between rows of features and a matrix with one column per row and channel, which matrix products read."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.gaunt.tables import degree_of
from geomlib.kernels.gaunt.spec import Space, dimension

__all__ = ["from_columns", "to_columns"]


def to_columns(x: Tensor, space: Space, channels: int, layout: str) -> Tensor:  # (B, d C) -> (d, B C)
    """Return components by rows times channels; a view for a single channel."""
    if channels == 1:
        return x.transpose(0, 1)
    rows = x.shape[0]
    if layout == "ir_mul":
        size = dimension(space)
        return x.reshape(rows, size, channels).permute(1, 0, 2).reshape(size, rows * channels)
    parts, start = [x.new_zeros(0, rows * channels)], 0
    for label in space:
        size = 2 * degree_of(label) + 1
        block = x[:, start : start + channels * size].reshape(rows * channels, size)
        parts.append(block.transpose(0, 1))
        start += channels * size
    return torch.cat(parts)


def from_columns(z: Tensor, space: Space, channels: int, layout: str) -> Tensor:  # (d, B C) -> (B, d C)
    """Return rows of features; the inverse of :func:`to_columns`."""
    if channels == 1:
        return z.transpose(0, 1)
    rows = z.shape[1] // channels
    if layout == "ir_mul":
        size = dimension(space)
        return z.reshape(size, rows, channels).permute(1, 0, 2).reshape(rows, size * channels)
    parts, start = [z.new_zeros(rows, 0)], 0
    for label in space:
        size = 2 * degree_of(label) + 1
        parts.append(z[start : start + size].transpose(0, 1).reshape(rows, channels * size))
        start += size
    return torch.cat(parts, dim=1)
