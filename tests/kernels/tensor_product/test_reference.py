"""Every connection mode against e3nn's stored values and derivatives."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.tensor_product import tensor_product

from .cases import PRODUCTS, arrays, spec_of

BACKENDS = ["torch", "cpu"]


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    if not a.numel():
        return
    assert float((a - b).detach().abs().max()) <= tolerance * float(b.detach().abs().max().clamp(min=1e-30))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_values_and_two_derivatives(name, backend):
    case, stored = PRODUCTS[name], arrays("e3nn_products", name)
    spec = spec_of(case)
    assert spec.weight_numel == case["weight_numel"]
    for path, row in zip(spec.paths, case["instructions"], strict=True):
        assert path.coefficient == pytest.approx(row["coefficient"], rel=1e-14)
    leaves = {k: stored[k].clone().requires_grad_() for k in ("x", "y", "w") if k in stored}
    out = tensor_product(spec, leaves["x"], leaves["y"], leaves.get("w"), backend=backend)
    close(out, stored["out"])
    first = torch.autograd.grad((out * stored["gout"]).sum(), list(leaves.values()), create_graph=True)
    for k, g in zip(leaves, first, strict=True):
        close(g, stored[f"g{k}"])
    second = torch.autograd.grad(sum((g * g).sum() for g in first), list(leaves.values()))
    for k, h in zip(leaves, second, strict=True):
        close(h, stored[f"h{k}"], 1e-11)


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ((0, 0, 0, "uvx", True), "mode"), ((3, 0, 0, "uvw", True), "block 3"), ((0, 0, 1, "uvw", True), "not in"),
        ((0, 0, 0, "uuu", True), "multiplicities"), ((0, 0, 0, "uvw", False), "needs weights"),
        ((0, 0, 0, "uvw", True, -1.0), "negative"), ((0, 0, 0), "expected"),
    ],
)  # fmt: skip
def test_wrong_instructions(instruction, words):
    with pytest.raises(InvalidInput, match=words):
        ProductSpec.from_instructions("4x1o", "1o", "4x0e+2x3e", [instruction])


def test_wrong_options():
    with pytest.raises(InvalidInput, match="irrep_normalization"):
        ProductSpec.from_instructions("1o", "1o", "0e", [(0, 0, 0, "uuu", False)], irrep_normalization="unit")
    with pytest.raises(InvalidInput, match="in1_var"):
        ProductSpec.from_instructions("1o", "1o", "0e", [(0, 0, 0, "uuu", False)], in1_var=[1.0, 2.0])
