r"""Epsilon between two rows as a signed gather: what is above is read from what is below at the values that are left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.permutations import permutation_table
from geomlib.kernels.diagrams.constants import Constant

__all__ = ["Core", "Epsilon"]


@dataclass(frozen=True)
class Core:
    r"""An epsilon between the rows, :math:`u_{bt} = \sum_s \epsilon_{tbsh}\, z_{bs}`, h being what is left.

    Args:
        n: number of values of an index.
        shared: number of indices b that epsilon sees and that stay.
        above: number of indices t.
        below: number of indices s.
    """

    n: int
    shared: int
    above: int
    below: int

    @property
    def late(self) -> bool:
        """Whether fewer numbers are mixed before epsilon than after it."""
        return self.below < self.above

    @property
    def turned(self) -> tuple[Core, int]:
        """The transposed operation: a core and a sign."""
        swaps = self.above * self.shared + self.above * self.below + self.shared * self.below
        return Core(self.n, self.shared, self.below, self.above), -1 if swaps % 2 else 1


class Epsilon:
    """The tables of a core: for each place of the result, the places it is read from and their signs.

    Args:
        core: what to sum.
        sign: a common factor.
    """

    def __init__(self, core: Core, sign: int = 1) -> None:
        n, kept = core.n, core.above + core.shared
        rows, signs = permutation_table(n, kept + core.below)
        t, b, s = rows.split([core.above, core.shared, core.below], 1)
        out, place = _flat(torch.cat([b, t], 1), n), _flat(torch.cat([b, s], 1), n)
        order = out.argsort(stable=True)
        # Every result is read from all orders of the values that are left; no result has two equal indices.
        terms = math.perm(n - kept, core.below)
        places = out[order].view(-1, terms)[:, 0]
        read = torch.zeros(n**kept, terms, dtype=torch.int64)
        weight = torch.zeros(n**kept, terms, 1, dtype=torch.float64)
        read[places] = place[order].view(-1, terms)
        weight[places] = sign * signs[order].view(-1, terms, 1).double()
        self.core, self.terms = core, terms
        self.read, self.weight = Constant(read.flatten()), Constant(weight)

    def __call__(self, z: Tensor, lead: int) -> Tensor:
        r"""Return :math:`u_{bt} = \sum_s \epsilon_{tbsh} z_{bs}`.

        Args:
            z: ``lead`` axes, then the axes b and s of length n, then one axis.
            lead: number of axes in front.

        >>> Epsilon(Core(2, 0, 1, 1))(torch.tensor([[3.0], [5.0]]), 0)
        tensor([[ 5.],
                [-3.]])
        """
        core, front, back = self.core, z.shape[:lead], z.shape[-1]
        flat = z.reshape(*front, core.n ** (core.shared + core.below), back)
        found = flat.index_select(lead, self.read.like(z))
        total = (found.view(*front, -1, self.terms, back) * self.weight.like(z)).sum(lead + 1)
        return total.view(*front, *[core.n] * (core.shared + core.above), back)


def _flat(rows: Tensor, n: int) -> Tensor:
    place = torch.zeros(len(rows), dtype=torch.int64)
    for column in rows.unbind(1):
        place = place * n + column
    return place
