"""The matrix functions behind exp and log: 40-digit references, derivatives, ranges."""

from __future__ import annotations

import mpmath
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.manifolds.grassmann import angle_over_sine, trigonometric
from tests.algebra.manifolds.grassmann.common import error, frames

SPECTRA = {
    "spread": [1e-16, 1e-6, 0.3, 2.0, 9.0],
    "zero": [0.0] * 5,
    "repeated": [0.7, 0.7, 0.7, 2.0, 2.0],
    "long": [1.0, 40.0, 400.0, 2500.0, 1e4],
}


def matrix(values, seed: int = 0) -> torch.Tensor:
    v = frames(5, 5, seed=seed)
    return (v * torch.tensor(values, dtype=torch.float64)) @ v.T


def exact(A: torch.Tensor, function) -> torch.Tensor:
    """Return a function of a symmetric matrix in 40 digits."""
    with mpmath.workdps(40):
        w, v = mpmath.eigsy(mpmath.matrix(A.tolist()))
        found = v * mpmath.diag([function(x) for x in w]) * v.T
        return torch.tensor(
            [[float(found[i, j]) for j in range(len(A))] for i in range(len(A))], dtype=torch.float64
        )


def cosine(x):
    return mpmath.cos(mpmath.sqrt(x)).real


def sinc(x):
    return mpmath.sinc(mpmath.sqrt(x)).real


def versine(x):
    return mpmath.sinc(mpmath.sqrt(x) / 2).real ** 2 / 2


@pytest.mark.parametrize("name", SPECTRA)
def test_trigonometric_functions(name):
    C = matrix(SPECTRA[name])
    C = 0.5 * (C + C.T)
    size = max(1.0, *SPECTRA[name])
    for found, function in zip(trigonometric(C), (cosine, sinc, versine), strict=True):
        assert error(found, exact(C, function)) < 4e-15 * size
    low = trigonometric(C.float())
    for found, function in zip(low, (cosine, sinc, versine), strict=True):
        assert found.dtype == torch.float32
        assert error(found.double(), exact(C.float().double(), function)) < 1e-6 * size


def test_angles_over_sines():
    for values in ([0.0, 1.0, 0.5, 1e-9, 1 - 1e-9], [1.0] * 5, [0.0] * 5, [0.3, 0.3, 0.9, 0.9, 1.0]):
        S = matrix(values)
        S = 0.5 * (S + S.T)

        def ratio(c):
            return (mpmath.acos(c) / mpmath.sqrt(1 - c * c)).real if c != 1 else mpmath.mpf(1)

        assert error(angle_over_sine(S), exact(S, ratio)) < 4e-15


@pytest.mark.parametrize("name", ["zero", "repeated", "spread"])
def test_derivatives_where_eigenvalues_coincide(name):
    C = matrix(SPECTRA[name])[:3, :3].clone().requires_grad_()

    def everything(x):
        x = 0.5 * (x + x.mT)
        return torch.stack([*trigonometric(x), angle_over_sine(x / 10)])

    assert torch.autograd.gradcheck(everything, C, fast_mode=True)
    assert torch.autograd.gradgradcheck(everything, C, fast_mode=True)


def test_a_matrix_is_alone_in_its_batch():
    small, large = matrix(SPECTRA["spread"]), matrix(SPECTRA["long"])
    for alone, together in zip(trigonometric(small), trigonometric(torch.stack([small, large])), strict=True):
        assert torch.equal(alone, together[0])
    with torch.no_grad():
        for alone, together in zip(
            trigonometric(small), torch.func.vmap(trigonometric)(small[None]), strict=True
        ):
            torch.testing.assert_close(together[0], alone, rtol=1e-14, atol=1e-14)


def test_angles_without_digits_are_refused():
    huge = torch.diag(torch.tensor([1.0, 1e11], dtype=torch.float64))
    with pytest.raises(InvalidInput, match=r"matrix \[1\] of `C`.*at most 1024"):
        trigonometric(torch.stack([torch.eye(2).double(), huge]))
    quiet = torch.func.vmap(lambda x: trigonometric(x)[0])(torch.stack([torch.eye(2).double(), huge]))
    assert quiet[0].isfinite().all() and quiet[1].isnan().all()
    assert all(f.isnan().all() for f in trigonometric(torch.full((2, 2), torch.nan)))
    assert all(f.shape == (0, 3, 3) for f in trigonometric(torch.zeros(0, 3, 3)))
