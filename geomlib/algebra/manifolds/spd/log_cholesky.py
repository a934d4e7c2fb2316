r"""The log-Cholesky metric: Cholesky factors with logarithms on the diagonal form a flat space.

.. math:: \varphi(P) = \lfloor L\rfloor + \log D(L), \qquad P = L L^T, \qquad d(P, Q) = \|\varphi(P) - \varphi(Q)\|_F

No spectral function is needed. It depends on the order of the coordinates: its isometries are its own translations, not
rotations. Zhenhua Lin: Riemannian geometry of symmetric positive definite matrices via Cholesky decomposition,
SIAM J. Matrix Anal. Appl. 2019, arXiv 1908.09326.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.cholesky import cholesky, half, whiten
from geomlib.algebra.manifolds.spd.flat import Flat
from geomlib.algebra.manifolds.spd.log_euclidean import LogEuclidean
from geomlib.algebra.manifolds.spd.metric import trace_pair

__all__ = ["LogCholesky", "LogCholeskyLimit"]


def _diagonal(A: Tensor) -> Tensor:
    return A.diagonal(dim1=-2, dim2=-1)


def _replaced(A: Tensor, diagonal: Tensor) -> Tensor:
    """Return the strictly lower part with this diagonal."""
    return A.tril(-1) + torch.diag_embed(diagonal)


def _both(A: Tensor) -> Tensor:
    return A + A.mT


class _Triangles(Flat):
    """What charts of lower triangles share: at the identity they are half(V), and they are paired entry by entry."""

    symmetric = False

    def push0(self, V: Tensor) -> Tensor:
        """Return half(V)."""
        return half(V)

    def pull0(self, X: Tensor) -> Tensor:
        """Return X + X^T of the lower triangle."""
        return _both(X.tril())

    def chart_inner(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the sum of products over the lower triangle."""
        return trace_pair(X.tril(), Y)

    def covector(self, A: Tensor) -> Tensor:
        """Return half(A)."""
        return half(A)


class LogCholesky(_Triangles):
    """Flat in the chart of lower triangular matrices, the lower part of L and the logarithms of its diagonal."""

    name = "lc"

    def chart(self, P: Tensor) -> Tensor:
        """Return the strictly lower part of the Cholesky factor and the logarithms of its diagonal."""
        L = cholesky(P)
        return _replaced(L, _diagonal(L).log())

    def unchart(self, X: Tensor) -> Tensor:
        """Return L L^T with the exponentials of the diagonal; what is above the diagonal is not read."""
        L = _replaced(X, _diagonal(X).exp())
        return L @ L.mT

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the change of the chart: dL = L half(L^-1 V L^-T), its diagonal divided by that of L."""
        L = cholesky(P)
        dL = L @ half(whiten(L, V))
        return _replaced(dL, _diagonal(dL) / _diagonal(L))

    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return dL L^T + L dL^T."""
        L = cholesky(P)
        return _both(_replaced(X, _diagonal(X) * _diagonal(L)) @ L.mT)

    def pull_adjoint(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the lower triangle of 2 G L, its diagonal multiplied by that of L."""
        L = cholesky(P)
        Y = 2 * G @ L
        return _replaced(Y, _diagonal(Y) * _diagonal(L))


class LogCholeskyLimit(_Triangles, LogEuclidean):
    """What power-deformed log-Cholesky metrics tend to as the power tends to zero: half(log P) in place of the factor."""

    name = "lc"

    def chart(self, P: Tensor) -> Tensor:
        """Return half(log P)."""
        return half(super().chart(P))

    def unchart(self, X: Tensor) -> Tensor:
        """Return exp(X + X^T)."""
        return super().unchart(_both(X.tril()))

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return half(D log(P)[V])."""
        return half(super().push(P, V))

    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return D exp(log P)[X + X^T]."""
        return super().pull(P, _both(X.tril()))

    def pull_adjoint(self, P: Tensor, G: Tensor) -> Tensor:
        """Return twice the lower triangle of D exp(log P)[G]."""
        return 2 * LogEuclidean.pull(self, P, G).tril()

    def raised(self, Y: Tensor) -> Tensor:
        """Return Y."""
        return Y
