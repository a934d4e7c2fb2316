"""Neighbour search with vesin's cell list, one structure at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from geomlib.kernels.neighbors.checks import SearchInput
from geomlib.kernels.neighbors.lattice import complete_cell, wrap
from geomlib.kernels.neighbors.pairs import HalfPairs
from geomlib.kernels.neighbors.reference import (
    brute_force_pairs,
    finish,
    is_positive,
    members,
    search_radius,
)

__all__ = ["cell_list_pairs"]

# vesin 0.6.2 stops the whole process (SIGFPE) when one axis holds about 1e8 cells; stay far from it.
_MAX_CELLS_PER_AXIS = 1e6


def cell_list_pairs(args: SearchInput) -> HalfPairs:
    """Find the pairs of any structures with a cell list; time grows linearly with the number of atoms.

    Structures too spread out for a cell list (an atom 1e6 cutoffs away) are searched by brute force.
    """
    device = args.pos.device
    args = args.cpu()
    if args.cell is None or args.pbc is None:
        graphs = 1 if args.batch is None or not args.batch.numel() else int(args.batch.max()) + 1
        zero = torch.zeros(1, 3, 3, dtype=torch.float64)
        args = args._replace(cell=zero.expand(graphs, 3, 3), pbc=zero[:, 0].bool().expand(graphs, 3))
    assert args.cell is not None and args.pbc is not None
    reach = search_radius(args)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for graph, atoms in members(args.batch, args.pos.shape[0], args.pos.device):
        whole = args.batch is None or len(atoms) == len(args.batch)
        pos = args.pos if whole else args.pos[atoms]
        found = _one(pos, args.cell[graph], args.pbc[graph], reach)
        if found is None:
            single = SearchInput(
                pos, args.cutoff, None, args.cell[graph : graph + 1], args.pbc[graph : graph + 1]
            )
            found = tuple(brute_force_pairs(single))
        i, j, shift = found
        rows.append((i, j, shift) if whole else (atoms[i], atoms[j], shift))
    if not rows:
        return brute_force_pairs(args)
    i, j, shift = rows[0] if len(rows) == 1 else (torch.cat(column) for column in zip(*rows, strict=True))
    pairs = finish(args, i, j, shift)
    return pairs if device.type == "cpu" else HalfPairs(*(x.to(device) for x in pairs))


def _one(pos: Tensor, cell: Tensor, pbc: Tensor, reach: float) -> tuple[Tensor, Tensor, Tensor] | None:
    periodic = bool(pbc.any())
    offset = None
    cell = complete_cell(cell, pbc)
    if periodic:
        pos, offset = wrap(pos, cell, pbc)
    if not bool(pbc.all()):
        # Nothing repeats along these axes: a box wide enough that no image can be near is exact,
        # whatever a version of the library makes of mixed periodicity.
        along = pos @ torch.linalg.inv(cell)
        low = along.amin(0)
        pos = pos - torch.where(pbc, torch.zeros_like(low), low) @ cell
        width = along.amax(0) - low + 1.01 * reach + 1.0
        cell = torch.where(pbc.unsqueeze(-1), cell, cell * width.unsqueeze(-1))
    heights = 1.0 / torch.linalg.inv(cell).norm(dim=0)
    if float(heights.max()) / reach > _MAX_CELLS_PER_AXIS:
        return None
    finder = NeighborList(cutoff=reach, full_list=False)
    found = finder.compute(pos.numpy(), cell.numpy(), periodic, "ijS")
    i, j, shift = _canonical(*(torch.from_numpy(x.astype(np.int64)) for x in found))
    return (i, j, shift) if offset is None else (i, j, shift - (offset[j] - offset[i]))


def _canonical(i: Tensor, j: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn every pair around so that i < j, or i = j with the first non-zero shift positive."""
    turn = i > j
    same = (i == j).nonzero().squeeze(1)
    turn[same] = ~is_positive(shift[same])
    sign = torch.where(turn, -1, 1).unsqueeze(1)
    return torch.minimum(i, j), torch.maximum(i, j), shift * sign
