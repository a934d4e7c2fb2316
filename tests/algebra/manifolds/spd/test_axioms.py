"""Laws of gyrogroups, distances and geometry at the achievable round-off, in both types; isometries of every metric."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD
from geomlib.testing import assert_geometry, assert_gyrogroup, assert_isometry, assert_metric

from .common import COMPLETE, FLAT, SPACES, space, spd, symmetric

DTYPES = (torch.float64, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kappa", [10.0, 1e2, 1e3, 1e4])
def test_gyrogroup_of_the_specification(kappa: float, dtype: torch.dtype) -> None:
    """Affine-invariant, n = 5, 200 samples; float32 errors are those of rounding results between operations."""
    points = tuple(spd(200, 5, kappa, seed, dtype) for seed in (1, 2, 3))
    found = assert_gyrogroup(SPD("ai"), points, kappa=kappa, factor=300.0)
    eps = torch.finfo(dtype).eps
    assert found["left cancellation"] < 5 * eps * kappa + 20 * eps
    assert found["gyroassociativity"] < 5 * eps * kappa + 20 * eps
    assert found["distance under left sums"] < eps * kappa**2 + 20 * eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPLETE)
def test_gyrogroup(name: str, dtype: torch.dtype) -> None:
    points = tuple(spd(20, 3, 30.0, seed, dtype) for seed in (1, 2, 3))
    assert_gyrogroup(space(name), points, kappa=30.0)


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("name", ["ai", "le", "lc"])
def test_gyrogroup_of_other_sizes(name: str, n: int) -> None:
    points = tuple(spd(10, n, 100.0, seed) for seed in (4, 5, 6))
    assert_gyrogroup(space(name), points, kappa=100.0)


@pytest.mark.parametrize("name", COMPLETE)
def test_gyro_operations_from_their_definitions(name: str) -> None:
    """Sum by transport of the logarithm, multiple and inverse by exp, angle and norm by the inner product."""
    s = space(name)
    P, Q, R = (spd(6, 3, 30.0, seed) for seed in (1, 2, 3))
    one = s.origin(P)
    torch.testing.assert_close(
        s.add(P, Q), s.exp(P, s.transport(one, P, s.log(one, Q))), rtol=1e-11, atol=1e-12
    )
    torch.testing.assert_close(s.scale(P, 0.3), s.exp(one, 0.3 * s.log(one, P)), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.neg(P), s.scale(P, -1.0), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.log0(P), s.log(one, P), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.exp0(s.log0(P)), P, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.ginner(P, Q), s.inner(one, s.log0(P), s.log0(Q)), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.gnorm(P), s.dist(one, P), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.gdist(P, Q), s.gnorm(s.add(s.neg(P), Q)), rtol=1e-11, atol=1e-12)
    chain = s.add(s.neg(s.add(P, Q)), s.add(P, s.add(Q, R)))
    torch.testing.assert_close(s.gyrate(P, Q, R), chain, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(s.coadd(P, Q), s.add(P, s.gyrate(P, s.neg(Q), Q)), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.coadd(P, Q), s.coadd(Q, P), rtol=1e-10, atol=1e-11)
    u, v = (s.add(s.neg(P), x) for x in (Q, R))
    cosine = s.ginner(u, v) / (s.gnorm(u) * s.gnorm(v))
    torch.testing.assert_close(s.gangle(P, Q, R).cos(), cosine, rtol=1e-11, atol=1e-12)
    W = s.exp0(symmetric(6, 3))
    found = s.hyperplane(Q, P, W)
    torch.testing.assert_close(found, s.ginner(u, W) / s.gnorm(W), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.hyperplane(P, P, W), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", FLAT)
def test_hyperplane_of_a_flat_metric_is_at_its_distance(name: str) -> None:
    """The nearest point of the hyperplane, found in the chart, is as far as the formula says."""
    s = space(name)
    X, P = spd(1, 3, seed=1), spd(1, 3, seed=2)
    W = s.exp0(symmetric(1, 3))
    step = s.hyperplane(X, P, W) / s.gnorm(W)
    foot = s.add(X, s.scale(W, -step))
    assert float(s.hyperplane(foot, P, W).abs()) < 1e-12
    torch.testing.assert_close(s.dist(X, foot), s.hyperplane(X, P, W).abs(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPACES)
def test_distance(name: str, dtype: torch.dtype) -> None:
    assert_metric(space(name).dist, tuple(spd(30, 3, 100.0, seed, dtype) for seed in (1, 2, 3)), kappa=100.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPLETE)
def test_geometry(name: str, dtype: torch.dtype) -> None:
    """Round trips, norms, geodesics, transport."""
    points = spd(6, 3, 10.0, 1, dtype), spd(6, 3, 10.0, 2, dtype)
    assert_geometry(space(name), points, (symmetric(6, 3, 1, dtype), symmetric(6, 3, 2, dtype)), kappa=10.0)


def test_geometry_of_bures_wasserstein() -> None:
    points = spd(3, 2, 10.0, 1), spd(3, 2, 10.0, 2)
    assert_geometry(space("bw"), points, (symmetric(3, 2, 1), symmetric(3, 2, 2)), kappa=10.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bw power", "gbw", "gbw power"])
def test_geometry_of_deformed_bures_wasserstein_metrics(name: str) -> None:
    points = spd(6, 3, 10.0, 1), spd(6, 3, 10.0, 2)
    assert_geometry(space(name), points, (symmetric(6, 3, 1), symmetric(6, 3, 2)), kappa=100.0)


def test_bures_wasserstein_transport_of_commuting_points() -> None:
    """In the shared eigenbasis every entry is multiplied by the root of a ratio of sums; at condition number 1e4 too."""
    frame = torch.linalg.qr(symmetric(4, 3))[0]
    s, d = (10.0 ** (4 * torch.rand(4, 3, dtype=torch.float64) - 2) for _ in range(2))
    P, Q = ((frame * w[:, None]) @ frame.mT for w in (s, d))
    ratio = (d[:, :, None] + d[:, None]) / (s[:, :, None] + s[:, None])
    V = symmetric(4, 3, 5)
    want = frame @ (ratio.sqrt() * (frame.mT @ V @ frame)) @ frame.mT
    torch.testing.assert_close(SPD("bw").transport(P, Q, V), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "group"),
    [("ai", "GL(3)"), ("ai power", "O(3)"), ("le trace", "O(3)"), ("bw", "O(3)"), ("bw power", "O(3)")],
)
def test_isometries_by_congruence(name: str, group: str) -> None:
    assert_isometry(space(name).dist, group, (spd(8, 3, 10.0, 1), spd(8, 3, 10.0, 2)), kappa=10.0)


def _translated(s: SPD, seed: int = 7) -> object:
    shift = s.chart(spd(1, 3, 10.0, seed))

    def translation(P: Tensor) -> Tensor:
        return s.unchart(s.chart(P) + shift)

    return translation


@pytest.mark.parametrize("name", ["ai", "ai power", "le", "le trace", "lc power", "lc", "lc limit"])
def test_other_isometries(name: str) -> None:
    s, points = space(name), (spd(8, 3, 10.0, 1), spd(8, 3, 10.0, 2))
    assert_isometry(s.dist, s.neg, points, kappa=10.0)
    if "lc" not in name:
        assert_isometry(s.dist, torch.linalg.inv, points, kappa=10.0)
    if s.flat:
        assert_isometry(s.dist, _translated(s), points, kappa=10.0)
    if "le" in name:
        assert_isometry(s.dist, lambda P: 3.0 * P, points, kappa=10.0)


def test_isometry_of_the_generalised_metric() -> None:
    """Congruence by A with A M A^T = M, here M^1/2 O M^-1/2."""
    s, points = space("gbw"), (spd(8, 3, 10.0, 1), spd(8, 3, 10.0, 2))
    assert s.M is not None
    L = torch.linalg.cholesky(s.M)
    A = L @ torch.linalg.qr(symmetric(1, 3)[0])[0] @ torch.linalg.inv(L)
    assert_isometry(s.dist, lambda P: A @ P @ A.T, points, kappa=10.0)
    with pytest.raises(AssertionError, match="breaks"):
        assert_isometry(s.dist, "O(3)", points, kappa=10.0)


@pytest.mark.parametrize(("name", "group"), [("le", "GL(3)"), ("bw", "GL(3)"), ("lc", "O(3)")])
def test_what_is_no_isometry(name: str, group: str) -> None:
    with pytest.raises(AssertionError, match="breaks"):
        assert_isometry(space(name).dist, group, (spd(8, 3, 10.0, 1), spd(8, 3, 10.0, 2)), kappa=10.0)


@pytest.mark.parametrize("metric", ["ai", "lc", "bw"])
def test_powers_tend_to_the_limit(metric: str) -> None:
    """The gap to theta = 0 falls in proportion to theta until eps / theta, and a limit of "bw" is a quarter of "le"."""
    P, Q = spd(4, 3, 10.0, 1), spd(4, 3, 10.0, 2)
    want = SPD(metric, theta=0.0).dist(P, Q)
    gaps = [float((SPD(metric, theta=t).dist(P, Q) - want).abs().max()) for t in (1e-2, 1e-3, 1e-4)]
    assert gaps[0] < 0.1 and all(b < 0.15 * a for a, b in pairwise(gaps))
    assert float((SPD(metric, theta=1e-8).dist(P, Q) - want).abs().max()) < 1e-6
    if metric != "lc":
        scale = 0.5 if metric == "bw" else 1.0
        torch.testing.assert_close(want, scale * SPD("le").dist(P, Q), rtol=1e-12, atol=0)
