r"""Metrics with a global chart in which the space is a Euclidean one.

With a chart c all of the geometry is vector algebra: :math:`d(P, Q) = \|c(P) - c(Q)\|`, geodesics and means are straight
lines and averages, gyro addition is addition, and gyrations are the identity.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.metric import Metric, stretched

__all__ = ["Flat"]


class Flat(Metric):
    """A metric pulled back from a Euclidean space by a chart that takes the identity to zero."""

    flat = True
    #: Whether coordinates are symmetric matrices.
    symmetric = False

    @abstractmethod
    def chart(self, P: Tensor) -> Tensor:
        """Return the coordinates of a point, a matrix."""

    @abstractmethod
    def unchart(self, X: Tensor) -> Tensor:
        """Return the point with these coordinates."""

    @abstractmethod
    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the coordinates D chart(P)[V] of a tangent."""

    @abstractmethod
    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return the tangent at P with these coordinates."""

    @abstractmethod
    def pull_adjoint(self, P: Tensor, G: Tensor) -> Tensor:
        """Return Y with tr(G pull(P, X)) = tr(Y^T X) for all coordinates X."""

    @abstractmethod
    def push0(self, V: Tensor) -> Tensor:
        """Return `push` at the identity."""

    @abstractmethod
    def pull0(self, X: Tensor) -> Tensor:
        """Return `pull` at the identity."""

    @abstractmethod
    def chart_inner(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the inner product of coordinates."""

    @abstractmethod
    def covector(self, A: Tensor) -> Tensor:
        """Return B with tr(X^T B) the inner product of coordinates X with the tangent A at the identity."""

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic from P with velocity V."""
        return self.unchart(self.chart(P) + self.push(P, V))

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity at P of the geodesic that reaches Q at time 1."""
        return self.pull(P, self.chart(Q) - self.chart(P))

    def exp0(self, V: Tensor) -> Tensor:
        """Return exp at the identity."""
        return self.unchart(self.push0(V))

    def log0(self, P: Tensor) -> Tensor:
        """Return log at the identity."""
        return self.pull0(self.chart(P))

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the squared distance."""
        return self.chart_sqdist(self.chart(P), self.chart(Q))

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product of tangents at P."""
        X = self.push(P, V)
        return self.chart_inner(X, X if W is V else self.push(P, W))

    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product at the identity."""
        return self.chart_inner(self.push0(V), self.push0(W))

    def raised(self, Y: Tensor) -> Tensor:
        """Return X with chart_inner(X, Z) = tr(Y^T Z) for all coordinates Z."""
        return Y

    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the tangent R at P with inner(P, R, V) = tr(G V) for every V."""
        return self.pull(P, self.raised(self.pull_adjoint(P, G)))

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return V at P carried along the geodesic to Q."""
        return self.pull(Q, self.push(P, V))

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return the point at time t of the geodesic from P to Q."""
        X, s = self.chart(P), stretched(t)
        return self.unchart(X + s * (self.chart(Q) - X))

    def mean(self, points: Tensor, weights: Tensor, iters: int, tol: float, order: int) -> Tensor:
        """Return the average of the coordinates; nothing is iterated."""
        return self.unchart((weights[..., None, None] * self.chart(points)).sum(-3))

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro sum."""
        return self.unchart(self.chart(P) + self.chart(Q))

    def neg(self, P: Tensor) -> Tensor:
        """Return the gyro inverse."""
        return self.unchart(-self.chart(P))

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return the gyro multiple."""
        return self.unchart(stretched(t) * self.chart(P))

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the identity: flat gyrogroups are groups."""
        n, lead = P.shape[-1], torch.broadcast_shapes(P.shape, Q.shape)
        return torch.eye(n, dtype=P.dtype, device=P.device).expand(lead)

    def gap0(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the difference of the coordinates as a tangent at the identity."""
        return self.pull0(self.chart(Q) - self.chart(P))

    def ginner(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the inner product of the coordinates."""
        X = self.chart(P)
        return self.chart_inner(X, X if Q is P else self.chart(Q))

    def chart_sqdist(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the squared distance of coordinates."""
        gap = X - Y
        return self.chart_inner(gap, gap)

    def chart_logits(self, A: Tensor, X: Tensor, Y: Tensor) -> Tensor:
        """Return the logit of coordinates X for the hyperplane through coordinates Y with normal A at the identity."""
        return (self.covector(A) * (X - Y)).sum((-2, -1))

    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return the logit of S for the hyperplane through P with normal A at the identity."""
        return self.chart_logits(A, self.chart(S), self.chart(P))
