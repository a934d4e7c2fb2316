r"""Gyro operations that follow from sum, inverse, gyration and the inner product at the identity.

.. math::
    \operatorname{gyr}[P, Q] R = F R F^T, \qquad P \boxplus Q = P \oplus \operatorname{gyr}[P, \ominus Q] Q, \qquad
    \cos\angle_P(Q, R) = \frac{\langle \ominus P \oplus Q, \ominus P \oplus R\rangle}
                              {\|\ominus P \oplus Q\|\, \|\ominus P \oplus R\|}

X. S. Nguyen, S. Yang: Building neural networks on matrix manifolds, a gyrovector space approach, ICML 2023, arXiv 2305.04560.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.cholesky import congruence
from geomlib.algebra.manifolds.spd.metric import Metric, safe_sqrt

__all__ = ["coadd", "gangle", "gnorm", "gyrate", "hyperplane"]


def gyrate(metric: Metric, P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    """Return gyr[P, Q] R; in flat metrics it is R."""
    F = metric.gyration(P, Q)
    return R.expand(torch.broadcast_shapes(R.shape, F.shape)) if metric.flat else congruence(F, R)


def coadd(metric: Metric, P: Tensor, Q: Tensor) -> Tensor:
    """Return the gyro cosum, which is commutative and is what right cancellation needs."""
    return metric.add(P, Q if metric.flat else gyrate(metric, P, metric.neg(Q), Q))


def gnorm(metric: Metric, P: Tensor) -> Tensor:
    """Return the distance from the identity, with subgradient zero there."""
    return safe_sqrt(metric.ginner(P, P))


def gangle(metric: Metric, P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    """Return the angle at P in radians; an arc tangent of half the angle keeps small and straight ones exact."""
    u, v = metric.gap0(P, Q), metric.gap0(P, R)
    a, b = safe_sqrt(metric.inner0(u, u)), safe_sqrt(metric.inner0(v, v))
    u, v = u * b[..., None, None], v * a[..., None, None]
    less, more = (safe_sqrt(metric.inner0(x, x)) for x in (u - v, u + v))
    return 2 * torch.atan2(less, more)


def hyperplane(metric: Metric, X: Tensor, P: Tensor, W: Tensor) -> Tensor:
    """Return the signed pseudo-gyrodistance of X from the hyperplane through P whose normal is the point W."""
    normal = metric.log0(W)
    return metric.inner0(metric.gap0(P, X), normal) / safe_sqrt(metric.inner0(normal, normal))
