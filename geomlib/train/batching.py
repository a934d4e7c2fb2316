"""Batches of structures, cut from packed tensors without a loop over structures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.kernels.neighbors import HalfPairs, half_pairs

__all__ = ["Batch", "Packer"]

_CHUNK = 400_000  # candidate pairs per neighbour search
_BLOCK_ATOMS = 50_000
_MAX_STORED = 100_000_000  # pairs kept in memory before they are found again for every batch


@dataclass(frozen=True)
class Batch:
    """Some structures with their neighbour pairs and labels, ready for a model.

    Shapes:
        - z, batch: (N,) int64; pos: (N, 3) float64
        - pairs: :class:`~geomlib.kernels.neighbors.HalfPairs` with atoms counted inside the batch
        - num_atoms, index: (B,) int64, atoms per structure and its place in the data set
        - cell: (B, 3, 3) or None; pbc: (B, 3) or None; charge: (B,) or None
        - energy: (B,) float64 or None; forces: (N, 3) or None; stress: (B, 3, 3) or None. NaN where `masked`
    """

    z: Tensor
    pos: Tensor
    batch: Tensor
    pairs: HalfPairs
    num_atoms: Tensor
    index: Tensor
    cell: Tensor | None = None
    pbc: Tensor | None = None
    charge: Tensor | None = None
    energy: Tensor | None = None
    forces: Tensor | None = None
    stress: Tensor | None = None
    masked: bool = False
    dummies: int = 0  # structures at the end that are padding

    @property
    def num_graphs(self) -> int:
        """Number of structures."""
        return self.num_atoms.shape[0]

    def inputs(self) -> dict[str, Any]:
        """Return the keyword arguments of a model, without forces and stress."""
        return {
            "z": self.z, "pos": self.pos, "batch": self.batch, "pairs": self.pairs, "cell": self.cell,
            "pbc": self.pbc, "charge": self.charge, "num_graphs": self.num_graphs,
        }  # fmt: skip

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        if torch.device(device) == self.z.device:
            return self
        moved = {n: v.to(device, non_blocking=True) for n, v in vars(self).items() if isinstance(v, Tensor)}
        pairs = HalfPairs(*(t.to(device, non_blocking=True) for t in self.pairs))
        return replace(self, pairs=pairs, **moved)


class Packer:
    """Cuts batches out of a data set whose neighbour pairs were found once.

    Args:
        structures: the data.
        cutoff: of the neighbour pairs, in Å.
        dtype: of forces and stress labels; energies and positions stay float64.
        store_pairs: keep the pairs of all structures; None keeps them if they fit (100 million pairs).

    Example:
        >>> from geomlib.datasets import Structures
        >>> two = Structures(z=[1, 1, 8], pos=[[0, 0, 0], [0, 0, 0.74], [0, 0, 0]], ptr=[0, 2, 3])
        >>> [batch] = Packer(two, cutoff=3.0).batches(torch.tensor([1, 0]), batch_size=8)
        >>> batch.z.tolist(), batch.pairs.i.tolist(), batch.pairs.j.tolist()
        ([8, 1, 1], [1], [2])
    """

    def __init__(
        self,
        structures: Structures,
        cutoff: float,
        *,
        dtype: torch.dtype = torch.float32,
        store_pairs: bool | None = None,
    ) -> None:
        if not len(structures) or bool((structures.num_atoms == 0).any()):
            raise InvalidInput("Packer: got no structures, or a structure without atoms.")
        self.structures, self.cutoff = structures, float(cutoff)
        self.periodic = bool(structures.pbc.any())
        self.charged = bool((structures.charge != 0).any())
        self.masked = bool(structures.missing)
        self.forces = None if structures.forces is None else structures.forces.to(dtype)
        self.stress = None if structures.stress is None else structures.stress.to(dtype)
        self.num_atoms = structures.num_atoms
        self._pairs: HalfPairs | None = None
        self._pair_ptr = torch.zeros(1, dtype=torch.int64)
        if store_pairs is not False:
            self._store(None if store_pairs else _MAX_STORED)

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def block(self) -> int:
        """Structures that are worth being gathered at once."""
        return max(1, int(_BLOCK_ATOMS * len(self) / self.structures.z.numel()))

    def _search(self, index: Tensor) -> tuple[HalfPairs, Tensor, Tensor]:
        """Return the pairs of some structures, the structure (0, 1, ...) of each, and the first atoms."""
        s = self.structures
        counts = self.num_atoms[index]
        rows, starts = _ranges(s.ptr[index], counts)
        owner = torch.repeat_interleave(torch.arange(index.numel()), counts)
        cell, pbc = (s.cell[index], s.pbc[index]) if self.periodic else (None, None)
        pairs = half_pairs(s.pos[rows], self.cutoff, owner, cell, pbc)
        return pairs, owner[pairs.i], starts

    def _store(self, limit: int | None) -> None:
        work = (self.num_atoms * self.num_atoms).cumsum(0) // _CHUNK
        sizes = torch.unique_consecutive(work, return_counts=True)[1].tolist()
        parts: list[tuple[Tensor, ...]] = []
        total = 0
        for index in torch.arange(len(self)).split(sizes):
            pairs, owner, starts = self._search(index)
            total += owner.numel()
            if limit is not None and total > limit:
                return
            first = starts[owner]
            local = ((pairs.i - first).int(), (pairs.j - first).int(), pairs.shift.short())
            parts.append((*local, torch.bincount(owner, minlength=index.numel())))
        i, j, shift, counts = (torch.cat(column) for column in zip(*parts, strict=True))
        self._pair_counts = counts
        self._pair_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        # Without a cell all shifts are zero: one row serves all.
        self._pairs = HalfPairs(i, j, shift if self.periodic else shift.new_zeros(1, 3))

    def batches(
        self, index: Tensor, batch_size: int, *, device: torch.device | str | None = None
    ) -> list[Batch]:
        """Return the structures `index`, in that order, cut into batches.

        All batches are gathered by one pass and then sliced, so the cost per batch is that of a few views.

        Args:
            index: (n,) int64.
            batch_size: structures per batch; the last may have fewer.
            device: where the batches go.
        """
        s, n = self.structures, index.numel()
        if n == 0:
            return []
        counts = self.num_atoms[index]
        rows, starts = _ranges(s.ptr[index], counts)
        place = torch.arange(n)
        offset = starts - starts[place - place % batch_size]  # first atom of a structure inside its batch
        pairs, pair_counts = self._gather_pairs(index, offset)
        fields = {
            "z": s.z[rows],
            "pos": s.pos[rows],
            "batch": torch.repeat_interleave(place % batch_size, counts),
            "forces": None if self.forces is None else self.forces[rows],
        }
        fields |= {
            "num_atoms": counts,
            "index": index,
            "cell": s.cell[index] if self.periodic else None,
            "pbc": s.pbc[index] if self.periodic else None,
            "charge": s.charge[index] if self.charged else None,
            "energy": None if s.energy is None else s.energy[index],
            "stress": None if self.stress is None else self.stress[index],
        }
        if device is not None:
            fields = {k: None if v is None else v.to(device, non_blocking=True) for k, v in fields.items()}
            pairs = HalfPairs(*(t.to(device, non_blocking=True) for t in pairs))
        sizes = [min(batch_size, n - b) for b in range(0, n, batch_size)]
        atoms, edges = _sums(counts, batch_size), _sums(pair_counts, batch_size)
        per_atom = {"z", "pos", "batch", "forces"}
        columns = {
            k: [None] * len(sizes) if v is None else v.split(atoms if k in per_atom else sizes)
            for k, v in fields.items()
        }
        lists = zip(*(t.split(edges) for t in pairs), strict=True)
        return [
            Batch(pairs=HalfPairs(*p), masked=self.masked, **{k: v[b] for k, v in columns.items()})  # type: ignore[arg-type]
            for b, p in enumerate(lists)
        ]

    def _gather_pairs(self, index: Tensor, offset: Tensor) -> tuple[HalfPairs, Tensor]:
        if self._pairs is None:
            pairs, owner, starts = self._search(index)
            move = (offset - starts)[owner]
            counts = torch.bincount(owner, minlength=index.numel())
            return HalfPairs(pairs.i + move, pairs.j + move, pairs.shift), counts
        counts = self._pair_counts[index]
        rows, _ = _ranges(self._pair_ptr[index], counts)
        move = torch.repeat_interleave(offset, counts)
        i, j, shift = self._pairs
        shift = shift[rows].long() if self.periodic else shift.long().expand(rows.numel(), 3)
        return HalfPairs(i[rows] + move, j[rows] + move, shift), counts


def _ranges(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows first[k] .. first[k] + counts[k] one after another, and where each k begins among them."""
    starts = counts.cumsum(0) - counts
    total = int(counts.sum())
    return torch.arange(total) + torch.repeat_interleave(first - starts, counts, output_size=total), starts


def _sums(counts: Tensor, size: int) -> list[int]:
    """Return the sum of every `size` consecutive counts."""
    owner = torch.arange(counts.numel()) // size
    return counts.new_zeros(int(owner[-1]) + 1).index_add(0, owner, counts).tolist()
