"""A neighbour list that is kept between the steps of a simulation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.neighbors.checks import SearchInput, check_search_input
from geomlib.kernels.neighbors.pairs import HalfPairs
from geomlib.kernels.neighbors.reference import within
from geomlib.kernels.neighbors.search import half_pairs

__all__ = ["VerletPairs"]


class VerletPairs:
    r"""Half pairs within a cutoff, searched again only when an atom has moved more than half the skin.

    The search looks as far as ``cutoff + skin``; as long as no atom moved more than ``skin / 2`` since, every
    pair within the cutoff is among those found, and one pass over them gives exactly the list (same pairs,
    same order) that :func:`half_pairs` would give. A change of the cell, of the periodicity, of the number of
    atoms or of ``batch`` starts a new search.

    Args:
        cutoff: distance in Å.
        skin: extra distance in Å, 0 searches at every call.
        backend: as in :func:`half_pairs`.

    Raises:
        InvalidInput: as :func:`half_pairs`; negative ``skin``.

    Example:
        >>> import torch
        >>> neighbours = VerletPairs(2.0, skin=1.0)
        >>> pos = torch.tensor([[0.0, 0, 0], [2.1, 0, 0]])
        >>> len(neighbours(pos).i), len(neighbours(pos * 0.9).i), neighbours.searches
        (0, 1, 1)
    """

    def __init__(self, cutoff: float, skin: float = 0.5, *, backend: str = "auto") -> None:
        if not (math.isfinite(skin) and skin >= 0):
            raise InvalidInput(f"VerletPairs: `skin` must be a distance >= 0 in Å, got {skin}.")
        self.cutoff, self.skin, self.backend = float(cutoff), float(skin), backend
        self.searches = 0
        self._at: SearchInput | None = None
        self._pairs: HalfPairs | None = None

    def __call__(
        self,
        pos: Tensor,  # (N, 3)
        batch: Tensor | None = None,  # (N,)
        cell: Tensor | None = None,  # (B, 3, 3) or (3, 3)
        pbc: Tensor | None = None,  # (B, 3) or (3,)
    ) -> HalfPairs:
        """Return the pairs of these positions within the cutoff."""
        if self.skin == 0:
            self.searches += 1
            return half_pairs(pos, self.cutoff, batch, cell, pbc, backend=self.backend)
        now = check_search_input(pos, self.cutoff, batch, cell, pbc)
        if self._pairs is None or self._at is None or not self._still_holds(self._at, now):
            reach = self.cutoff + self.skin
            self._pairs = half_pairs(pos, reach, batch, cell, pbc, backend=self.backend)
            # The caller may move the atoms in place.
            self._at = SearchInput(*(x.clone() if isinstance(x, Tensor) else x for x in now))  # type: ignore[arg-type]
            self.searches += 1
        return within(now, self._pairs)

    def _still_holds(self, old: SearchInput, now: SearchInput) -> bool:
        if old.pos.shape != now.pos.shape or old.pos.device != now.pos.device:
            return False
        for a, b in zip(old[2:], now[2:], strict=True):
            if (a is None) != (b is None):
                return False
            if isinstance(a, Tensor) and isinstance(b, Tensor) and not torch.equal(a, b):
                return False
        if not now.pos.numel():
            return True
        moved = (now.pos - old.pos).square().sum(1).max()
        return float(moved) < (0.5 * self.skin) ** 2
