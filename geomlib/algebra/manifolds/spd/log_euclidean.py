r"""The log-Euclidean metric: matrix logarithms form a flat space.

.. math:: d(P, Q) = \|\log P - \log Q\|, \qquad \|X\|^2 = \alpha \operatorname{tr} X^2 + \beta \operatorname{tr}^2 X

V. Arsigny, P. Fillard, X. Pennec, N. Ayache: Geometric means in a novel vector space structure on symmetric positive-definite
matrices, SIAM J. Matrix Anal. Appl. 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.flat import Flat
from geomlib.algebra.manifolds.spd.metric import trace_pair
from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun

__all__ = ["LogEuclidean"]


def _trace(A: Tensor) -> Tensor:
    return A.diagonal(dim1=-2, dim2=-1).sum(-1)


class LogEuclidean(Flat):
    """Flat in the chart log.

    Args:
        alpha: weight of tr XY at the identity.
        beta: weight of tr X tr Y.
    """

    name = "le"
    symmetric = True

    def __init__(self, alpha: float = 1.0, beta: float = 0.0) -> None:
        self.alpha, self.beta = alpha, beta

    def chart(self, P: Tensor) -> Tensor:
        """Return log P."""
        return symfun(P, "log")

    def unchart(self, X: Tensor) -> Tensor:
        """Return exp X."""
        return symfun(X, "exp")

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return D log(P)[V]."""
        return derivative_symfun(P, "log", V)

    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return D exp(log P)[X]."""
        return derivative_symfun(symfun(P, "log"), "exp", X)

    def push0(self, V: Tensor) -> Tensor:
        """Return V."""
        return V

    def pull0(self, X: Tensor) -> Tensor:
        """Return X."""
        return X

    def chart_inner(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return alpha tr XY + beta tr X tr Y."""
        found = self.alpha * trace_pair(X, Y)
        return found + self.beta * _trace(X) * _trace(Y) if self.beta else found

    def pull_adjoint(self, P: Tensor, G: Tensor) -> Tensor:
        """Return D exp(log P)[G]: the derivative of a spectral function is its own adjoint."""
        return self.pull(P, G)

    def raised(self, Y: Tensor) -> Tensor:
        """Return (Y - beta / (alpha + n beta) tr(Y) I) / alpha."""
        if not self.beta:
            return Y / self.alpha
        n = Y.shape[-1]
        part = self.beta / (self.alpha + n * self.beta) * _trace(Y)[..., None, None]
        return (Y - part * torch.eye(n, dtype=Y.dtype, device=Y.device)) / self.alpha

    def covector(self, A: Tensor) -> Tensor:
        """Return alpha A + beta tr(A) I."""
        if not self.beta:
            return self.alpha * A
        eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        return self.alpha * A + self.beta * _trace(A)[..., None, None] * eye
