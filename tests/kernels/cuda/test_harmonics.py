"""Generated CUDA of spherical harmonics: compiled without spills, and executed on a CPU by an emulator of warps."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.irreps import spherical_harmonics as specification
from geomlib.kernels.cuda import launcher
from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.compiler import missing_compiler
from geomlib.kernels.cuda.source import DTYPES
from geomlib.kernels.harmonics import cuda
from geomlib.kernels.harmonics.cuda_source import KINDS, HarmonicsKernel, print_harmonics
from geomlib.kernels.harmonics.plan import plan_of

from .emulate import Emulator, needs_compiler

needs_nvrtc = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))
D = torch.float64


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_nothing_spills(dtype, arch):
    for level, normalize in ((4, True), (6, True), (6, False)):
        plan = plan_of(tuple(range(level + 1)), normalize, "component")
        for kind in KINDS:
            kernel = HarmonicsKernel(plan, kind, dtype.itemsize)
            used = build(kernel, dtype, arch, keep=False, text=print_harmonics).usage[kernel.name]
            assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0), (level, kind)
            assert used.registers <= (128 if dtype == torch.float32 else 255)


@needs_nvrtc
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_gaps_between_degrees(dtype):
    size = 8 if dtype == D else 4
    for kind in KINDS:
        kernel = HarmonicsKernel(plan_of((0, 2, 5), True, "norm"), kind, size)
        assert build(kernel, dtype, "sm_90", keep=False, text=print_harmonics).usage[kernel.name].registers


def test_what_a_block_shares_fits():
    for level, size, block in ((1, 4, 128), (4, 4, 128), (6, 8, 96), (8, 8, 64)):
        plan = plan_of(tuple(range(level + 1)), True, "component")
        kernel = HarmonicsKernel(plan, "values", size)
        assert kernel.block == block
        assert kernel.block * size * (len(plan.column) | 1) <= 48 << 10


@pytest.fixture
def emulated(tmp_path, monkeypatch):
    found = Emulator(tmp_path)

    def start(kernel, dtype, where, grid, block, numbers, text):
        found.start(text(kernel, dtype), kernel.name, grid, block, numbers)

    monkeypatch.setattr(launcher, "start", start)
    return found


def exact(degrees, normalize, x, g, v):
    """Value, gradient, and both gradients of <v, gradient>."""
    x, g = x.double().requires_grad_(), g.double().requires_grad_()
    y = specification(degrees, x, normalize)
    (first,) = torch.autograd.grad(y, x, g, create_graph=True)
    second = torch.autograd.grad((first * v.double()).sum() + 0 * (x.sum() + g.sum()), (g, x))
    return [t.detach() for t in (y, first, *second)]


@needs_compiler
@pytest.mark.parametrize(
    ("degrees", "normalize", "rows", "dtype"),
    [
        ((0, 1, 2, 3, 4, 5, 6), True, 70, D), ((0, 1, 2, 3, 4, 5, 6), False, 33, D), ((2, 5), True, 1, D),
        ((0,), True, 5, D), ((0, 1, 2, 3), True, 140, torch.float32),
    ],
)  # fmt: skip
def test_the_printed_arithmetic(emulated, degrees, normalize, rows, dtype):
    x, v = torch.randn(rows, 3, dtype=dtype), torch.randn(rows, 3, dtype=dtype)
    g = torch.randn(rows, sum(2 * d + 1 for d in degrees), dtype=dtype)
    plan = plan_of(degrees, normalize, "component")
    found = [cuda.values(plan, x), cuda.slopes(plan, x, g), *cuda.curvature(plan, x, g, v, (True, True))]
    for a, b in zip(found, exact(degrees, normalize, x, g, v), strict=True):
        scale = float(b.abs().max().clamp(min=1.0))
        assert float((a.double() - b).abs().max()) <= (1e-12 if dtype == D else 5e-6) * scale
    gg, none = cuda.curvature(plan, x, g, v, (True, False))
    assert none is None and gg is not None and torch.equal(gg, found[2])
    none, gx = cuda.curvature(plan, x, g, v, (False, True))
    assert none is None and gx is not None and torch.equal(gx, found[3])
    block = HarmonicsKernel(plan, "values", dtype.itemsize).block
    assert emulated.launches[0] == ("harmonics_values", (-(-rows // block), 1, 1))


@needs_compiler
def test_zero_tiny_huge_and_lost_vectors(emulated):
    info = torch.finfo(D)
    size = torch.tensor([0.0, info.tiny, info.tiny * 2.0**-20, 1e-200, 1e200, info.max / 2, 1.0], dtype=D)
    x = size[:, None] * torch.tensor([[0.48, -0.6, 0.64]], dtype=D)
    plan = plan_of((0, 1, 2, 3), True, "component")
    found, expected = cuda.values(plan, x), specification((0, 1, 2, 3), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    g, v = torch.randn_like(found), torch.randn_like(x)
    some = [0, 6]  # of a tiny vector the derivatives are beyond all numbers
    stored = exact((0, 1, 2, 3), True, x[some], g[some], v[some])
    made = [cuda.slopes(plan, x, g), *cuda.curvature(plan, x, g, v, (True, True))]
    for a, b in zip(made, stored[1:], strict=True):
        torch.testing.assert_close(a[some], b, rtol=1e-12, atol=1e-12)
    x[2, 1], x[4, 0] = float("nan"), float("inf")
    y = cuda.values(plan, x)
    assert y[2].isnan().all() and not y[4].isfinite().all() and y[[0, 1, 3, 5, 6]].isfinite().all()


def test_no_points_and_degrees_beyond():
    plan = plan_of((0, 1), True, "component")
    none = torch.zeros(0, 3)
    assert cuda.values(plan, none).shape == (0, 4)
    assert cuda.curvature(plan, none, torch.zeros(0, 4), none, (False, False)) == (None, None)
    assert cuda.refusal((0, cuda.DEGREE)) is None and "degrees up to" in str(cuda.refusal((cuda.DEGREE + 1,)))
