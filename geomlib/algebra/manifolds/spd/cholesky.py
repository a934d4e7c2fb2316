r"""Coordinates in which one SPD matrix is the identity: congruence by its Cholesky factor.

With :math:`P = L L^T` a congruence by :math:`L^{-1}` does all that one by :math:`P^{-1/2}` does wherever only the result in
the original coordinates counts, for a fraction of the cost of an eigendecomposition and with derivatives of any order.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import symmetrize

__all__ = ["cholesky", "congruence", "half", "unwhiten", "whiten"]


def half(A: Tensor) -> Tensor:  # (..., n, n)
    """Return the strictly lower part plus half of the diagonal; with its transpose it sums to a symmetric A.

    >>> half(torch.ones(2, 2))
    tensor([[0.5000, 0.0000],
            [1.0000, 0.5000]])
    """
    return A.tril() - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1)) / 2


def cholesky(P: Tensor) -> Tensor:  # (..., n, n)
    """Return the lower factor L of P = L L^T; where there is none it is NaN, never a finite answer.

    >>> cholesky(torch.tensor([[4.0]]))
    tensor([[2.]])
    """
    L, info = torch.linalg.cholesky_ex(symmetrize(P))
    return torch.where((info == 0)[..., None, None], L, torch.nan)


def whiten(L: Tensor, X: Tensor) -> Tensor:  # (..., n, n)
    """Return L^-1 X L^-T of a symmetric X.

    >>> whiten(2 * torch.eye(1), torch.tensor([[8.0]]))
    tensor([[2.]])
    """
    left = torch.linalg.solve_triangular(L, X, upper=False)
    return symmetrize(torch.linalg.solve_triangular(L, left.mT, upper=False))


def unwhiten(L: Tensor, X: Tensor) -> Tensor:  # (..., n, n)
    """Return L^-T X L^-1 of a symmetric X.

    >>> unwhiten(2 * torch.eye(1), torch.tensor([[8.0]]))
    tensor([[2.]])
    """
    left = torch.linalg.solve_triangular(L.mT, X, upper=True)
    return symmetrize(torch.linalg.solve_triangular(L.mT, left.mT, upper=True))


def congruence(W: Tensor, X: Tensor) -> Tensor:  # (..., m, n), (..., n, n) -> (..., m, m)
    """Return W X W^T of a symmetric X, symmetric to the last bit.

    >>> congruence(torch.tensor([[1.0, 1.0]]), torch.eye(2))
    tensor([[2.]])
    """
    return symmetrize(W @ X @ W.mT)
