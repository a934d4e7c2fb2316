"""The loops of spherical harmonics: fixtures, extreme vectors, recorded steps, memory kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.irreps import spherical_harmonics as specification
from geomlib.kernels import use_backend
from geomlib.kernels.capture import capture
from geomlib.kernels.harmonics import spherical_harmonics
from geomlib.layers import SphericalHarmonics

pytest.importorskip("numba")
DATA = Path(__file__).parents[2] / "data" / "tensor_products"


def derivatives(function, x, order=3, cubic=False):
    """Return the value and the derivatives of scalar functions of it, to some order."""
    x = x.detach().requires_grad_()
    y = function(x)
    # A cubic term gives low degrees something to differentiate.
    cube = x.pow(3).sum() if cubic else 0.0
    found, value = [y], (y * torch.linspace(-1, 1, y.shape[-1], dtype=y.dtype)).sum() + cube
    for k in range(order):
        (g,) = torch.autograd.grad(value, x, create_graph=k + 1 < order)
        found.append(g)
        value = (g * torch.tensor([1.0, -2.0, 0.5], dtype=g.dtype)).square().sum()
    return [t.detach() for t in found]


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize("kind", ["unit", "solid"])
def test_stored_values_and_two_derivatives(kind, normalization):
    d = {k: torch.tensor(v) for k, v in np.load(DATA / "sh_derivatives.npz").items()}
    part = {k: d.get(f"{kind}_{normalization}_{k}", d.get(k)) for k in ("Y", "g", "gx", "v", "hx")}
    x, g = d["xyz"].requires_grad_(), part["g"].clone().requires_grad_()
    y = spherical_harmonics(range(5), x, kind == "unit", normalization, backend="cpu")
    (gx,) = torch.autograd.grad(y, x, g, create_graph=True)
    (hx,) = torch.autograd.grad(gx, x, part["v"])
    for found, name in ((y, "Y"), (gx, "gx"), (hx, "hx")):
        assert float((found - part[name]).detach().abs().max() / part[name].abs().max()) < 1e-12


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(["component", "norm", "integral"]),
    st.integers(1, 300),
)
def test_any_degrees_in_any_order(degrees, normalize, normalization, rows):
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    x[0] = torch.tensor([0.0, 1.0, 0.0])
    fast = lambda t: spherical_harmonics(degrees, t, normalize, normalization, backend="cpu")  # noqa: E731
    ours = derivatives(fast, x, 2, cubic=True)
    theirs = derivatives(lambda t: specification(degrees, t, normalize, normalization), x, 2, cubic=True)
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).abs().max()) <= 1e-11 * (1 + float(b.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_vectors_as_the_reference(dtype):
    info = torch.finfo(dtype)
    direction = torch.tensor([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0], [0.36, 0.48, 0.8]], dtype=dtype)
    subnormal = info.tiny * 2.0**-8
    expected = specification(range(6), direction)
    for size in (1e-30, 1e-8, 1e25, info.max / 4, info.tiny, subnormal):
        found = spherical_harmonics(range(6), direction * size, backend="cpu")
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-2 if size == subnormal else 1e-4)
    for size in (1e-9, 1e9):
        ours, theirs = (
            derivatives(lambda t, f=f: f(range(4), t), direction * size, 2)
            for f in (lambda l, t: spherical_harmonics(l, t, backend="cpu"), specification)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert torch.isfinite(a).all()
            assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


@pytest.mark.parametrize("normalize", [True, False])
def test_zero_vectors_as_the_reference(normalize):
    x = torch.randn(5, 3, dtype=torch.float64)
    x[[1, 3]] = 0.0
    fast = lambda t: spherical_harmonics(range(5), t, normalize, backend="cpu")  # noqa: E731
    for a, b in zip(
        derivatives(fast, x), derivatives(lambda t: specification(range(5), t, normalize), x), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_nan_and_an_infinity_stay_in_their_row():
    x = torch.randn(4, 3)
    x[1, 2], x[2, 0] = float("nan"), float("inf")
    for normalize in (True, False):
        y = spherical_harmonics(range(4), x, normalize, backend="cpu")
        assert y[1].isnan().all() and not y[2].isfinite().all() and y[[0, 3]].isfinite().all()


def test_shapes_and_refusals():
    x = torch.randn(4, 2, 3)
    assert spherical_harmonics("2x1o+0e", x, backend="cpu").shape == (4, 2, 7)
    assert spherical_harmonics([], x, backend="cpu").shape == (4, 2, 0)
    assert spherical_harmonics([3], x[:0], backend="cpu").shape == (0, 2, 7)
    assert spherical_harmonics([3], x[0, 0], backend="cpu").shape == (7,)
    with pytest.raises(InvalidInput, match="floating vectors"):
        spherical_harmonics([1], x.long(), backend="cpu")
    with pytest.raises(InvalidInput, match="backend 'cpu'"):
        spherical_harmonics([1], x.bfloat16(), backend="cpu")
    assert spherical_harmonics([1], x.bfloat16()).dtype == torch.bfloat16
    total = torch.func.vmap(lambda t: spherical_harmonics([0, 2], t).sum())(x[:, 0])
    torch.testing.assert_close(total, specification([0, 2], x[:, 0]).sum(-1))


def test_a_recorded_step_replays():
    layer, x = SphericalHarmonics([0, 1, 2, 3]), torch.randn(150, 3)
    c = torch.randn(150, 16, requires_grad=True)

    def step():
        t = x.detach().requires_grad_()
        (force,) = torch.autograd.grad((layer(t) * c).sum(), t, create_graph=True)
        return force.detach(), torch.autograd.grad(force.square().sum(), c)[0]

    with use_backend("cpu"):
        program = capture(step)
        x.copy_(torch.randn(150, 3))
        for a, b in zip(program(), step(), strict=True):
            assert torch.equal(a, b)


def test_nothing_but_the_vectors_is_kept():
    x = torch.randn(1000, 3, requires_grad=True)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        spherical_harmonics(range(9), x, backend="cpu")
    assert sum(t.untyped_storage().nbytes() for t in {id(t): t for t in kept}.values()) <= 12_000
