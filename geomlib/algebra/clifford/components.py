"""Multivectors of space, Cl(3,0,0), as one tensor per blade: blades that are zero are not stored and cost nothing.

A product of vectors has four blades at most, so tuples of points are multiplied without the other half. Tensors of one
multivector, and those of two factors, only need to broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from geomlib.algebra.clifford.blades import signs_of, xor_indices

__all__ = ["Components", "divided", "dual", "grade_norm", "length", "product", "total_norm"]

#: Blade number, in the order 1, e1, e2, e3, e12, e13, e23, e123, to its coefficients.
Components: TypeAlias = "Mapping[int, Tensor]"

GRADES = ((0,), (1, 2, 3), (4, 5, 6), (7,))


_BLADES: list[list[int]] = xor_indices(3).tolist()
_SIGNS: list[list[int]] = signs_of((1, 1, 1), "gp").tolist()


def product(a: Components, b: Components) -> dict[int, Tensor]:
    """Return the geometric product.

    >>> one = torch.ones(())
    >>> {k: float(v) for k, v in product({1: one, 2: one}, {2: one}).items()}  # (e1 + e2) e2
    {0: 1.0, 4: 1.0}
    """
    terms: dict[int, list[tuple[int, Tensor, Tensor]]] = {}
    for i, x in a.items():
        for k, y in b.items():
            terms.setdefault(_BLADES[i][k], []).append((_SIGNS[i][k], x, y))
    found: dict[int, Tensor] = {}
    for blade in sorted(terms):
        (sign, x, y), *others = sorted(terms[blade], key=lambda term: -term[0])  # a positive one first
        total = x * y if sign > 0 else -(x * y)
        for sign, x, y in others:
            total = torch.addcmul(total, x, y, value=sign)
        found[blade] = total
    return found


def dual(a: Components, sign: int = 1) -> dict[int, Tensor]:
    """Return a I for sign 1, and a times the inverse of I for sign -1, with I = e123.

    >>> {k: float(v) for k, v in dual({4: torch.ones(())}).items()}  # e12 I = -e3
    {3: -1.0}
    """
    return {_BLADES[i][7]: x if sign * _SIGNS[i][7] > 0 else -x for i, x in a.items()}


def length(parts: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean length; it does not overflow, and its gradient at zero is zero, as are all others."""
    if len(parts) == 1:
        return parts[0].abs()
    with torch.no_grad():
        largest = parts[0].abs()
        for x in parts[1:]:
            largest = torch.maximum(largest, x.abs())
        zero = largest == 0
        scale = largest.masked_fill(zero, 1.0)
    total = torch.square(parts[0] / scale)
    for x in parts[1:]:
        y = x / scale
        total = torch.addcmul(total, y, y)
    # The root of zero has no slope: it is taken of one there, and the result is replaced.
    return (total.masked_fill(zero, 1.0).sqrt() * scale).masked_fill(zero, 0.0)


def grade_norm(a: Components, grade: int) -> Tensor:
    """Return the length of the part of one grade, of which at least one blade is stored."""
    return length([a[i] for i in GRADES[grade] if i in a])


def total_norm(a: Components) -> Tensor:
    """Return the length of all coefficients together."""
    return length(list(a.values()))


def divided(a: Components, by: Tensor) -> dict[int, Tensor]:
    """Return the multivector over positive numbers."""
    inverse = by.reciprocal()
    return {i: x * inverse for i, x in a.items()}
