"""Means: they minimise, move with isometries, and weigh as told; laws at sizes and condition numbers that are drawn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.algebra.manifolds.spd import SPD
from geomlib.testing import assert_geometry, assert_gyrogroup, assert_metric

from .common import SPACES, generator, space, spd, symmetric


@pytest.mark.parametrize("name", SPACES)
def test_a_mean_minimises(name: str) -> None:
    """Steps to either side along any direction cost more, by the curvature of squared distances."""
    s, X = space(name), spd(5, 3, 30.0, 1)
    w = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], dtype=torch.float64) / 9
    G = s.mean(X, 4 * w)

    def cost(P: torch.Tensor) -> torch.Tensor:
        return (w * s.sqdist(P.unsqueeze(-3), X)).sum(-1)

    V = symmetric(6, 3, 2)
    V = 1e-3 * V / s.inner(G, V, V).sqrt()[:, None, None]
    sides = torch.stack([cost(s.exp(G, V)), cost(s.exp(G, -V))])
    assert bool((sides > cost(G)).all())
    torch.testing.assert_close(sides[0], sides[1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("metric", ["ai", "bw", "le"])
def test_a_mean_moves_with_isometries(metric: str) -> None:
    s, X = SPD(metric), spd(5, 3, 30.0, 1)
    A = torch.randn(3, 3, generator=generator(3), dtype=torch.float64)
    A = A if metric == "ai" else torch.linalg.qr(A)[0]
    torch.testing.assert_close(s.mean(A @ X @ A.T), A @ s.mean(X) @ A.T, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("metric", ["ai", "bw", "lc"])
def test_two_points_and_batches(metric: str) -> None:
    """The mean of two points lies on their geodesic where the weights say; a batch is its members."""
    s, X = SPD(metric), torch.stack([spd(2, 3, 100.0, seed) for seed in (1, 2, 3)])
    w = torch.tensor([0.3, 0.7], dtype=torch.float64)
    found = s.mean(X, w)
    torch.testing.assert_close(found, s.geodesic(X[:, 0], X[:, 1], 0.7), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(found[1], s.mean(X[1], w), rtol=1e-12, atol=1e-13)
    ways = torch.tensor([[0.3, 0.7], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(s.mean(X[0], ways)[1], X[0, 0], rtol=1e-11, atol=1e-12)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["ai", "ai power", "le", "lc", "lc power"]),
    n=st.integers(1, 6),
    power=st.floats(0.1, 3.0),
    seed=st.integers(0, 10**6),
)
def test_laws_at_drawn_sizes(name: str, n: int, power: float, seed: int) -> None:
    s, kappa = space(name, n), 10.0**power
    points = tuple(spd(4, n, kappa, seed + k) for k in range(3))
    assert_gyrogroup(s, points, kappa=kappa, factor=300.0)
    assert_metric(s.dist, points, kappa=kappa)
    assert_geometry(
        s, points[:2], (symmetric(4, n, seed), symmetric(4, n, seed + 1)), kappa=kappa, factor=300.0
    )
