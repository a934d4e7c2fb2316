"""Fused layers of multivectors: the loops beside the composition in plain torch, which is their specification."""

from __future__ import annotations

import math

import pytest
import torch

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.kernels.geometric_product.gates import grade_gate
from geomlib.kernels.geometric_product.linear import grade_linear
from geomlib.kernels.geometric_product.norms import channel_norm
from geomlib.kernels.geometric_product.steerable import steerable_product
from tests.algebra.clifford.common import rand

pytestmark = pytest.mark.skipif(
    available_backends()["cpu"] != "available", reason=available_backends()["cpu"]
)


def numbers(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def operations(alg, c):
    """Return functions of features and parameters, and the parameters, by name."""
    g, scale = alg.n + 1, 1 / math.sqrt(c)
    paths, right, left = (
        numbers(c, len(alg.paths), seed=1),
        scale * numbers(c, c, g, seed=2),
        scale * numbers(c, c, g, seed=3),
    )
    a, b, bias, row = (numbers(*s, seed=4 + k) for k, s in enumerate([(c, g), (c, g), (1, c, 1), (c,)]))
    return {
        "linear": (
            lambda x, w, v: grade_linear(x, w, v, alg), (scale * numbers(3, c, g, seed=9), bias[:, :1].expand(1, 3, 1))
        ),
        "shared": (lambda x, w: grade_linear(x, w, None, alg), (scale * numbers(3, c, seed=9),)),
        "product": (lambda x, w, r: steerable_product(x, w, r, alg), (paths, right)),
        "normed": (lambda x, w, r, s: steerable_product(x, w, r, alg, a=s), (paths, right, a)),
        "mixed": (lambda x, w, r, m, v: steerable_product(x, w, r, alg, left=m, bias=v), (paths, right, left, bias)),
        "whole": (
            lambda x, w, r, s, m, v: steerable_product(x, w, r, alg, a=s, left=m, bias=v), (paths, right, a, left, bias)
        ),
        "silu": (lambda x, s, t: grade_gate(x, s, t, alg), (a, b)),
        "silu of lengths": (lambda x, s, t: grade_gate(x, s, t, alg, invariant="norm"), (a, b)),
        "gelu": (lambda x, s, t: grade_gate(x, s, t, alg, gate="normal"), (a, b)),
        "mean": (lambda x, s: channel_norm(x, s, alg), (row,)),
        "total": (lambda x, s: channel_norm(x, s, alg, eps=None), (row,)),
        "rms": (lambda x, s: channel_norm(x, s, alg, mean="root mean square"), (row,)),
    }  # fmt: skip


NAMES = list(operations(CliffordAlgebra(2), 2))


def both(function, x, parameters, seed=11):
    """Return values and gradients by the loops and in plain torch."""
    found = []
    for backend in ("cpu", "torch"):
        leaves = [t.detach().requires_grad_() for t in (x, *parameters)]
        with use_backend(backend):
            z = function(*leaves)
            g = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
                z.dtype
            )
            found.append((z, *torch.autograd.grad(z, leaves, g)))
    return found


def close(found, wanted, tol):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, size))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("signature", "rows", "channels"),
    [((3, 0, 0), 40, 28), ((1, 3, 0), 3, 5), ((1, 1, 1), 70, 1), ((5, 0, 0), 2, 130)],
    ids=str,
)
def test_loops_are_the_composition(name, signature, rows, channels):
    alg = CliffordAlgebra(*signature)
    function, parameters = operations(alg, channels)[name]
    close(*both(function, rand(alg, rows, channels), parameters), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_layouts_sizes_and_types(name):
    alg = CliffordAlgebra(2, 0, 1)
    function, parameters = operations(alg, 4)[name]
    strided = rand(alg, 4, 2, 7).permute(2, 1, 0, 3)[::2]  # (4, 2, 4, 8)
    close(*both(function, strided, parameters), 1e-12)
    close(*both(function, strided[0, 0], parameters), 1e-12)
    close(*both(function, strided[:0], parameters), 0)
    single, wanted = (
        both(function, strided.float(), [p.float() for p in parameters]),
        both(function, strided, parameters),
    )
    close([t.double() for t in single[0]], wanted[1], 1e-4)
    assert all(t.dtype == torch.float32 for t in single[0])


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives(name):
    alg = CliffordAlgebra(1, 1)
    function, parameters = operations(alg, 2)[name]
    leaves = [t.clone().requires_grad_() for t in (rand(alg, 2, 2), *parameters)]
    with use_backend("cpu"):
        assert torch.autograd.gradcheck(function, leaves)
        assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("name", NAMES)
def test_nan_spreads_as_in_the_composition(name):
    """What a NaN reaches is not finite, and other rows know nothing of it."""
    alg = CliffordAlgebra(3)
    function, parameters = operations(alg, 3)[name]
    x = rand(alg, 20, 3)
    x[7, 1, 5] = math.nan
    with torch.no_grad():
        with use_backend("cpu"):
            found = function(x, *parameters)
        with use_backend("torch"):
            wanted = function(x, *parameters)
    assert torch.equal(found.isnan(), wanted.isnan()) and bool(found[7].isnan().any())


@pytest.mark.parametrize("name", ["silu", "silu of lengths", "gelu", "mean", "total", "rms", "normed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_and_light_like_rows(name, dtype):
    """Where squares would overflow the loops are capped where the composition is."""
    alg = CliffordAlgebra(1, 3)
    function, parameters = operations(alg, 2)[name]
    huge = 1e100 if dtype == torch.float64 else 1e12
    x = torch.stack([huge * rand(alg, 2), rand(alg, 2), 0 * rand(alg, 2)]).to(dtype)
    x[1, :, 1:] = 0
    x[1, :, 1] = x[1, :, 2] = 5
    found, wanted = both(function, x, [p.to(dtype) for p in parameters])
    for a, b in zip(found, wanted, strict=True):
        assert bool(torch.isfinite(a).all()) == bool(torch.isfinite(b).all())
    close([found[0] / huge], [wanted[0] / huge], 1e-6 if dtype == torch.float32 else 1e-12)
    assert bool(torch.isfinite(found[0]).all())
