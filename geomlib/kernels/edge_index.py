"""Checks of ``edge_index``, which is sources in row 0 and targets in row 1."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["check_edge_range", "check_edge_shape"]


def check_edge_shape(edge_index: Tensor) -> None:
    """Check shape and type.

    Raises:
        InvalidInput: not integers of shape (2, E).

    >>> check_edge_shape(torch.zeros(2, 5, dtype=torch.int64))
    """
    shape = tuple(edge_index.shape)
    if len(shape) != 2 or shape[0] != 2 or edge_index.dtype not in (torch.int64, torch.int32):
        raise InvalidInput(
            f"edge_index: expected integers of shape (2, E), sources in row 0 and targets in row 1, got "
            f"{edge_index.dtype} of shape {shape}."
        )


def check_edge_range(edge_index: Tensor, sources: int, targets: int) -> None:
    """Check that every index names a node.

    Raises:
        InvalidInput: naming the first edge with an index that is none.

    >>> check_edge_range(torch.tensor([[0, 1], [1, 0]]), 2, 2)
    """
    if not edge_index.numel():
        return
    bounds = [
        (*(int(t) for t in torch.aminmax(row)), n)
        for row, n in zip(edge_index, (sources, targets), strict=True)
    ]
    if all(low >= 0 and high < n for low, high, n in bounds):
        return
    count = torch.tensor([[sources], [targets]], device=edge_index.device)
    edge = int(((edge_index < 0) | (edge_index >= count)).any(0).nonzero()[0])
    nodes = f"sources are 0..{sources - 1}, targets 0..{targets - 1}"
    if sources == targets:
        nodes = f"nodes are 0..{sources - 1}"
    raise InvalidInput(f"edge {edge} of `edge_index` is {edge_index[:, edge].tolist()}; {nodes}.")
