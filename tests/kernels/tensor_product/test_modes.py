"""Every connection mode by loops beside the torch reference, alone and mixed, to three orders."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from geomlib.algebra.irreps.products import MODES, ProductSpec
from geomlib.kernels.tensor_product import tensor_product, tensor_product_conv

from .test_reference import close

pytest.importorskip("numba")
ONE, TWO = "3x0e+4x1o+3x2e+0x1e+9x1o", "4x1o+3x0e+2x2e+3x1o+9x1e"
TRIPLES = {
    "same": [(0, 1), (1, 0), (2, 3), (4, 4), (0, 3)],
    "any": [(0, 0), (1, 2), (2, 1), (4, 0), (1, 4), (3, 0)],
}


def spec_with(mode: str, weighted: bool, wide: int = 5) -> ProductSpec:
    """Several paths of a mode, some into the same block."""
    from geomlib.algebra.irreps import Irreps

    one, two = Irreps(ONE), Irreps(TWO)
    same = mode in ("uuu", "uuw", "uvu<v", "u<vw")
    weighted = weighted or mode in ("uvw", "u<vw")
    blocks, rows = [], []
    for a, b in TRIPLES["same" if same else "any"]:
        u, v = one[a].mul, two[b].mul
        w = {
            "uvw": wide, "uvu": u, "uvv": v, "uuw": wide if weighted else 1, "uuu": u, "uvuv": u * v,
            "uvu<v": u * (u - 1) // 2, "u<vw": wide,
        }[mode]  # fmt: skip
        for ir in one[a].ir * two[b].ir:
            if (w, ir) not in blocks:
                blocks.append((w, ir))
            rows.append((a, b, blocks.index((w, ir)), mode, weighted, 0.7 + 0.1 * a))
    return ProductSpec.from_instructions(one, two, Irreps(blocks), rows)


def tensors(spec, rows, shared, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, spec.irreps_in1.dim, generator=g, dtype=dtype)
    y = torch.randn(rows, spec.irreps_in2.dim, generator=g, dtype=dtype)
    shape = (spec.weight_numel,) if shared else (rows, spec.weight_numel)
    return x, y, torch.randn(shape, generator=g, dtype=dtype)


def derivatives(spec, leaves, backend, orders):
    """Values and derivatives of a nonlinear function of the product."""
    leaves = [t.clone().requires_grad_() for t in leaves]
    out = tensor_product(spec, *leaves, backend=backend)
    # Products without any path depend on nothing: the zero keeps autograd content.
    nothing = 0 * sum((t * t).sum() for t in leaves)
    found, value = [out], out.sin().sum() + nothing
    for order in range(orders):
        grads = torch.autograd.grad(value, leaves, create_graph=order + 1 < orders, materialize_grads=True)
        found += grads
        value = sum((g * g).sum() for g in grads) + nothing
    return found


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_three_orders(mode, weighted, shared):
    spec = spec_with(mode, weighted)
    leaves = tensors(spec, 4, shared)
    for a, b in zip(derivatives(spec, leaves, "torch", 3), derivatives(spec, leaves, "cpu", 3), strict=True):
        close(b, a, 1e-11)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("mode", MODES)
def test_no_row_and_one_row(mode, rows):
    for shared in (True, False):
        spec = spec_with(mode, True)
        leaves = tensors(spec, rows, shared)
        found = zip(derivatives(spec, leaves, "torch", 2), derivatives(spec, leaves, "cpu", 2), strict=True)
        for a, b in found:
            torch.testing.assert_close(b, a, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_single_precision_and_strides(mode):
    spec = spec_with(mode, True)
    x, y, w = tensors(spec, 5, False, torch.float32)
    exact = tensor_product(spec, x.double(), y.double(), w.double(), backend="torch")
    close(tensor_product(spec, x, y, w, backend="cpu").double(), exact, 2e-6)
    strided = [torch.stack([t, t], -1)[..., 1] for t in (x, y, w)]
    assert torch.equal(
        tensor_product(spec, *strided, backend="cpu"), tensor_product(spec, x, y, w, backend="cpu")
    )


@pytest.mark.parametrize("mode", MODES)
def test_by_differences(mode):
    two = mode in ("uuw", "uvu<v", "u<vw", "uuu")
    w = {"uvw": 2, "uvu": 2, "uvv": 3, "uuw": 3, "uuu": 2, "uvuv": 6, "uvu<v": 1, "u<vw": 2}[mode]
    spec = ProductSpec.from_instructions(
        "2x1o", f"{2 if two else 3}x1o", f"{w}x0e+{w}x1e", [(0, 0, 0, mode, True), (0, 0, 1, mode, True)]
    )
    leaves = tuple(t.requires_grad_() for t in tensors(spec, 2, False))

    def product(x, y, w):
        return tensor_product(spec, x, y, w, backend="cpu")

    assert gradcheck(product, leaves) and gradgradcheck(product, leaves)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_mixed_modes(data):
    """Paths of all modes in one product."""
    muls = st.integers(0, 4)
    mul = data.draw(muls)
    one = [(mul, ir) for ir in ("0e", "1o", "2e")] + [(data.draw(muls), "1e")]
    two = [(mul, ir) for ir in ("1o", "0e")] + [(data.draw(muls), "1o")]
    from geomlib.algebra.irreps import Irreps

    blocks, rows = [], []
    for _ in range(data.draw(st.integers(1, 6))):
        a, b = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 2))
        u, v = one[a][0], two[b][0]
        modes = [m for m in MODES if u == v or m in ("uvw", "uvu", "uvv", "uvuv")]
        mode = data.draw(st.sampled_from(modes))
        weighted = mode in ("uvw", "u<vw") or data.draw(st.booleans())
        ir = data.draw(st.sampled_from(list(Irreps([(1, one[a][1])])[0].ir * Irreps([(1, two[b][1])])[0].ir)))
        w = {
            "uvw": 3, "uvu": u, "uvv": v, "uuw": 2 if weighted else 1, "uuu": u, "uvuv": u * v,
            "uvu<v": u * (u - 1) // 2, "u<vw": 2,
        }[mode]  # fmt: skip
        if (w, ir) not in blocks or data.draw(st.booleans()):
            blocks.append((w, ir))
        place = max(k for k, block in enumerate(blocks) if block == (w, ir))
        rows.append((a, b, place, mode, weighted))
    spec = ProductSpec.from_instructions(Irreps(one), Irreps(two), Irreps(blocks), rows)
    leaves = tensors(spec, 3, data.draw(st.booleans()))
    for a, b in zip(derivatives(spec, leaves, "torch", 2), derivatives(spec, leaves, "cpu", 2), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_convolutions_of_every_mode(mode):
    spec = spec_with(mode, True)
    x, _, _ = tensors(spec, 5, False)
    _, y, w = tensors(spec, 9, False)
    edges = torch.randint(0, 5, (2, 9), generator=torch.Generator().manual_seed(1))
    a, b = (tensor_product_conv(spec, x, y, w, edges, backend=backend) for backend in ("torch", "cpu"))
    close(b, a)
