"""Envelopes: their slopes, and how smoothly they end."""

import pytest
import torch

from geomlib.algebra.radial import ENVELOPES


@pytest.mark.parametrize("name", ENVELOPES)
def test_slope_is_the_derivative(name):
    r = torch.linspace(0.1, 5.5, 60, dtype=torch.float64, requires_grad=True)
    value, slope = ENVELOPES[name](r, 5.0)
    (derivative,) = torch.autograd.grad(value.sum(), r)
    torch.testing.assert_close(slope, derivative, atol=1e-12, rtol=0)
    assert (value[r >= 5.0] == 0).all()
    assert (slope[r >= 5.0] == 0).all()


def test_smooth_envelope_has_two_continuous_derivatives_at_the_cutoff_and_cosine_one():
    r = torch.tensor([5.0 - 1e-6], dtype=torch.float64, requires_grad=True)
    curvature = {}
    for name, envelope in ENVELOPES.items():
        (first,) = torch.autograd.grad(envelope(r, 5.0)[0].sum(), r, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), r)
        assert first.abs() < 1e-5
        curvature[name] = float(second.abs())
    assert curvature["smooth"] < 1e-4
    assert curvature["cosine"] > 0.1
