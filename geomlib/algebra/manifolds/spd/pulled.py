r"""Metrics pulled back by a power, :math:`P \mapsto P^\theta`, or by a congruence, :math:`P \mapsto M^{-1/2} P M^{-1/2}`.

.. math:: g_P(V, W) = \theta^{-2}\, g'_{P^\theta}(D(\cdot)^\theta_P[V], D(\cdot)^\theta_P[W]), \qquad
    d(P, Q) = |\theta|^{-1} d'(P^\theta, Q^\theta)

As theta tends to zero the metric tends to a flat one on the logarithms. Y. Thanwerdas, X. Pennec: The geometry of
mixed-Euclidean metrics on symmetric positive definite matrices, arXiv 2111.02990.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, whiten
from geomlib.algebra.manifolds.spd.flat import Flat
from geomlib.algebra.manifolds.spd.metric import Metric
from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun

__all__ = ["Generalised", "Power", "PowerFlat"]


class _Pulled(Metric):
    """A metric seen through a diffeomorphism of SPD matrices."""

    def __init__(self, base: Metric, theta: float) -> None:
        self.base, self.theta, self.name, self.complete = base, theta, base.name, base.complete

    @abstractmethod
    def to(self, P: Tensor) -> Tensor:
        """Return the image of a point."""

    @abstractmethod
    def back(self, P: Tensor) -> Tensor:
        """Return the point with this image."""

    @abstractmethod
    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the image of a tangent at P."""

    @abstractmethod
    def pull(self, image: Tensor, V: Tensor) -> Tensor:
        """Return the tangent with this image, which is a tangent at ``image``."""

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic from P with velocity V."""
        return self.back(self.base.exp(self.to(P), self.push(P, V)))

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity at P of the geodesic that reaches Q at time 1."""
        image = self.to(P)
        return self.pull(image, self.base.log(image, self.to(Q)))

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the squared distance."""
        return self.base.sqdist(self.to(P), self.to(Q)) / self.theta**2

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product of tangents at P."""
        X = self.push(P, V)
        return self.base.inner(self.to(P), X, X if W is V else self.push(P, W)) / self.theta**2

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return V at P carried along the geodesic to Q."""
        end = self.to(Q)
        return self.pull(end, self.base.transport(self.to(P), end, self.push(P, V)))

    @abstractmethod
    def _to_image(self, image: Tensor, G: Tensor) -> Tensor:
        """Return the adjoint of `pull`."""

    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the tangent R at P with inner(P, R, V) = tr(G V) for every V."""
        image = self.to(P)
        return self.theta**2 * self.pull(image, self.base.rgrad(image, self._to_image(image, G)))

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return the point at time t of the geodesic from P to Q."""
        return self.back(self.base.geodesic(self.to(P), self.to(Q), t))

    def mean(self, points: Tensor, weights: Tensor, iters: int, tol: float, order: int) -> Tensor:
        """Return the image's mean, taken back."""
        return self.back(self.base.mean(self.to(points), weights, iters, tol, order))


