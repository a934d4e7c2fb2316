"""Edges between all points closer than a cutoff."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.kernels.neighbors import half_pairs

__all__ = ["radius_graph"]


def radius_graph(
    pos: Tensor,  # (N, 3)
    cutoff: float,
    batch: Tensor | None = None,  # (N,)
    cell: Tensor | None = None,  # (B, 3, 3)
    pbc: Tensor | None = None,  # (B, 3)
    *,
    loop: bool = False,
) -> tuple[Tensor, Tensor]:  # (2, E), (E, 3)
    r"""Return all directed edges shorter than ``cutoff`` inside each structure, periodic images included.

    There is no limit on the number of neighbours. The vector of an edge, target minus source, is
    ``pos[edge_index[1]] - pos[edge_index[0]] + shift @ cell``, with ``cell`` that of the structure.

    Args:
        pos: positions, (N, 3), Å; they need not lie inside the cell.
        cutoff: in Å.
        batch: structure of each point, (N,).
        cell: lattice vectors as rows, (B, 3, 3) or (3, 3).
        pbc: periodic directions, (B, 3) or (3,); all, where a cell is given and this is not.
        loop: add an edge from every point to itself.

    Returns:
        ``edge_index`` (2, E), row 0 the source and row 1 the target, and the integer cell shifts (E, 3).

    Raises:
        InvalidInput: positions or cell not finite, a singular cell, or sizes that do not match.

    >>> radius_graph(torch.tensor([[0.0, 0, 0], [0, 0, 1.2], [0, 0, 9.0]]), 5.0)[0]
    tensor([[1, 0],
            [0, 1]])
    """
    pairs = half_pairs(pos, cutoff, batch, cell, pbc)
    # A pair's vector is pos[j] - pos[i] + S: j is the target of the edge i -> j.
    source, target = torch.cat([pairs.j, pairs.i]), torch.cat([pairs.i, pairs.j])
    shift = torch.cat([-pairs.shift, pairs.shift])
    if loop:
        nodes = torch.arange(pos.shape[0], device=pos.device)
        source, target = torch.cat([source, nodes]), torch.cat([target, nodes])
        shift = torch.cat([shift, shift.new_zeros(len(nodes), 3)])
    return torch.stack([source, target]), shift
