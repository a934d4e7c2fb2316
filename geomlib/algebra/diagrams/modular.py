"""Elimination modulo a prime: exact statements about matrices of whole numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRIME", "independent_rows"]

#: Products of two remainders fit 64 bits.
PRIME = 2**31 - 1


def independent_rows(rows: NDArray[np.int64]) -> list[int]:
    """Return the numbers of the rows that do not depend on earlier ones, modulo the prime.

    Rows that are independent modulo a prime are so over the rationals.

    >>> independent_rows(np.array([[1, 1], [2, 2], [0, 3]]))
    [0, 2]
    """
    rest, kept = rows % PRIME, list[int]()
    for r in range(len(rest)):
        leads = np.flatnonzero(rest[r])
        if not len(leads):
            continue
        kept.append(r)
        lead = int(leads[0])
        pivot = rest[r] * pow(int(rest[r, lead]), -1, PRIME) % PRIME
        rest[r + 1 :] = (rest[r + 1 :] - rest[r + 1 :, lead : lead + 1] * pivot) % PRIME
        if len(kept) == rest.shape[1]:
            break
    return kept
