"""Assignments of different values with their signs, and the Levi-Civita symbol."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["levi_civita", "permutation_table"]


def permutation_table(n: int, t: int) -> tuple[Tensor, Tensor]:  # (P, t), (P,)
    """Return all assignments of t different values out of n, and the sign of each.

    The sign is that of the permutation they form with the missing values added in increasing order.

    >>> permutation_table(3, 2)[0].tolist(), permutation_table(3, 2)[1].tolist()
    ([[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]], [1, -1, -1, 1, 1, -1])
    """
    # NumPy: a table may be made while a step is recorded, which follows no operator that reads values.
    rows, sign = np.zeros((1, 0), np.int64), np.ones(1, np.int64)
    for _ in range(t):
        left = np.ones((len(rows), n), bool)
        np.put_along_axis(left, rows, False, 1)
        row, value = left.nonzero()
        # Inversions with what comes later: the smaller values that are left.
        smaller = left.cumsum(1)[row, value] - 1
        rows = np.concatenate([rows[row], value[:, None]], 1)
        sign = sign[row] * (1 - 2 * (smaller % 2))
    return torch.from_numpy(rows), torch.from_numpy(sign)


def levi_civita(n: int) -> Tensor:  # (n, ..., n)
    r"""Return :math:`\epsilon_{i_1 \dots i_n}`, the sign of the permutation or zero, in float64.

    >>> levi_civita(2)
    tensor([[ 0.,  1.],
            [-1.,  0.]], dtype=torch.float64)
    """
    rows, sign = permutation_table(n, n)
    symbol = torch.zeros([n] * n, dtype=torch.float64)
    symbol[tuple(rows.T)] = sign.double()
    return symbol
