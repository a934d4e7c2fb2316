"""Invariants of multivectors that stay finite: the quadratic form of every grade, and lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.blades import grades_of, signs_of
from geomlib.kernels.geometric_product import grade_squares

__all__ = ["EPS", "SMALL", "Grades", "exponential", "finite_squares", "grades"]

#: The constant of the denominators of the reference code.
EPS = 1e-6
#: Below this the smooth length does not fall.
SMALL = 1e-8
#: From here on the form's square may overflow, and the constant is below its round-off.
_LARGE = 1e18
#: log 2 - 0.693359375, to more digits than the difference of floats has.
_LOG_2_REST = -2.12194440054690583e-4


def finite_squares(
    x: Tensor, algebra: CliffordAlgebra, *, scalar_as_is: bool = False
) -> Tensor:  # (..., n + 1)
    """Return the quadratic form of every grade, capped where it would overflow."""
    component, form = _limits(algebra, x.dtype)
    if algebra.q_:  # infinities of both signs would cancel to NaN
        x = x.clamp(-component, component)
    return grade_squares(x, algebra, scalar_as_is=scalar_as_is).clamp(-form, form)


def _limits(algebra: CliffordAlgebra, dtype: torch.dtype) -> tuple[float, float]:
    largest = torch.finfo(dtype).max
    return (largest / (4 * algebra.size)) ** 0.5, largest / (algebra.n + 2)


@dataclass(frozen=True, eq=False)
class Grades:
    """What the loops read: where grades end, signs of the form, and numbers of the type of the features.

    The numbers are the caps of components and of the form, the smallest length squared, one, the constant of the
    normalisation's denominator, the root of one half, and from where on a form is its own length squared.
    """

    ends: np.ndarray[Any, Any]
    sign: np.ndarray[Any, Any]
    limits: np.ndarray[Any, Any]


@lru_cache(maxsize=64)
def grades(algebra: CliffordAlgebra, dtype: torch.dtype) -> Grades:
    """Return the tables of an algebra for features of a type."""
    kind = np.float32 if dtype == torch.float32 else np.float64
    g = grades_of(algebra.n)
    sign = np.diagonal(signs_of(algebra.metric)) * (1 - 2 * (g * (g - 1) // 2 % 2))
    component, form = _limits(algebra, dtype)
    numbers = [component if algebra.q_ else np.inf, form, SMALL**2, 1.0, 1.0 + EPS, 0.5**0.5, _LARGE]
    ends = np.cumsum([0, *algebra.grade_sizes]).astype(np.int64)
    return Grades(ends, sign.astype(kind), np.array(numbers, kind))


@lru_cache(maxsize=2)
def exponential(dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """Return the numbers with which loops compute sigmoids.

    They are the least and largest arguments of the exponential, one over log 2, log 2 in two parts of which the first times
    any exponent is exact, one half, one, and the inverse factorials from 2! to 13!.
    """
    kind = np.float32 if dtype == torch.float32 else np.float64
    largest = 87.0 if dtype == torch.float32 else 708.0
    first = 0.693359375
    series = [1 / math.factorial(k) for k in range(2, 14)]
    numbers = [-largest, largest, 1 / math.log(2), first, _LOG_2_REST, 0.5, 1.0, *series]
    return np.array(numbers, kind)
