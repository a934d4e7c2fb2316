"""Rows of different lengths, one after another."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["starts", "within"]


def starts(counts: Tensor) -> Tensor:
    """Return where every row begins, and after the last where it ends.

    >>> starts(torch.tensor([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def within(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row of every entry, and its number in that row.

    >>> [t.tolist() for t in within(torch.tensor([2, 0, 3]))]
    [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    row = torch.repeat_interleave(counts)
    return row, torch.arange(len(row), device=row.device) - starts(counts)[row]
