"""Flags: nested eigenspaces put a covariance together again, and only gaps of the flag enter gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from geomlib.algebra.manifolds.grassmann import Grassmann, dominant_frame
from geomlib.algebra.manifolds.spectral import flag_projectors, spectrum, symmetrize, top_projector


def covariance(values: list[float], seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=g, dtype=torch.float64))[0]
    return symmetrize((q * torch.tensor(values, dtype=torch.float64)) @ q.T)


@pytest.mark.parametrize(
    "values", [[4.0, 2.5, 1.0, 0.3, 0.1], [3.0, 3.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0, 0.5]]
)
def test_covariance_of_nested_eigenspaces(values):
    """Of equal eigenvalues only the last dimension is in the flag: the others have no gap and no weight."""
    A, n = covariance(values), len(values)
    dims = [i + 1 for i in range(n) if i + 1 == n or values[i] > values[i + 1]]
    weights = torch.tensor([values[d - 1] - (values[d] if d < n else 0.0) for d in dims], dtype=torch.float64)
    flag = flag_projectors(A, dims)
    assert torch.allclose((weights[:, None, None] * flag).sum(0), A, rtol=0, atol=1e-14)
    for small, large in pairwise(flag):
        assert torch.allclose(large @ small, small, rtol=0, atol=1e-14)
    assert [round(float(p.trace())) for p in flag] == dims
    assert torch.allclose(spectrum(A).flip(0), torch.tensor(values, dtype=torch.float64))


def test_gradients_of_a_flag_with_equal_eigenvalues():
    A = covariance([3.0, 3.0, 1.0, 1.0]).requires_grad_()
    G = torch.randn(2, 4, 4, dtype=torch.float64)

    def call(a):
        return (flag_projectors(symmetrize(a), (2,)) * G[0]).sum() + top_projector(symmetrize(a), 2).pow(
            3
        ).sum()

    assert torch.autograd.gradcheck(call, A)
    assert torch.autograd.gradgradcheck(call, A)


def test_subspaces_of_a_flag_are_points_of_grassmannians():
    A = covariance([4.0, 2.5, 1.0, 0.3, 0.1])
    flag = flag_projectors(A, (1, 3))
    for p, found in zip((1, 3), flag, strict=True):
        assert float(Grassmann(5, p, "proj").dist(found, top_projector(A, p))) < 1e-14
        assert bool(Grassmann(5, p).same_subspace(dominant_frame(A, p), dominant_frame(2 * A, p), 1e-13))
