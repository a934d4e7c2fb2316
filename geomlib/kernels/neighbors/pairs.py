"""The result of a neighbour search."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["HalfPairs"]


class HalfPairs(NamedTuple):
    r"""All unordered pairs of atoms within a cutoff, each exactly once.

    .. math:: |x_j - x_i + S \cdot h| < r_c, \qquad i < j \ \text{or}\ (i = j,\ S \succ 0)

    with :math:`h` the rows of the cell and :math:`\succ` lexicographic order, so an atom and its own image
    are one pair too. Rows are sorted by :math:`(i, j, S)`. Each pair stands for two directed edges.

    Shapes:
        ``i``, ``j``: (P,) int64; ``shift``: (P, 3) int64, whole lattice vectors (zeros without a cell).
    """

    i: Tensor  # (P,)
    j: Tensor  # (P,)
    shift: Tensor  # (P, 3)
