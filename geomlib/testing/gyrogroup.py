r"""The laws of gyrogroups and gyrovector spaces, checked on points that the caller chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geomlib.testing.drawing import relative, report

__all__ = ["assert_gyrogroup"]


def _same(x: Tensor) -> Tensor:
    return x


def assert_gyrogroup(
    ops: Any,
    points: tuple[Tensor, Tensor, Tensor],
    loop: bool = True,
    *,
    kappa: float = 1.0,
    factor: float = 100.0,
    view: Callable[[Tensor], Tensor] = _same,
    commutative: bool = True,
) -> dict[str, float]:
    r"""Fail unless the operations obey the laws of a gyrovector space, and return the worst relative error of every law.

    .. math::
        e \oplus a = a, \quad \ominus a \oplus a = e, \quad
        a \oplus (b \oplus c) = (a \oplus b) \oplus \operatorname{gyr}[a, b] c, \quad
        \operatorname{gyr}[a, b] = \operatorname{gyr}[a \oplus b, b], \quad
        a \oplus b = \operatorname{gyr}[a, b](b \oplus a)

    and left cancellation, that gyrations are automorphisms of the sum, the laws of multiples, and that gyrations and left
    sums keep inner products and distances. Rounding grows with the condition number of the points: allowed are
    ``factor * eps * kappa``, and ``factor * eps * kappa**2`` for inner products and distances.

    Args:
        ops: an object with ``add(a, b)`` and ``neg(a)``, a gyration, ``gyrate(a, b, c)`` or ``gyration(a, b)`` that returns F
            with F c F^T, and what it has of ``scale(a, t)``, ``ginner(a, b)`` and ``dist(a, b)``; such as
            :class:`~geomlib.algebra.manifolds.spd.SPD`.
        points: three batches of points a, b, c of one shape.
        loop: whether the loop property gyr[a, b] = gyr[a + b, b] is asked for; some spaces, the Grassmannian among them, lack
            it.
        kappa: condition number of the points.
        factor: see above.
        view: what is compared, for points with several representatives, such as the projector of a frame.
        commutative: whether gyrocommutativity is asked for.

    Returns:
        The worst error of every law.

    Raises:
        AssertionError: the laws that do not hold, their errors, and the sample with the largest.

    Source: A. A. Ungar, Analytic Hyperbolic Geometry and Albert Einstein's Special Theory of Relativity (2008).

    >>> from geomlib.algebra.manifolds.spd import SPD
    >>> from geomlib.testing.drawing import random_spd
    >>> a, b, c = (random_spd(8, 3, kappa=10.0) for _ in range(3))
    >>> max(assert_gyrogroup(SPD("ai"), (a, b, c), kappa=10.0).values()) < 1e-12
    True
    """
    __tracebackhide__ = True
    a, b, c = points
    add, neg = ops.add, ops.neg
    pair: dict[str, tuple[Tensor, Tensor]] = {}

    def gyr(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        if hasattr(ops, "gyrate"):
            return ops.gyrate(x, y, z)
        F = ops.gyration(x, y)
        return F @ z @ F.mT

    ab, bc, gc = add(a, b), add(b, c), gyr(a, b, c)
    unit = add(neg(a), a)
    pair["left inverse"] = (unit, add(neg(b), b))
    pair["left identity"] = (add(unit, c), c)
    pair["right identity"] = (add(c, unit), c)
    pair["left cancellation"] = (add(neg(a), ab), b)
    pair["gyroassociativity"] = (add(a, bc), add(ab, gc))
    pair["automorphism"] = (gyr(a, b, bc), add(gyr(a, b, b), gc))
    if loop:
        pair["inverse of a gyration"] = (gyr(b, a, gc), c)  # follows from it
        pair["loop"] = (gyr(ab, b, c), gc)
    if commutative:
        pair["gyrocommutativity"] = (ab, gyr(a, b, add(b, a)))
    if hasattr(ops, "scale"):
        half = ops.scale(c, 0.5)
        pair["multiple by one"] = (ops.scale(c, 1.0), c)
        pair["multiple by minus one"] = (ops.scale(c, -1.0), neg(c))
        pair["sum of multiples"] = (ops.scale(c, 1.2), add(ops.scale(c, 0.7), half))
        pair["multiple of a multiple"] = (ops.scale(half, 0.6), ops.scale(c, 0.3))
        pair["gyration of a multiple"] = (gyr(a, b, half), ops.scale(gc, 0.5))
    number: dict[str, tuple[Tensor, Tensor]] = {}
    if hasattr(ops, "ginner"):
        number["inner product under gyrations"] = (ops.ginner(gyr(a, b, b), gc), ops.ginner(b, c))
    if hasattr(ops, "dist"):
        number["distance under left sums"] = (ops.dist(ab, add(a, c)), ops.dist(b, c))
    errors = {name: relative(view(x), view(y), 2) for name, (x, y) in pair.items()}
    errors |= {name: relative(x, y, 0) for name, (x, y) in number.items()}
    if hasattr(ops, "ginner"):  # an inner product near zero is as exact as the norms it comes from
        size = (ops.ginner(b, b) * ops.ginner(c, c)).sqrt()
        x, y = number["inner product under gyrations"]
        errors["inner product under gyrations"] = (x - y).abs() / size.clamp_min(torch.finfo(a.dtype).tiny)
    exact = factor * torch.finfo(a.dtype).eps * kappa
    return report(
        type(ops).__name__, errors, {name: exact * (kappa if name in number else 1.0) for name in errors}
    )
