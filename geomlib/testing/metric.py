"""The axioms of a distance, and what ties exp, log, inner products and transport of a manifold together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geomlib.testing.asserting import require
from geomlib.testing.drawing import relative, report

__all__ = ["assert_geometry", "assert_metric"]


def assert_metric(
    dist: Callable[[Tensor, Tensor], Tensor],
    points: tuple[Tensor, Tensor, Tensor],
    *,
    kappa: float = 1.0,
    factor: float = 100.0,
) -> dict[str, float]:
    r"""Fail unless a function is a distance with usable gradients, and return the worst error of every axiom.

    .. math:: d(a, a) = 0, \qquad d(a, b) = d(b, a) > 0, \qquad d(a, c) \le d(a, b) + d(b, c)

    and the gradient of d(a, a) is finite. Allowed are errors ``factor * eps * kappa`` relative to the distances of the points.

    Args:
        dist: of two batches of points.
        points: three batches of points a, b, c of one shape, no two points equal.
        kappa: condition number of the points.
        factor: see above.

    Raises:
        AssertionError: the axioms that do not hold, their errors, and the sample with the largest.

    >>> a, b, c = torch.randn(3, 5, 2, 2, dtype=torch.float64)
    >>> sorted(assert_metric(lambda x, y: (x - y).norm(dim=(-2, -1)), (a, b, c)))
    ['gradient at zero', 'identity', 'positivity', 'symmetry', 'triangle']
    """
    __tracebackhide__ = True
    a, b, c = points
    ab, bc, ac = dist(a, b), dist(b, c), dist(a, c)
    size = torch.stack([ab, bc, ac]).amax(0)
    x = a.clone().requires_grad_()
    (slope,) = torch.autograd.grad(dist(x, a).sum(), x)
    errors = {
        "identity": dist(a, a).abs() / size,
        "symmetry": (ab - dist(b, a)).abs() / size,
        "positivity": (ab <= 0).to(size),
        "triangle": torch.stack([ac - ab - bc, ab - ac - bc, bc - ab - ac]).amax(0).clamp_min(0) / size,
        "gradient at zero": (~slope.isfinite()).flatten(1).any(-1).to(size),
    }
    exact = factor * torch.finfo(a.dtype).eps * kappa
    return report("the distance", errors, dict.fromkeys(errors, exact))


def assert_geometry(
    space: Any,
    points: tuple[Tensor, Tensor],
    tangents: tuple[Tensor, Tensor],
    *,
    kappa: float = 1.0,
    factor: float = 100.0,
    view: Callable[[Tensor], Tensor] = lambda x: x,
) -> dict[str, float]:
    r"""Fail unless exp, log, distance, inner product, geodesics and transport of a manifold fit together.

    .. math::
        \operatorname{Exp}_P \operatorname{Log}_P Q = Q, \qquad \|\operatorname{Log}_P Q\|_P = d(P, Q), \qquad
        \langle \Gamma V, \Gamma W\rangle_Q = \langle V, W\rangle_P, \qquad d(P, \gamma(t)) = t\, d(P, Q)

    Args:
        space: an object with ``exp``, ``log``, ``dist``, ``inner``, ``geodesic`` and ``transport``, such as
            :class:`~geomlib.algebra.manifolds.spd.SPD`.
        points: batches P and Q.
        tangents: batches V and W of tangents at P.
        kappa: condition number of the points; allowed are ``factor * eps * kappa`` for points and tangents, and
            ``factor * eps * kappa**2`` for what is measured.
        factor: see above.
        view: what is compared, for points with several representatives.

    Raises:
        AssertionError: the laws that do not hold, their errors, and the sample with the largest.

    >>> from geomlib.algebra.manifolds.spd import SPD
    >>> from geomlib.testing.drawing import random_spd, random_symmetric
    >>> points = random_spd(4, 3, kappa=10.0), random_spd(4, 3, kappa=10.0)
    >>> found = assert_geometry(SPD("le"), points, (random_symmetric(4, 3), random_symmetric(4, 3)), kappa=10.0)
    >>> max(found.values()) < 1e-12
    True
    """
    __tracebackhide__ = True
    (P, Q), (V, W) = points, tangents
    log, d = space.log(P, Q), space.dist(P, Q)
    part = space.geodesic(P, Q, 0.3)
    moved, other = space.transport(P, Q, V), space.transport(P, Q, W)
    norm = (space.inner(P, V, V) * space.inner(P, W, W)).sqrt()
    pairs = {
        "exp of log": (view(space.exp(P, log)), view(Q)),
        "start of the geodesic": (view(space.geodesic(P, Q, 0.0)), view(P)),
        "end of the geodesic": (view(space.geodesic(P, Q, 1.0)), view(Q)),
        "geodesic by exp": (view(part), view(space.exp(P, 0.3 * log))),
        "log of exp": (space.log(P, space.exp(P, 0.5 * log)), 0.5 * log),
        "transport is linear": (space.transport(P, Q, V - 2 * W), moved - 2 * other),
        "transport there and back": (space.transport(Q, P, moved), V),
        "transport of the velocity": (space.transport(P, Q, log), -space.log(Q, P)),
    }
    errors = {name: relative(x, y, 2) for name, (x, y) in pairs.items()}
    errors |= {
        "norm of log": relative(space.inner(P, log, log).sqrt(), d, 0),
        "speed of the geodesic": relative(space.dist(P, part), 0.3 * d, 0),
        "transport is an isometry": (space.inner(Q, moved, other) - space.inner(P, V, W)).abs() / norm,
        "inner product is symmetric": (space.inner(P, V, W) - space.inner(P, W, V)).abs() / norm,
        "inner product is positive": (space.inner(P, V, V) <= 0).to(d),
    }
    require(bool((d > 0).all()), "assert_geometry: P and Q are distinct, sample by sample.")
    exact = factor * torch.finfo(P.dtype).eps * kappa
    return report(type(space).__name__, errors, {n: exact * (1.0 if n in pairs else kappa) for n in errors})
