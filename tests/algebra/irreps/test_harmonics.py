"""Spherical harmonics against fixtures, e3nn, integrals and derivatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.irreps import Irreps, spherical_harmonics

DATA = Path(__file__).parents[2] / "data" / "tensor_products"


@pytest.mark.parametrize("normalization", ["component", "norm", "integral"])
@pytest.mark.parametrize("kind", ["unit", "solid"])
def test_values(kind, normalization):
    stored = np.load(DATA / "spherical_harmonics.npz")
    expected = stored[f"{kind}_{normalization}"]
    found = spherical_harmonics(range(7), torch.tensor(stored["xyz"]), kind == "unit", normalization).numpy()
    assert np.abs(found - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize("kind", ["unit", "solid"])
def test_first_and_second_derivatives(kind, normalization):
    stored = {k: torch.tensor(v) for k, v in np.load(DATA / "sh_derivatives.npz").items()}
    prefix = f"{kind}_{normalization}"
    names = [n for n in stored if n.startswith(prefix)]
    assert names, sorted(stored)
    part = {n.removeprefix(prefix).lstrip("_"): stored[n] for n in names}
    x = stored["xyz"].requires_grad_()
    y = spherical_harmonics(range(5), x, kind == "unit", normalization)
    torch.testing.assert_close(y, part["Y"], rtol=1e-12, atol=1e-12)
    g = part.get("g", stored.get("g"))
    v = part.get("v", stored.get("v"))
    (gx,) = torch.autograd.grad((y * g).sum(), x, create_graph=True)
    assert float((gx - part["gx"]).detach().abs().max() / part["gx"].abs().max()) < 1e-12
    (hx,) = torch.autograd.grad((gx * v).sum(), x)
    assert float((hx - part["hx"]).abs().max() / part["hx"].abs().max()) < 1e-11


def test_beyond_e3nn_they_are_orthonormal():
    """Degrees to 16 on a Gauss-Legendre grid that integrates degree 32 exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(17)
    azimuth = 2 * np.pi * np.arange(33) / 33
    sine = np.sqrt(1 - nodes**2)[:, None]
    points = np.stack([sine * np.sin(azimuth), nodes[:, None] + 0 * azimuth, sine * np.cos(azimuth)], -1)
    y = spherical_harmonics(range(17), torch.tensor(points), normalization="integral").flatten(0, 1)
    w = torch.tensor(weights[:, None] + 0 * azimuth).flatten() * (2 * np.pi / 33)
    torch.testing.assert_close(y.T @ (w[:, None] * y), torch.eye(17**2).double(), atol=1e-12, rtol=0)


def test_derivatives_of_any_order():
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    for normalize in (True, False):
        assert gradcheck(lambda t, n=normalize: spherical_harmonics([0, 1, 2, 4], t, n), x)
        assert gradgradcheck(lambda t, n=normalize: spherical_harmonics([0, 1, 3], t, n), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_tiny_and_huge_vectors(dtype):
    for size in (1e-30, 1e-8, 1e25):
        x = torch.tensor([[0.6 * size, 0.0, 0.8 * size]], dtype=dtype)
        expected = spherical_harmonics([0, 1, 2, 3], torch.tensor([[0.6, 0.0, 0.8]], dtype=dtype))
        torch.testing.assert_close(spherical_harmonics([0, 1, 2, 3], x), expected)
    zero = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    y = spherical_harmonics([0, 1, 2, 3], zero)
    torch.testing.assert_close(y, torch.eye(1, 16, dtype=dtype).expand(2, 16))
    (g,) = torch.autograd.grad(y.square().sum() + y.sum(), zero, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), zero)
    assert bool(torch.isfinite(g).all() and torch.isfinite(h).all()) and float(g.abs().max()) < 1e3


def test_arguments():
    x = torch.randn(4, 2, 3)
    assert spherical_harmonics("2x1o+0e", x).shape == (4, 2, 7)
    assert torch.equal(spherical_harmonics(Irreps("2e+1o"), x), spherical_harmonics([2, 1], x))
    assert spherical_harmonics([], x).shape == (4, 2, 0)
    assert spherical_harmonics(3, x[:0]).shape == (0, 2, 7)
    for bad, words in (("1e", "parity"), (-1, "negative")):
        with pytest.raises(InvalidInput, match=words):
            spherical_harmonics(bad, x)
    with pytest.raises(InvalidInput, match="normalization"):
        spherical_harmonics(1, x, normalization="unit")
    with pytest.raises(InvalidInput, match="vectors"):
        spherical_harmonics(1, x[..., :2])