class Power(_Pulled):
    """A metric pulled back by P -> P^theta."""

    def to(self, P: Tensor) -> Tensor:
        """Return P^theta."""
        return symfun(P, "pow", self.theta)

    def back(self, P: Tensor) -> Tensor:
        """Return P^(1/theta)."""
        return symfun(P, "pow", 1 / self.theta)

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the derivative of P^theta."""
        return derivative_symfun(P, "pow", V, self.theta)

    def pull(self, image: Tensor, V: Tensor) -> Tensor:
        """Return the derivative of P^(1/theta)."""
        return derivative_symfun(image, "pow", V, 1 / self.theta)

    def _to_image(self, image: Tensor, G: Tensor) -> Tensor:
        return self.pull(image, G)

    def exp0(self, V: Tensor) -> Tensor:
        """Return exp at the identity."""
        return self.back(self.base.exp0(self.theta * V))

    def log0(self, P: Tensor) -> Tensor:
        """Return log at the identity."""
        return self.base.log0(self.to(P)) / self.theta

    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product at the identity, where the powers cancel."""
        return self.base.inner0(V, W)

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro sum."""
        return self.back(self.base.add(self.to(P), self.to(Q)))

    def neg(self, P: Tensor) -> Tensor:
        """Return the gyro inverse."""
        return self.back(self.base.neg(self.to(P)))

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return the gyro multiple."""
        return self.back(self.base.scale(self.to(P), t))

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the orthogonal matrix of the images, which acts before and after the power alike."""
        return self.base.gyration(self.to(P), self.to(Q))

    def gap0(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return that of the images, divided by theta."""
        return self.base.gap0(self.to(P), self.to(Q)) / self.theta

    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return the logit of the images, divided by theta."""
        return self.base.logit(self.to(S), self.to(P), A) / self.theta


class Generalised(_Pulled):
    """A metric pulled back by the congruence that takes M to the identity."""

    def __init__(self, base: Metric, M: Tensor) -> None:
        super().__init__(base, 1.0)
        self.name = "g" + base.name
        self.M = M

    def _root(self, P: Tensor) -> Tensor:
        return cholesky(self.M.to(P))

    def to(self, P: Tensor) -> Tensor:
        """Return K^-1 P K^-T with M = K K^T: rotations, by which it differs from M^-1/2, are isometries of the base."""
        return whiten(self._root(P), P)

    def back(self, P: Tensor) -> Tensor:
        """Return K P K^T."""
        return congruence(self._root(P), P)

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return K^-1 V K^-T."""
        return self.to(V)

    def pull(self, image: Tensor, V: Tensor) -> Tensor:
        """Return K V K^T."""
        return self.back(V)

    def _to_image(self, image: Tensor, G: Tensor) -> Tensor:
        return congruence(self._root(G).mT, G)

    def exp0(self, V: Tensor) -> Tensor:
        """Return exp at the identity."""
        return self.exp(self._eye(V), V)

    def log0(self, P: Tensor) -> Tensor:
        """Return log at the identity."""
        return self.log(self._eye(P), P)

    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product at the identity."""
        return self.inner(self._eye(V), V, W)

    def _eye(self, V: Tensor) -> Tensor:
        return torch.eye(V.shape[-1], dtype=V.dtype, device=V.device).expand(V.shape)

    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return 1/2 <Log_P S, L_P(L A L^T)> in the coordinates where M is the identity."""
        return self.base.logit(self.to(S), self.to(P), A)


class PowerFlat(Flat):
    """A flat metric pulled back by P -> P^theta; its chart is the base's, divided by theta."""

    def __init__(self, base: Flat, theta: float) -> None:
        self.base, self.theta, self.name = base, theta, base.name

    def chart(self, P: Tensor) -> Tensor:
        """Return the base's chart of P^theta over theta."""
        return self.base.chart(symfun(P, "pow", self.theta)) / self.theta

    def unchart(self, X: Tensor) -> Tensor:
        """Return the point with these coordinates."""
        return symfun(self.base.unchart(self.theta * X), "pow", 1 / self.theta)

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the coordinates of a tangent."""
        image = symfun(P, "pow", self.theta)
        return self.base.push(image, derivative_symfun(P, "pow", V, self.theta)) / self.theta

    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return the tangent at P with these coordinates."""
        image = symfun(P, "pow", self.theta)
        return derivative_symfun(image, "pow", self.base.pull(image, self.theta * X), 1 / self.theta)

    def pull_adjoint(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the base's of the gradient carried to P^theta."""
        image = symfun(P, "pow", self.theta)
        return self.theta * self.base.pull_adjoint(image, derivative_symfun(image, "pow", G, 1 / self.theta))

    def push0(self, V: Tensor) -> Tensor:
        """Return the base's, where the powers cancel."""
        return self.base.push0(V)

    def pull0(self, X: Tensor) -> Tensor:
        """Return the base's, where the powers cancel."""
        return self.base.pull0(X)

    def chart_inner(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the base's inner product of coordinates."""
        return self.base.chart_inner(X, Y)

    def covector(self, A: Tensor) -> Tensor:
        """Return the base's."""
        return self.base.covector(A)
