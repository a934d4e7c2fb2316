"""The printed text of kernels of multivectors: run by an emulator of blocks and barriers, and compiled without a card."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.compiler import compile_source, missing_compiler
from geomlib.kernels.cuda.source import DTYPES
from geomlib.kernels.cuda.staged_source import SUM_NAME, print_partial_sum, print_staged
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.geometric_product import cuda, cuda_layers, gates
from geomlib.kernels.geometric_product.cuda_layer_programs import Product, gate_kernel, product_kernel
from tests.kernels.cuda.emulate import Emulator, needs_compiler

from .cuda_problems import (
    FORMS,
    PASSES,
    algebra,
    close,
    derivatives,
    generated,
    leaves_of,
    specified,
    without_weights,
)
from .test_cuda_layers import gate, gate_leaves, product, product_leaves

needs_nvrtc = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))

#: Most registers of a thread in float32: forward and backward of weighted products.
BUDGETS = {(2, 0): (64, 96), (3, 0): (96, 136), (1, 3): (136, 216), (5, 0): (200, 255)}


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    found = Emulator(tmp_path)
    monkeypatch.setattr(cuda, "_start", found.run_staged)
    monkeypatch.setattr(cuda, "_finish", found.partial_sum)
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("signature", "name", "shapes"),
    [
        ((2, 0), "weighted", [(5, 3), (70, 5), (3, 130), (600, 2)]),
        ((3, 0), "weighted", [(33, 5)]),
        ((1, 2), "features", [(7, 3)]),
        ((2, 0, 2), "squares", [(9, 2)]),
    ],
)
def test_value_and_two_derivatives(emulator, signature, name, shapes):
    form = FORMS[name](algebra(signature))
    for shape in shapes:
        leaves = leaves_of(form, *shape)
        found = derivatives(generated(form), leaves)
        for a, b in zip(found, derivatives(specified(form), leaves), strict=True):
            close(a, b, 1e-12)
    names = [n for n, _ in emulator.launches]
    assert {"form_g", SUM_NAME if name == "weighted" else "form_xy"} <= set(names)
    if len(shapes) > 1:
        assert any(grid[1] > 1 for _, grid in emulator.launches)  # channels of several blocks
        assert any(n == "form_xyw" and grid[0] > 1 for n, grid in emulator.launches)  # sums of several blocks


@needs_compiler
def test_strides_of_every_kind(emulator):
    form = FORMS["weighted"](algebra((2, 0)))
    x, y, w = (t.detach() for t in leaves_of(form, 50, 6))
    expected = specified(form)((x, y, w))
    outermost = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    transposed = y.transpose(0, 1).contiguous().transpose(0, 1)
    close(cuda.OPERATION(form, outermost, transposed, w), expected, 1e-12)
    close(cuda.OPERATION(form, x[::2, 1:4], y[::2, 1:4], w[1:4]), expected[::2, 1:4], 1e-12)
    one = y[:1].expand_as(y)
    close(cuda.OPERATION(form, x, one, w), specified(form)((x, one, w)), 1e-12)


@needs_compiler
def test_fewer_items_than_threads(emulator):
    form = FORMS["features"](algebra((5, 0)))
    x, y = (t.detach().float() for t in leaves_of(form, 40, 1))
    g = torch.randn(40, 1, form.sizes[0], generator=torch.Generator().manual_seed(0))
    ((_, kernel),) = cuda.kernels(form, (("x", (("g", "", "y", ""),)),), 4)
    assert kernel.lanes == 16 and kernel.block == 32
    a = x.double().requires_grad_()
    (expected,) = torch.autograd.grad(specified(form)((a, y.double())), a, g.double())
    close(cuda.partial(form, "x", {"g": g, "y": y}).double(), expected, 1e-6)


@needs_compiler
@pytest.mark.parametrize("signature", [(1, 1), (2, 0, 1)], ids=str)
def test_layers(emulator, signature):
    alg = algebra(signature)
    kinds = gates.Gate(alg, "normal", True), Product(alg, True, True)
    with use_backend("torch"):
        for count, channels in ((37, 5), (3, 140)):
            gated, whole = gate_leaves(alg, count, channels), product_leaves(kinds[1], count, channels)
            found = derivatives(gate(kinds[0]), gated, 1) + derivatives(product(kinds[1]), whole, 1)
            expected = derivatives(lambda t: gates.composed(kinds[0], tuple(t)), gated, 1)
            expected += derivatives(lambda t: cuda_layers.PRODUCT.reference(kinds[1], tuple(t)), whole, 1)
            for a, b in zip(found, expected, strict=True):
                close(a, b, 1e-12)
    assert {"gate", "gate_slopes", "steerable", "steerable_slopes"} <= {n for n, _ in emulator.launches}


def spilled(kernel, dtype, arch):
    used = build(kernel, dtype, arch, keep=False, text=print_staged).usage[kernel.name]
    return used.registers, used.spill_stores + used.spill_loads + used.stack


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    "signature", [(2, 0), (3, 0), pytest.param((1, 3), marks=pytest.mark.slow), pytest.param((5, 0), marks=pytest.mark.slow)],
    ids=str,
)  # fmt: skip
def test_registers_of_single_precision(signature, arch):
    form = FORMS["weighted"](algebra(signature))
    for k, label in enumerate(("forward", "backward", "double backward")):
        budget = (*BUDGETS[signature], 255)[k]
        for _, kernel in cuda.kernels(form, PASSES[label], 4):
            registers, lost = spilled(kernel, torch.float32, arch)
            assert lost == 0 and registers <= budget, (
                f"{label} {kernel.name}: {registers} registers, {lost} bytes"
            )


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["weighted", "features", "squares", "scale"])
@pytest.mark.parametrize("signature", [(2, 0), (3, 0), (1, 3), (3, 0, 1), (5, 0)], ids=str)
def test_nothing_spills(signature, name, arch):
    form = FORMS[name](algebra(signature))
    for dtype in (torch.float32, torch.float64):
        if cuda.refusal(form, dtype) is not None:
            assert (signature, name, dtype) == ((5, 0), "features", torch.float64)
            continue
        for label, tasks in PASSES.items():
            for _, kernel in cuda.kernels(
                form, without_weights(tasks) if form.unit else tasks, dtype.itemsize
            ):
                assert spilled(kernel, dtype, arch)[1] == 0, f"{label} {kernel.name}"


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_six_generators(arch):
    form = FORMS["weighted"](algebra((6, 0)))
    for tasks in (PASSES["forward"], PASSES["backward"]):
        for _, kernel in cuda.kernels(form, tasks, 4):
            assert spilled(kernel, torch.float32, arch)[1] == 0, kernel.name


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    "signature", [(3, 0), pytest.param((1, 3), marks=pytest.mark.slow), pytest.param((5, 0), marks=pytest.mark.slow)], ids=str
)  # fmt: skip
def test_layers_spill_nothing(signature, arch):
    alg = algebra(signature)
    for dtype in (torch.float32, torch.float64):
        for backward in (False, True):
            kinds = gates.Gate(alg, "normal", True), Product(alg, True, True)
            pairs = (gate_kernel, kinds[0]), (product_kernel, kinds[1])
            for make, kind in pairs:
                if make(kind, dtype, True) is None:  # composed of products instead
                    assert dtype == torch.float64 and alg.n > 3
                    continue
                kernel = make(kind, dtype, backward)
                assert kernel is not None and spilled(kernel, dtype, arch)[1] == 0, kernel


@needs_nvrtc
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_compiles(dtype):
    ((_, kernel),) = cuda.kernels(
        FORMS["weighted"](algebra((2, 0))), PASSES["backward"], 4 if dtype.itemsize < 8 else 8
    )
    assert spilled(kernel, dtype, "sm_90")[1] == 0
    used = compile_source(print_partial_sum(dtype), "sm_90", keep=False).usage[SUM_NAME]
    assert used.spill_stores == 0 and used.registers <= 48
