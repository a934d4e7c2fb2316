"""Tables of the map ``x -> k x ~k``, whose matrix is quadratic in k."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from geomlib.algebra.clifford.blades import grades_of, signs_of, xor_indices

__all__ = ["action_table"]


@lru_cache(maxsize=16)
def action_table(
    metric: tuple[int, ...], blades: tuple[int, ...]
) -> np.ndarray[Any, Any]:  # (K, K, 2^n, 2^n): factors of k, output, input
    r"""Return T with :math:`(k x \tilde k)_a = \sum_{mnb} T_{mnab}\, k_m k_n\, x_b`, for k with the given blades.

    Args:
        metric: squares of the generators.
        blades: numbers of the blades that k may have.

    >>> action_table((1, 1), (0, 3)).shape
    (2, 2, 4, 4)
    """
    n = len(metric)
    signs, to, grade = signs_of(metric), xor_indices(n), grades_of(n)
    size, count = 2**n, len(blades)
    table = np.zeros((count, count, size, size))
    for m, left in enumerate(blades):
        for k, right in enumerate(blades):
            turned = 1 - 2 * (grade[right] * (grade[right] - 1) // 2 & 1)
            for x in range(size):
                middle = to[left, x]
                out = to[middle, right]
                table[m, k, out, x] = turned * signs[left, x] * signs[middle, right]
    table.setflags(write=False)
    return table
