"""The checks of manifolds pass on right operations and name the law that wrong ones break."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.testing import (
    assert_geometry,
    assert_gyrogroup,
    assert_isometry,
    assert_metric,
    random_spd,
    random_symmetric,
)


def points(kappa: float = 10.0, n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(random_spd(8, n, kappa=kappa) for _ in range(3))  # pyright: ignore[reportReturnType]


class Broken:
    """The affine-invariant space with one method replaced."""

    def __init__(self, metric: str = "ai", **methods: Any) -> None:
        self._space = SPD(metric)
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)


def cholesky_sum(P: Tensor, Q: Tensor) -> Tensor:
    L = torch.linalg.cholesky(P)
    return L @ Q @ L.mT


def unfaithful(P: Tensor, Q: Tensor) -> Tensor:
    """The gyration by (P + Q)^-1/2 P^1/2 Q^1/2, which loses orthogonality as the condition number grows."""
    ai = SPD("ai", check=False)
    return symfun(ai.add(P, Q), "invsqrt") @ symfun(P, "sqrt") @ symfun(Q, "sqrt")


def unfaithful_gyrate(P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    F = unfaithful(P, Q)
    return F @ R @ F.mT


def chain(P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    """The gyration by its definition, four sums."""
    ai = SPD("ai", check=False)
    return ai.add(ai.neg(ai.add(P, Q)), ai.add(P, ai.add(Q, R)))


@pytest.mark.parametrize(
    ("law", "methods"),
    [
        ("gyroassociativity", {"add": cholesky_sum}),
        ("left inverse", {"neg": lambda P: P}),
        ("gyroassociativity", {"gyrate": lambda P, Q, R: R}),
        ("gyrocommutativity", {"gyrate": lambda P, Q, R: SPD("ai").gyrate(Q, P, R)}),
        ("sum of multiples", {"scale": lambda P, t: t * P}),
        ("inner product under gyrations", {"ginner": lambda P, Q: (P * Q)[..., 0, 0]}),
        ("distance under left sums", {"dist": lambda P, Q: (P - Q).norm(dim=(-2, -1))}),
        ("multiple by minus one", {"neg": lambda P: 2 * SPD("ai").neg(P)}),
    ],
)
def test_wrong_gyrogroups(law: str, methods: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match=law):
        assert_gyrogroup(Broken(**methods), points(), kappa=10.0)


def test_the_gyration_of_log_cholesky_is_no_affine_invariant_one() -> None:
    with pytest.raises(AssertionError, match="gyroassociativity"):
        assert_gyrogroup(Broken("lc", gyrate=SPD("ai").gyrate), points(), kappa=10.0)


@pytest.mark.parametrize("gyrate", [unfaithful_gyrate, chain])
def test_inexact_gyrations(gyrate: Any) -> None:
    """Both are right on paper and fail at condition number 1e4, where the polar factor passes."""
    given = points(1e4, 8)
    assert_gyrogroup(SPD("ai"), given, kappa=1e4, factor=100.0)
    with pytest.raises(AssertionError, match="breaks"):
        assert_gyrogroup(Broken(gyrate=gyrate), given, kappa=1e4, factor=100.0)


def test_loop_property_can_be_left_out() -> None:
    """The loop property is asked for unless it is left out."""
    assert "loop" in assert_gyrogroup(SPD("le"), points(), kappa=10.0)
    assert "loop" not in assert_gyrogroup(SPD("le"), points(), loop=False, kappa=10.0)


@pytest.mark.parametrize(
    ("axiom", "dist"),
    [
        ("symmetry", lambda P, Q: SPD("ai").dist(P, Q) * P[..., 0, 0]),
        ("triangle", lambda P, Q: SPD("ai").dist(P, Q) ** 3),
        ("identity", lambda P, Q: SPD("ai").dist(P, Q) + 1e-6),
        ("positivity", lambda P, Q: SPD("ai").dist(P, Q) * 0.0),
        ("gradient at zero", lambda P, Q: (P - Q).square().sum((-2, -1)).sqrt()),
    ],
)
def test_wrong_distances(axiom: str, dist: Any) -> None:
    with pytest.raises(AssertionError, match=axiom):
        assert_metric(dist, points(), kappa=10.0)


@pytest.mark.parametrize(
    ("law", "methods"),
    [
        ("exp of log", {"exp": lambda P, V: SPD("ai").exp(P, 0.9 * V)}),
        ("norm of log", {"dist": SPD("le").dist}),
        ("transport is an isometry", {"transport": lambda P, Q, V: V}),
        ("transport is linear", {"transport": lambda P, Q, V: SPD("ai").transport(P, Q, V @ V)}),
        ("end of the geodesic", {"geodesic": lambda P, Q, t: SPD("ai").geodesic(P, Q, 0.9 * t)}),
        (
            "inner product is symmetric",
            {"inner": lambda P, V, W: (V @ P @ W)[..., 0, 1] + V.norm() * W.norm()},
        ),
    ],
)
def test_wrong_geometry(law: str, methods: dict[str, Any]) -> None:
    P, Q, _ = points()
    with pytest.raises(AssertionError, match=law):
        assert_geometry(
            Broken(**methods), (P, Q), (random_symmetric(8, 3), random_symmetric(8, 3)), kappa=10.0
        )


def test_wrong_isometries() -> None:
    P, Q, _ = points()
    with pytest.raises(AssertionError, match="GL"):
        assert_isometry(SPD("bw").dist, "GL(3)", (P, Q), kappa=10.0)
    with pytest.raises(AssertionError, match="inv"):
        assert_isometry(SPD("bw").dist, torch.linalg.inv, (P, Q), kappa=10.0)


def test_nan_is_an_error() -> None:
    P, Q, R = points()
    with pytest.raises(AssertionError, match="identity"):
        assert_metric(lambda x, y: SPD("ai").dist(x, y) * torch.nan, (P, Q, R), kappa=10.0)
