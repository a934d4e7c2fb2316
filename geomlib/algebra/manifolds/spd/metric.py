"""What every metric of SPD matrices provides; the class `SPD` checks arguments and calls one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["Metric", "safe_sqrt", "stretched", "trace_pair"]


def trace_pair(A: Tensor, B: Tensor) -> Tensor:  # (..., n, n), (..., n, n) -> (...)
    """Return tr(A^T B).

    >>> trace_pair(torch.eye(2), torch.ones(2, 2))
    tensor(2.)
    """
    return (A * B).sum((-2, -1))


def safe_sqrt(x: Tensor) -> Tensor:
    """Return the square root with subgradient zero at zero.

    >>> x = torch.zeros(1, requires_grad=True)
    >>> safe_sqrt(x).backward()
    >>> x.grad
    tensor([0.])
    """
    inside = ~(x <= 0)  # squared lengths that round below zero are zero; NaN stays
    return torch.where(inside, torch.where(inside, x, 1.0).sqrt(), torch.zeros_like(x))


def stretched(t: float | Tensor) -> float | Tensor:
    """Return a factor per matrix, ready to multiply the matrices."""
    return t[..., None, None] if isinstance(t, Tensor) else t


class Metric(ABC):
    """A Riemannian metric on SPD matrices in the type of its arguments, which are symmetric; nothing is checked here."""

    #: Name of the metric, as the user writes it.
    name = ""
    #: Whether geodesics can be followed for ever; without that there are no gyro operations.
    complete = True
    #: Whether a global chart makes the space flat.
    flat = False

    @abstractmethod
    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic from P with velocity V."""

    @abstractmethod
    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity at P of the geodesic that reaches Q at time 1."""

    @abstractmethod
    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the squared distance."""

    @abstractmethod
    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product of tangents at P."""

    @abstractmethod
    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return V at P carried along the geodesic to Q."""

    @abstractmethod
    def mean(self, points: Tensor, weights: Tensor, iters: int, tol: float, order: int) -> Tensor:
        """Return the minimiser of the weighted sum of squared distances; weights sum to one."""

    @abstractmethod
    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the tangent R at P with inner(P, R, V) = tr(G V) for every V."""

    @abstractmethod
    def exp0(self, V: Tensor) -> Tensor:
        """Return exp at the identity."""

    @abstractmethod
    def log0(self, P: Tensor) -> Tensor:
        """Return log at the identity."""

    @abstractmethod
    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product at the identity."""

    @abstractmethod
    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return the logit of S for the hyperplane through P with normal A at the identity."""

    def dist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the distance, with subgradient zero where the points coincide."""
        return safe_sqrt(self.sqdist(P, Q))

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return the point at time t of the geodesic from P to Q."""
        return self.exp(P, stretched(t) * self.log(P, Q))

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro sum."""
        self.incomplete()

    def neg(self, P: Tensor) -> Tensor:
        """Return the gyro inverse."""
        self.incomplete()

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return the gyro multiple."""
        self.incomplete()

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return F with gyr[P, Q] R = F R F^T."""
        self.incomplete()

    def gap0(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the logarithm at the identity of the gyro sum of the inverse of P and Q."""
        return self.log0(self.add(self.neg(P), Q))

    def ginner(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the inner product of the logarithms at the identity."""
        if not self.complete:
            self.incomplete()
        X = self.log0(P)
        return self.inner0(X, X if Q is P else self.log0(Q))

    def incomplete(self) -> NoReturn:
        """Raise the error that says why there are no gyro operations."""
        raise InvalidInput(
            f"SPD(metric={self.name!r}) has no gyro operations: the metric is geodesically incomplete, so exp at the identity "
            "does not take every tangent. Use metric 'ai', 'le' or 'lc'."
        )
