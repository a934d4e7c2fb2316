"""Neighbour search in plain torch: every candidate is looked at. This is the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.kernels.neighbors.checks import SearchInput
from geomlib.kernels.neighbors.lattice import complete_cell, image_counts, wrap
from geomlib.kernels.neighbors.pairs import HalfPairs

__all__ = [
    "brute_force_pairs",
    "count_candidates",
    "dense_pairs",
    "finish",
    "is_positive",
    "members",
    "search_radius",
    "within",
]

# Candidates held at once: about 100 bytes each.
_CHUNK = 2_000_000


def members(batch: Tensor | None, n: int, device: torch.device) -> list[tuple[int, Tensor]]:
    """Return (structure, ascending atom indices) for every structure that has atoms."""
    if batch is None:
        return [(0, torch.arange(n, device=device))] if n else []
    order = torch.argsort(batch, stable=True)
    names, counts = torch.unique_consecutive(batch[order], return_counts=True)
    return list(zip(names.tolist(), order.split(counts.tolist()), strict=True))


def _partners(args: SearchInput) -> tuple[Tensor, Tensor | None]:
    """Return how many atoms of its structure follow each atom, and the order used (None = as given)."""
    n = args.pos.shape[0]
    index = torch.arange(n, device=args.pos.device)
    if args.batch is None:
        return n - 1 - index, None
    batch, order = args.batch, None
    if n > 1 and not bool((batch[1:] >= batch[:-1]).all()):
        order = torch.argsort(batch, stable=True)
        batch = batch[order]
    ends = torch.searchsorted(batch, batch, right=True)
    return ends - 1 - index, order


def count_candidates(args: SearchInput) -> int:
    """Return the number of unordered pairs of atoms in the same structure."""
    if args.batch is None:
        n = args.pos.shape[0]
        return n * (n - 1) // 2
    _, counts = torch.unique(args.batch, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def dense_pairs(args: SearchInput) -> HalfPairs:
    """Find the pairs of non-periodic structures, all structures in one vectorised pass.

    Every pair of atoms of the same structure is listed by counting, without a loop over structures; long
    lists are cut into slices of whole atoms, so memory stays bounded by the result.
    """
    pos = args.pos
    partners, order = _partners(args)
    n, device = pos.shape[0], pos.device
    if order is not None:
        pos = pos[order]
    total = int(partners.sum()) if n else 0
    index = torch.arange(n, device=device)
    if total <= _CHUNK:
        i, j = _listed(pos, index, partners, total, args.cutoff)
    else:
        parts = []
        slices = torch.div(partners.cumsum(0) - 1, _CHUNK, rounding_mode="floor").clamp(min=0)
        for rows in index.split(torch.unique_consecutive(slices, return_counts=True)[1].tolist()):
            parts.append(_listed(pos, rows, partners[rows], int(partners[rows].sum()), args.cutoff))
        i, j = (torch.cat(column) for column in zip(*parts, strict=True))
    if order is not None:
        i, j = order[i], order[j]
        rank = torch.argsort(i * n + j)
        i, j = i[rank], j[rank]
    return HalfPairs(i, j, torch.zeros(i.shape[0], 3, dtype=torch.int64, device=device))


def _listed(pos: Tensor, rows: Tensor, partners: Tensor, total: int, cutoff: float) -> tuple[Tensor, Tensor]:
    i = torch.repeat_interleave(rows, partners, output_size=total)
    start = partners.cumsum(0) - partners
    # j runs over the atoms after i: i + 1, i + 2, ...
    j = torch.arange(total, device=pos.device) + torch.repeat_interleave(
        rows + 1 - start, partners, output_size=total
    )
    d = pos.index_select(0, j) - pos.index_select(0, i)
    keep = (d * d).sum(1) < cutoff * cutoff
    if bool(keep.all()):
        return i, j
    keep = keep.nonzero().squeeze(1)
    return i.index_select(0, keep), j.index_select(0, keep)


def brute_force_pairs(args: SearchInput) -> HalfPairs:
    """Find the pairs of any structures, periodic or not, by looking at every image of every pair."""
    if args.cell is None or args.pbc is None:
        return dense_pairs(args)
    found: list[HalfPairs] = []
    for graph, atoms in members(args.batch, args.pos.shape[0], args.pos.device):
        found.extend(_one_periodic(args, graph, atoms))
    return finish(args, *_concatenate(found, args.pos.device))


def _concatenate(parts: list[HalfPairs], device: torch.device) -> HalfPairs:
    if not parts:
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        return HalfPairs(empty, empty, torch.zeros(0, 3, dtype=torch.int64, device=device))
    return HalfPairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _one_periodic(args: SearchInput, graph: int, atoms: Tensor) -> list[HalfPairs]:
    assert args.cell is not None and args.pbc is not None
    pbc = args.pbc[graph]
    cell = complete_cell(args.cell[graph], pbc)
    pos, offset = wrap(args.pos[atoms], cell, pbc)
    reach = search_radius(args)
    spans = [torch.arange(-m, m + 1, device=pos.device) for m in image_counts(cell, pbc, reach)]
    images = torch.cartesian_prod(*spans)
    n = pos.shape[0]
    per_row = n * images.shape[0]
    found = []
    for block in images.split(max(1, _CHUNK // n)):
        vectors = block.to(pos.dtype) @ cell
        for rows in torch.arange(n, device=pos.device).split(max(1, _CHUNK // min(per_row, n * len(block)))):
            d = (pos[None, :] - pos[rows, None])[:, :, None] + vectors
            i, j, s = ((d * d).sum(-1) < reach * reach).nonzero().unbind(1)
            i, shift = rows[i], block[s]
            once = (i < j) | ((i == j) & is_positive(shift))
            i, j, shift = i[once], j[once], shift[once]
            found.append(HalfPairs(atoms[i], atoms[j], shift - offset[j] + offset[i]))
    return found


def is_positive(shift: Tensor) -> Tensor:
    """Return whether the first non-zero entry of each row is positive."""
    a, b, c = shift.unbind(1)
    return (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))


def search_radius(args: SearchInput) -> float:
    """Return the cutoff widened by the rounding of wrapped positions; `finish` applies the exact one."""
    size = float(args.pos.abs().max()) if args.pos.numel() else 0.0
    return args.cutoff * (1 + 1e-9) + 1e-9 + 1e-14 * size


def finish(args: SearchInput, i: Tensor, j: Tensor, shift: Tensor) -> HalfPairs:
    """Apply the cutoff to |pos[j] - pos[i] + shift @ cell| as written, and sort by (i, j, shift).

    Every search ends here, so all of them decide alike about a pair that lies on the cutoff.
    """
    i, j, shift = within(args, HalfPairs(i, j, shift))
    rank = _lexicographic(i, j, shift, args.pos.shape[0])
    return HalfPairs(i[rank], j[rank], shift[rank])


def within(args: SearchInput, pairs: HalfPairs) -> HalfPairs:
    """Return those of the pairs that lie within the cutoff, in the same order."""
    i, j, shift = pairs
    d = args.pos.index_select(0, j) - args.pos.index_select(0, i)
    if args.cell is not None:
        vectors = shift.to(args.pos.dtype)
        if args.batch is None or args.cell.shape[0] == 1:
            d = d + vectors @ args.cell[0]
        else:
            d = d + (vectors.unsqueeze(1) @ args.cell[args.batch[i]]).squeeze(1)
    keep = (d * d).sum(1) < args.cutoff * args.cutoff
    if bool(keep.all()):
        return pairs
    keep = keep.nonzero().squeeze(1)
    return HalfPairs(i[keep], j[keep], shift[keep])


def _lexicographic(i: Tensor, j: Tensor, shift: Tensor, n: int) -> Tensor:
    if not i.numel():
        return i
    low = shift.amin(0)
    span = (shift.amax(0) - low + 1).tolist()
    if n * n * span[0] * span[1] * span[2] < 2**62:
        key = i * n + j
        for axis in range(3):
            key = key * span[axis] + (shift[:, axis] - low[axis])
        return torch.argsort(key)
    rank = torch.arange(i.shape[0], device=i.device)
    for column in (shift[:, 2], shift[:, 1], shift[:, 0], j, i):
        rank = rank[torch.argsort(column[rank], stable=True)]
    return rank
