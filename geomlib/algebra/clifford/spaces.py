"""Storage of some grades only."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford.blades import grades_of, signs_of, xor_indices
from geomlib.algebra.clifford.products import check_multivectors
from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.algebra.clifford.algebra import CliffordAlgebra

__all__ = ["GradeSpace"]


class GradeSpace:
    """Multivectors of which only some grades are stored: vectors (1,), motors (0, 2, 4), ...

    Args:
        algebra: of which they are elements.
        grades: kept, increasing.

    Raises:
        InvalidInput: grades that repeat or do not exist.

    >>> from geomlib.algebra.clifford import CliffordAlgebra
    >>> alg = CliffordAlgebra(3)
    >>> rotors, vectors = alg.space((0, 2)), alg.space((1,))
    >>> z, where = rotors.gp(torch.randn(5, 4), vectors, torch.randn(5, 3))
    >>> where, z.shape
    (GradeSpace(1, 3), torch.Size([5, 4]))
    """

    def __init__(self, algebra: CliffordAlgebra, grades: tuple[int, ...]):
        if sorted(set(grades)) != list(grades) or any(not 0 <= g <= algebra.n for g in grades):
            raise InvalidInput(f"grades {grades}: give increasing grades out of 0..{algebra.n}.")
        self.algebra, self.grades = algebra, grades
        self.indices = [k for k, g in enumerate(algebra.grades) if g in grades]
        self.dim = len(self.indices)

    def embed(self, x: Tensor) -> Tensor:
        """Return full multivectors."""
        return self.algebra.embed(x, self.grades)

    def extract(self, x: Tensor) -> Tensor:
        """Return the stored grades of full multivectors."""
        return self.algebra.extract(x, self.grades)

    def reverse(self, x: Tensor) -> Tensor:
        """Return the reversion."""
        signs = [-1 if g * (g - 1) // 2 % 2 else 1 for g in self.algebra.grades if g in self.grades]
        return x * torch.tensor(signs, device=x.device).to(x.dtype)

    def gp(
        self,
        x: Tensor,
        other: GradeSpace,
        y: Tensor,
        grades: Sequence[int] | None = None,
        *,
        kind: str = "gp",
    ) -> tuple[Tensor, GradeSpace]:
        """Return a product and the space that holds it.

        Args:
            x: stored here.
            other: the space of ``y``.
            y: right factor.
            grades: kept in the result; all that occur by default.
            kind: as in :data:`geomlib.algebra.clifford.blades.KINDS`.

        Raises:
            InvalidInput: another algebra, or tensors that do not fit.
        """
        if other.algebra != self.algebra:
            raise InvalidInput(f"gp: factors of {self.algebra} and {other.algebra}.")
        check_multivectors("gp", self.dim, x)
        check_multivectors("gp", other.dim, y)
        if grades is None:
            grades = _reached(self.algebra.metric, kind, self.grades, other.grades)
        out = GradeSpace(self.algebra, tuple(grades))
        i, k, j, sign = (
            torch.from_numpy(t).to(x.device)
            for t in _entries(self.algebra.metric, kind, self.grades, other.grades, out.grades)
        )
        terms = x[..., i] * y[..., k] * sign.to(x.dtype)
        shape = terms.shape[:-1]
        return terms.new_zeros(*shape, out.dim).index_add(-1, j, terms), out

    def __repr__(self) -> str:
        return f"GradeSpace({', '.join(map(str, self.grades))})"


@lru_cache(maxsize=256)
def _reached(
    metric: tuple[int, ...], kind: str, left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[int, ...]:
    g, signs, to = grades_of(len(metric)), signs_of(metric, kind), xor_indices(len(metric))
    i, k = np.nonzero(signs * np.isin(g, left)[:, None] * np.isin(g, right)[None, :])
    return tuple(sorted({int(v) for v in g[to[i, k]]}))


@lru_cache(maxsize=256)
def _entries(
    metric: tuple[int, ...], kind: str, left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...]
) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    """Return the positions of left, right and output blades in their spaces, and signs."""
    g, signs, to = grades_of(len(metric)), signs_of(metric, kind), xor_indices(len(metric))
    kept = np.isin(g, left)[:, None] & np.isin(g, right)[None, :] & np.isin(g[to], out)
    i, k = np.nonzero(signs * kept)
    place = [np.cumsum(np.isin(g, s)) - 1 for s in (left, right, out)]
    return place[0][i], place[1][k], place[2][to[i, k]], signs[i, k]
