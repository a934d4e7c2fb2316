"""Blades as bit masks: their order, names, grades, and the signs of their products.

Blades are in short-lexicographic order: by grade, then lexicographic in the generators. Bit i of a mask says whether generator
i is a factor, so the product of two blades is the exclusive or of their masks, up to a sign.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from geomlib.errors import InvalidInput

__all__ = [
    "KINDS",
    "Array",
    "blade_masks",
    "blade_names",
    "complement_signs",
    "grades_of",
    "signs_of",
    "xor_indices",
]

Array: TypeAlias = "NDArray[np.int64]"
Metric: TypeAlias = "tuple[int, ...]"

#: Products of blades: the geometric one and its parts by grade.
KINDS = ("gp", "wedge", "inner", "left_contraction", "right_contraction", "scalar")


@lru_cache(maxsize=16)
def blade_masks(n: int) -> Array:  # (2^n,)
    """Return the masks of all blades in their order.

    >>> blade_masks(3).tolist()
    [0, 1, 2, 4, 3, 5, 6, 7]
    """
    subsets = [s for grade in range(n + 1) for s in combinations(range(n), grade)]
    return np.array([sum(1 << i for i in s) for s in subsets], dtype=np.int64)


@lru_cache(maxsize=16)
def _positions(n: int) -> Array:
    found = np.empty(2**n, dtype=np.int64)
    found[blade_masks(n)] = np.arange(2**n)
    return found


def _ones(masks: Array) -> Array:
    total = np.zeros_like(masks)
    for bit in range(int(masks.max(initial=0)).bit_length()):
        total += masks >> bit & 1
    return total


@lru_cache(maxsize=16)
def grades_of(n: int) -> Array:  # (2^n,)
    """Return the grade of every blade."""
    return _ones(blade_masks(n))


@lru_cache(maxsize=16)
def xor_indices(n: int) -> Array:  # (2^n, 2^n)
    """Return the number of the blade that two blades multiply to."""
    m = blade_masks(n)
    return _positions(n)[m[:, None] ^ m[None, :]]


def blade_names(n: int, first: int = 1) -> tuple[str, ...]:
    """Return ``1``, ``e1``, ``e2``, ``e12``, ...; numbers of generators above 9 are separated by an underscore.

    >>> blade_names(2)
    ('1', 'e1', 'e2', 'e12')
    """
    mark = "_" if first + n > 10 else ""
    subsets = [s for grade in range(n + 1) for s in combinations(range(first, first + n), grade)]
    return tuple("e" + mark.join(map(str, s)) if s else "1" for s in subsets)


def _reorderings(n: int) -> Array:
    """Return -1 where sorting the generators of two blades takes an odd number of swaps, else 1."""
    m = blade_masks(n)
    swaps = np.zeros((2**n, 2**n), dtype=np.int64)
    for shift in range(1, n):
        swaps += _ones((m >> shift)[:, None] & m[None, :])
    return 1 - 2 * (swaps & 1)


@lru_cache(maxsize=16)
def complement_signs(n: int) -> Array:  # (2^n,)
    """Return s with ``blade ^ (s complement) = e_{1...n}``."""
    full = xor_indices(n)[:, -1]
    return _reorderings(n)[np.arange(2**n), full]


@lru_cache(maxsize=64)
def signs_of(metric: Metric, kind: str = "gp") -> Array:  # (2^n, 2^n)
    """Return the coefficient, -1, 0 or 1, of the product of a left and a right blade.

    Args:
        metric: squares of the generators, each -1, 0 or 1.
        kind: one of `KINDS`.

    Raises:
        InvalidInput: an unknown kind.
    """
    n = len(metric)
    if kind not in KINDS:
        raise InvalidInput(f"kind {kind!r}: expected one of {', '.join(KINDS)}.")
    m, g = blade_masks(n), grades_of(n)
    signs = _reorderings(n)
    for i, square in enumerate(metric):
        both = (m >> i & 1)[:, None] & (m >> i & 1)[None, :]
        signs = signs * np.where(both == 1, square, 1)
    left, right, out = g[:, None], g[None, :], g[xor_indices(n)]
    kept = {
        "gp": out >= 0,
        "wedge": out == left + right,
        "inner": out == np.abs(left - right),
        "left_contraction": out == right - left,
        "right_contraction": out == left - right,
        "scalar": out == 0,
    }[kind]
    return signs * kept
