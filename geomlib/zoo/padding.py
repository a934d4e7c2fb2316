"""Pad a batch to one of few sizes, so that recordings of it can be reused."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.kernels.capture import round_up
from geomlib.kernels.neighbors import HalfPairs

__all__ = ["Padding"]


@dataclass(frozen=True)
class Padding:
    """Adds one structure of dummy atoms that nobody else sees.

    Two of its atoms are twice the cutoff apart and carry the dummy pairs, whose weights the envelope makes zero; the
    others stand alone. Numbers of atoms and of pairs grow to the next of :func:`~geomlib.kernels.capture.round_up`.

    Args:
        cutoff: Å.
        atoms: number of atoms before padding.
        pairs: number of pairs before padding.
        graphs: number of structures before padding.
    """

    cutoff: float
    atoms: int
    pairs: int
    graphs: int

    @property
    def extra_atoms(self) -> int:
        """Number of dummy atoms, at least two."""
        return round_up(self.atoms + 2) - self.atoms

    @property
    def extra_pairs(self) -> int:
        """Number of dummy pairs."""
        return round_up(self.pairs) - self.pairs

    def species(self, z: Tensor) -> Tensor:  # (N,) -> (N',)
        """Add dummy atoms of the species 0, which every model has."""
        return torch.cat([z, z.new_zeros(self.extra_atoms)])

    def positions(self, pos: Tensor) -> Tensor:  # (N, 3) -> (N', 3)
        """Add the positions of the dummy atoms."""
        dummies = pos.new_zeros(self.extra_atoms, 3)
        dummies[1, 0] = 2.0 * self.cutoff
        return torch.cat([pos, dummies])

    def owners(self, batch: Tensor) -> Tensor:  # (N,) -> (N',)
        """Add the number of the dummy structure."""
        return torch.cat([batch, batch.new_full((self.extra_atoms,), self.graphs)])

    def neighbors(self, pairs: HalfPairs) -> HalfPairs:
        """Add pairs of the first two dummy atoms."""
        first = pairs.i.new_full((self.extra_pairs,), self.atoms)
        shift = torch.cat([pairs.shift, pairs.shift.new_zeros(self.extra_pairs, 3)])
        return HalfPairs(torch.cat([pairs.i, first]), torch.cat([pairs.j, first + 1]), shift)

    def per_atom(self, values: Tensor, fill: float) -> Tensor:  # (N, ...) -> (N', ...)
        """Add rows of a constant for the dummy atoms."""
        return torch.cat([values, values.new_full((self.extra_atoms, *values.shape[1:]), fill)])

    def per_graph(self, values: Tensor, fill: float) -> Tensor:  # (B, ...) -> (B + 1, ...)
        """Add a row of a constant for the dummy structure."""
        return torch.cat([values, values.new_full((1, *values.shape[1:]), fill)])

    def cells(self, cell: Tensor) -> Tensor:  # (B, 3, 3) -> (B + 1, 3, 3)
        """Add a unit cell for the dummy structure."""
        return torch.cat([cell, torch.eye(3, dtype=cell.dtype)[None]])
