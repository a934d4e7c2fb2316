"""Magnitude and weighting vectors: fixtures, closed forms, derivatives, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.metric_space import magnitude, weighting_vector


def distances(*shape: int) -> torch.Tensor:
    x = torch.randn(shape, dtype=torch.float64)
    return torch.cdist(x, x)


def test_fixture(data):
    with np.load(data / "manifolds" / "magnitude.npz", allow_pickle=False) as z:
        D, X = torch.from_numpy(z["D"]), torch.from_numpy(z["X"])
        for t, correlation in ((0.5, 0.77), (1.0, 0.84), (4.0, 0.90)):
            name = next(k for k in z.files if k.startswith("w_t") and float(k[3:].replace("p", ".")) == t)
            w = weighting_vector(D, t)
            np.testing.assert_allclose(w.numpy(), z[name], rtol=0, atol=1e-9)
            np.testing.assert_allclose(
                float(magnitude(D, t)), float(z[name.replace("w_", "mag_")]), rtol=1e-10
            )
            radius = (X - X.mean(0)).norm(dim=-1)
            assert abs(float(torch.corrcoef(torch.stack([w, radius]))[0, 1]) - correlation) < 0.02
    scales = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    together = magnitude(D, scales)
    assert together.shape == (3,) and bool((together.diff() > 0).all())


def test_closed_forms():
    """Two points; n points at equal distances; a line, whose magnitude is a sum over its gaps."""
    for d in (0.1, 1.0, 5.0):
        two = torch.tensor([[0.0, d], [d, 0.0]], dtype=torch.float64)
        assert abs(float(magnitude(two)) - 2 / (1 + np.exp(-d))) < 1e-14
        equal = d * (1 - torch.eye(6, dtype=torch.float64))
        assert abs(float(magnitude(equal)) - 6 / (1 + 5 * np.exp(-d))) < 1e-13
    x = torch.tensor([0.0, 0.3, 1.0, 4.0], dtype=torch.float64)
    line = (x[:, None] - x).abs()
    assert abs(float(magnitude(line, 2.0)) - (1 + float(torch.tanh(x.diff()).sum()))) < 1e-13


def test_weights_minimise_the_energy():
    D = distances(2, 7, 3)
    w, Z = weighting_vector(D, 0.7), torch.exp(-0.7 * D)
    torch.testing.assert_close(Z @ w[..., None], torch.ones(2, 7, 1).double(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(magnitude(D, 0.7), w.sum(-1))


def test_derivatives_and_transforms():
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def call(points, scale):
        far = (points[:, None] - points).square().sum(-1) + torch.eye(5)
        return weighting_vector(far.sqrt() * (1 - torch.eye(5)), scale)

    assert torch.autograd.gradcheck(call, (x, t))
    assert torch.autograd.gradgradcheck(call, (x, t))
    D = distances(4, 6, 2)
    torch.testing.assert_close(torch.func.vmap(weighting_vector)(D), weighting_vector(D))
    compiled = torch.compile(magnitude, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(D, 0.5), magnitude(D, 0.5))
    assert weighting_vector(D[:0]).shape == (0, 6) and magnitude(D.float()).dtype == torch.float32


def test_misuse():
    D = distances(5, 2)
    twice = torch.stack([D, D])
    twice[1] = torch.cdist(torch.zeros(5, 2), torch.zeros(5, 2)).double()
    for call, match in (
        (lambda: magnitude(twice), r"matrix \[1\] of `D` is not positive definite.*coincide"),
        (lambda: magnitude(-D), "not negative"),
        (lambda: magnitude(D, 0.0), r"t=0, expected positive"),
        (lambda: magnitude(D, float("inf")), "expected positive"),
        (lambda: magnitude(D[:3]), "square"),
        (lambda: magnitude(D + torch.triu(torch.ones(5, 5))), "not symmetric"),
        (lambda: magnitude(D * torch.nan), "NaN"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()
    # Not of negative type: the bipartite graph of two and three nodes, close together.
    graph = torch.full((5, 5), 2.0, dtype=torch.float64)
    graph[:2, 2:] = graph[2:, :2] = 1.0
    with pytest.raises(InvalidInput, match="negative type"):
        magnitude(graph.fill_diagonal_(0.0), 0.3)
    quiet = torch.func.vmap(magnitude)(twice)
    assert bool(quiet[0].isfinite()) and bool(quiet[1].isnan())
