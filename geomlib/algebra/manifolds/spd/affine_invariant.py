r"""The affine-invariant metric: congruence by any invertible matrix is an isometry.

.. math:: \langle V, W\rangle_P = \alpha \operatorname{tr}(P^{-1} V P^{-1} W)
    + \beta \operatorname{tr}(P^{-1} V) \operatorname{tr}(P^{-1} W)

Because of that invariance every :math:`P^{1/2}` of the usual formulas may be a Cholesky factor, except in the gyro operations.
X. Pennec, P. Fillard, N. Ayache: A Riemannian framework for tensor computing, IJCV 2006; gyro operations: X. S. Nguyen,
S. Yang: Building neural networks on matrix manifolds, a gyrovector space approach, ICML 2023, arXiv 2305.04560.
"""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist
from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, whiten
from geomlib.algebra.manifolds.spd.log_euclidean import LogEuclidean
from geomlib.algebra.manifolds.spd.mean import karcher_mean
from geomlib.algebra.manifolds.spd.metric import Metric, stretched
from geomlib.algebra.manifolds.spectral import polar, symfun

__all__ = ["AffineInvariant", "power"]


def power(A: Tensor, t: float | Tensor) -> Tensor:
    """Return A^t, where t is a number or one per matrix.

    >>> import torch
    >>> power(4 * torch.eye(1), 0.5), power(4 * torch.eye(1), torch.tensor(0.5))
    (tensor([[2.]]), tensor([[2.]]))
    """
    if isinstance(t, Tensor):
        return symfun(stretched(t) * symfun(A, "log"), "exp")
    return symfun(A, "pow", t)


def _logdet(P: Tensor) -> Tensor:
    return 2 * cholesky(P).diagonal(dim1=-2, dim2=-1).log().sum(-1)


class AffineInvariant(Metric):
    """The metric in closed form.

    Args:
        alpha: weight of tr XY at the identity.
        beta: weight of tr X tr Y.
    """

    name = "ai"

    def __init__(self, alpha: float = 1.0, beta: float = 0.0) -> None:
        self.alpha, self.beta = alpha, beta
        self._identity = LogEuclidean(alpha, beta)  # the two agree there

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic, a congruence by L of the exponential of L^-1 V L^-T."""
        L = cholesky(P)
        return congruence(L, symfun(whiten(L, V), "exp"))

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity of the geodesic, a congruence by L of the logarithm of L^-1 Q L^-T."""
        L = cholesky(P)
        return congruence(L, symfun(whiten(L, Q), "log"))

    def exp0(self, V: Tensor) -> Tensor:
        """Return exp V."""
        return symfun(V, "exp")

    def log0(self, P: Tensor) -> Tensor:
        """Return log P."""
        return symfun(P, "log")

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the sum of squared logarithms of the eigenvalues of P^-1 Q, with the trace term."""
        found = self.alpha * ai_sqdist(P, Q)
        return found + self.beta * (_logdet(Q) - _logdet(P)).square() if self.beta else found

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product of tangents at P."""
        L = cholesky(P)
        X = whiten(L, V)
        return self.inner0(X, X if W is V else whiten(L, W))

    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return alpha tr VW + beta tr V tr W."""
        return self._identity.chart_inner(V, W)

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return E V E^T with E = (Q P^-1)^1/2 = L (L^-1 Q L^-T)^1/2 L^-1."""
        L = cholesky(P)
        return congruence(L @ symfun(whiten(L, Q), "sqrt"), whiten(L, V))

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return L (L^-1 Q L^-T)^t L^T."""
        L = cholesky(P)
        return congruence(L, power(whiten(L, Q), t))

    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return P G P, less its trace part where beta is not zero."""
        L = cholesky(P)
        return congruence(L, self._identity.raised(congruence(L.mT, G)))

    def mean(self, points: Tensor, weights: Tensor, iters: int, tol: float, order: int) -> Tensor:
        """Return the Karcher mean."""
        return karcher_mean(points, weights, iters, tol, order)

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return P^1/2 Q P^1/2."""
        return congruence(symfun(P, "sqrt"), Q)

    def neg(self, P: Tensor) -> Tensor:
        """Return the inverse."""
        return symfun(P, "inv")

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return P^t."""
        return power(P, t)

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the orthogonal polar factor of P^1/2 Q^1/2; the defining chain of sums loses accuracy."""
        return polar(symfun(P, "sqrt") @ symfun(Q, "sqrt"))

    def gap0(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return log(P^-1/2 Q P^-1/2)."""
        return symfun(congruence(symfun(P, "invsqrt"), Q), "log")

    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return the inner product of log(P^-1/2 S P^-1/2) and A."""
        return self.inner0(self.gap0(P, S), A)
