r"""What the loops of a product read: entries of a sparse form, sorted for each role.

The form :math:`F = \sum_e s_e\, g_{o_e}\, w_{p_e}\, x_{i_e}\, y_{k_e}` holds the product, whose cotangent is g, and all its
derivatives: exchanging roles gives the gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.blades import grades_of, signs_of, xor_indices
from geomlib.algebra.clifford.frames import frame

__all__ = [
    "SIZES",
    "Form",
    "Groups",
    "feature_form",
    "grade_paths",
    "matrix_form",
    "product_form",
    "scale_form",
    "signed_scale_form",
    "square_form",
    "weighted_form",
]

#: How many terms the loops add up in one pass.
SIZES = (1, 2, 3, 4, 8)
_ROLES = "gxy"


@dataclass(frozen=True, eq=False)
class Groups:
    """Terms ``a b`` that add to one output with one weight; groups of ``SIZES[k]`` terms are ``first[k]:first[k+1]``."""

    first: np.ndarray  # (len(SIZES) + 1,)
    group: np.ndarray  # (G, 3): output, weight, first term
    term: np.ndarray  # (T, 2): of a, which lies in front of -a, and of b


@dataclass(frozen=True, eq=False)
class Form:
    """Entries of F.

    Args:
        entry: rows (o, i, k, p): components of g, x and y, and weight.
        sign: of every entry.
        sizes: numbers of components of g, x and y.
        weights: number of weights.
        unit: whether the weights are ones that nobody learns.
        stages: sums and differences of components that the loops make of all factors first; see `Frame.stages`.
        plain: the same product of components as they are, where there are stages.
    """

    entry: np.ndarray  # (R, 4)
    sign: np.ndarray  # (R,)
    sizes: tuple[int, int, int]
    weights: int
    unit: bool = False
    stages: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    plain: Form | None = None
    _groups: dict[str, Groups] = field(default_factory=dict, repr=False)

    def size(self, role: str) -> int:
        """Return the number of components of a role."""
        return self.sizes[_ROLES.index(role)]

    def groups(self, order: str) -> Groups:
        """Return the terms for an output and two factors, such as ``"gxy"`` for the product itself."""
        if order not in self._groups:
            columns = [_ROLES.index(r) for r in order]
            o, a, b = (self.entry[:, c] for c in columns)
            a = a + np.where(self.sign < 0, self.size(order[1]), 0)
            self._groups[order] = _sorted(o, self.entry[:, 3], a, b)
        return self._groups[order]


def _sorted(o: np.ndarray, p: np.ndarray, a: np.ndarray, b: np.ndarray) -> Groups:
    rows = np.stack([o, p, a, b], 1)[np.lexsort((b, a, p, o))]
    chunks: dict[int, list[tuple[int, int, list[list[int]]]]] = {size: [] for size in SIZES}
    for (out, path), members in itertools.groupby(rows.tolist(), key=lambda r: (r[0], r[1])):
        for part in _pieces([m[2:] for m in members]):
            chunks[len(part)].append((out, path, part))
    group: list[list[int]] = []
    term: list[list[int]] = []
    for size in SIZES:
        for out, path, part in chunks[size]:
            group.append([out, path, len(term)])
            term += part
    first = np.cumsum([0, *(len(chunks[size]) for size in SIZES)]).astype(np.int64)
    return Groups(first, np.array(group, np.int64).reshape(-1, 3), np.array(term, np.int64).reshape(-1, 2))


def _pieces(terms: list[list[int]]) -> Iterator[list[list[int]]]:
    """Cut into the largest pieces that the loops know."""
    start = 0
    while start < len(terms):
        size = max(s for s in SIZES if s <= len(terms) - start)
        yield terms[start : start + size]
        start += size


def _entries(metric: tuple[int, ...], kind: str) -> tuple[np.ndarray, ...]:
    signs, to = signs_of(metric, kind), xor_indices(len(metric))
    i, k = np.nonzero(signs)
    return to[i, k], i, k, signs[i, k]


@lru_cache(maxsize=64)
def product_form(alg: CliffordAlgebra, kind: str) -> Form:
    """Return the form of a product without weights."""
    o, i, k, sign = _entries(alg.metric, kind)
    entry = np.stack([o, i, k, np.zeros_like(o)], 1)
    return Form(entry, sign, (alg.size,) * 3, 1, unit=True)


@lru_cache(maxsize=64)
def matrix_form(alg: CliffordAlgebra) -> Form:
    """Return the form of the geometric product in the basis in which it has the fewest terms."""
    basis = frame(alg.metric)
    entry = np.concatenate([basis.entry, np.zeros_like(basis.entry[:, :1])], 1)
    plain = product_form(alg, "gp")
    return Form(entry, basis.sign, (alg.size,) * 3, 1, unit=True, stages=basis.stages, plain=plain)


@lru_cache(maxsize=64)
def _path_numbers(alg: CliffordAlgebra) -> np.ndarray:
    """Return the path of every entry of the geometric product."""
    o, i, k, _ = _entries(alg.metric, "gp")
    g = grades_of(alg.n)
    number = {path: p for p, path in enumerate(alg.paths)}
    return np.array(
        [number[t] for t in zip(g[i].tolist(), g[o].tolist(), g[k].tolist(), strict=True)], np.int64
    )


@lru_cache(maxsize=64)
def weighted_form(alg: CliffordAlgebra) -> Form:
    """Return the form of the geometric product with one weight per channel and path."""
    o, i, k, sign = _entries(alg.metric, "gp")
    return Form(np.stack([o, i, k, _path_numbers(alg)], 1), sign, (alg.size,) * 3, len(alg.paths))


@lru_cache(maxsize=64)
def square_form(alg: CliffordAlgebra) -> Form:
    """Return the form of the quadratic form of every grade, as a bilinear one."""
    _, i, k, sign = _entries(alg.metric, "scalar")
    g = grades_of(alg.n)[i]
    reversed_ = 1 - 2 * (g * (g - 1) // 2 % 2)
    entry = np.stack([g, i, k, np.zeros_like(g)], 1)
    return Form(entry, sign * reversed_, (alg.n + 1, alg.size, alg.size), 1, unit=True)


@lru_cache(maxsize=64)
def signed_scale_form(alg: CliffordAlgebra) -> Form:
    """Return the form of multivectors times a number for every grade and the sign of the quadratic form."""
    square = square_form(alg)
    g, i = square.entry[:, 0], square.entry[:, 1]
    return Form(
        np.stack([i, i, g, np.zeros_like(i)], 1), square.sign, (alg.size, alg.size, alg.n + 1), 1, unit=True
    )


@lru_cache(maxsize=64)
def scale_form(alg: CliffordAlgebra) -> Form:
    """Return the form of multivectors times a number for every grade."""
    j = np.arange(alg.size)
    entry = np.stack([j, j, grades_of(alg.n), np.zeros_like(j)], 1)
    return Form(entry, np.ones_like(j), (alg.size, alg.size, alg.n + 1), 1, unit=True)


def grade_paths(alg: CliffordAlgebra) -> list[tuple[int, list[int]]]:
    """Return for each grade its number of blades and the paths that lead to it.

    Plain integers only: a compiler traces through this.
    """
    into = [[p for p, path in enumerate(alg.paths) if path[1] == g] for g in range(alg.n + 1)]
    return list(zip(alg.grade_sizes, into, strict=True))


@lru_cache(maxsize=64)
def feature_form(alg: CliffordAlgebra) -> Form:
    """Return the form of the product of every path by itself.

    Outputs are ordered by grade, then blade, then path.
    """
    o, i, k, sign = _entries(alg.metric, "gp")
    numbers = _path_numbers(alg)
    place: dict[tuple[int, int], int] = {}
    for part, (_, paths) in zip(alg.grade_slices, grade_paths(alg), strict=True):
        for blade, p in itertools.product(range(part.start, part.stop), paths):
            place[blade, p] = len(place)
    column = np.array([place[t] for t in zip(o.tolist(), numbers.tolist(), strict=True)], np.int64)
    entry = np.stack([column, i, k, np.zeros_like(o)], 1)
    return Form(entry, sign, (len(place), alg.size, alg.size), 1, unit=True)
