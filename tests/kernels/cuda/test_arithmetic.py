"""The statements that are printed as CUDA, executed on a CPU: equal to torch in value and two derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.cuda.interpret import ordered_sum
from geomlib.kernels.tensor_product import cuda, tensor_product_conv
from geomlib.kernels.tensor_product.cuda_paths import Budget
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.plan import Rows, plan_of

from ..tensor_product.cases import GRAPHS, PRODUCTS, arrays, spec_of
from .problems import HIGH, MIXED, WIDE, arguments, close, derivatives, generated, specified

UVU = [name for name, case in PRODUCTS.items() if all(i["mode"] == "uvu" for i in case["instructions"])]
SPECS = {"mixed": MIXED, "wide": WIDE, "high": HIGH}


@pytest.mark.parametrize("name", GRAPHS)
def test_stored_graphs(name):
    d = arrays("conv_graph", name)
    spec = spec_of(GRAPHS[name])
    x, y, w, gout = (d[k].clone().requires_grad_() for k in ("x", "y", "w", "gout"))
    out = generated(spec, (x, y, w), d["senders"], d["receivers"])
    close(out, d["out"], 1e-12)
    first = torch.autograd.grad(out, (x, y, w), gout, create_graph=True)
    for k, g in zip("xyw", first, strict=True):
        close(g, d[f"g{k}"], 1e-12)
    pairing = sum((g * d[f"v{k}"]).sum() for k, g in zip("xyw", first, strict=True))
    second = torch.autograd.grad(pairing, (x, y, w, gout))
    for k, h in zip(("x", "y", "w", "gout"), second, strict=True):
        close(h, d[f"h{k}"], 1e-12)


def test_there_are_stored_products():
    assert len(UVU) >= 4


@pytest.mark.parametrize("name", UVU)
def test_stored_products(name):
    case, stored = PRODUCTS[name], arrays("e3nn_products", name)
    x, y, w = (stored[k].clone().requires_grad_() for k in ("x", "y", "w"))
    rows = DeviceRows.pairwise(x.shape[0], x.device)
    out = cuda.channelwise(plan_of(spec_of(case)), rows, x, y, w[None] if w.dim() == 1 else w)
    close(out, stored["out"], 1e-12)
    first = torch.autograd.grad((out * stored["gout"]).sum(), (x, y, w), create_graph=True)
    for k, g in zip("xyw", first, strict=True):
        close(g, stored[f"g{k}"], 1e-12)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), (x, y, w))
    for k, h in zip("xyw", second, strict=True):
        close(h, stored[f"h{k}"], 1e-12)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_odd_products_to_third_order(name, shared):
    leaves, source, target = arguments(SPECS[name], 5, 13, shared=shared)
    found = derivatives(lambda t: generated(SPECS[name], t, source, target), leaves, 3)
    expected = derivatives(lambda t: specified(SPECS[name], t, source, target), leaves, 3)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("messages", [False, True])
@pytest.mark.parametrize("budget", [Budget(3, 20), Budget(12, 100), Budget(1000, 100_000)])
@pytest.mark.parametrize("name", SPECS)
def test_work_is_shared_out_in_any_way(monkeypatch, name, budget, messages):
    """One path per program up to all in one; the gradient of the features by messages or by a second pass."""
    monkeypatch.setattr(cuda, "BUDGET", {8: budget})
    monkeypatch.setattr(cuda, "_messages_pay", lambda spec: messages)
    cuda.kernels.cache_clear()
    try:
        leaves, source, target = arguments(SPECS[name], 5, 13)
        found = derivatives(lambda t: generated(SPECS[name], t, source, target), leaves)
        kernel, add = cuda.kernels(
            plan_of(SPECS[name]), "pulls", ((("a", "y", ""),), (), (("", "y", "w"),)), 8, False
        )
    finally:
        cuda.kernels.cache_clear()
    expected = derivatives(lambda t: specified(SPECS[name], t, source, target), leaves)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-12)
    # A component that several programs add to has several columns in a message.
    width = next(a.stride for a in kernel.arrays if a.name == "m")
    assert add is not None
    if budget.values == 1000:
        assert width == SPECS[name].irreps_in1.dim
    if budget.values == 3 and name != "mixed":
        assert width > SPECS[name].irreps_in1.dim and len(kernel.programs) == len(SPECS[name].paths)


@pytest.mark.parametrize("nodes_edges", [(0, 0), (1, 0), (4, 0), (1, 1), (2, 1), (1, 7), (40, 3), (3, 400)])
@pytest.mark.parametrize("shared", [False, True])
def test_odd_graphs(nodes_edges, shared):
    leaves, source, target = arguments(MIXED, *nodes_edges, shared=shared)
    found = derivatives(lambda t: generated(MIXED, t, source, target), leaves)
    expected = derivatives(lambda t: specified(MIXED, t, source, target), leaves)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-12)


def test_few_nodes_are_split_over_blocks(monkeypatch):
    """Three nodes of many edges: partial sums, added in order."""
    seen = []
    monkeypatch.setattr(cuda, "ordered_sum", lambda p, out: seen.append(p.shape[0]) or ordered_sum(p, out))
    leaves, source, target = arguments(MIXED, 3, 400)
    close(generated(MIXED, leaves, source, target), specified(MIXED, leaves, source, target), 1e-12)
    assert seen and max(seen) > 8


def test_any_subset_of_gradients():
    leaves, source, target = arguments(MIXED, 4, 9)
    full = derivatives(lambda t: generated(MIXED, t, source, target), leaves, 1)[1:4]
    for skip in range(3):
        some = [t if k != skip else t.detach() for k, t in enumerate(leaves)]
        wanted = [t for k, t in enumerate(leaves) if k != skip]
        g = torch.Generator().manual_seed(1)
        out = generated(MIXED, some, source, target)
        cotangent = torch.randn(out.shape, generator=g, dtype=torch.float64)
        first = torch.autograd.grad(out, wanted, cotangent, create_graph=True)
        for a, b in zip(first, (f for k, f in enumerate(full) if k != skip), strict=True):
            assert torch.equal(a, b)
        for one in first:
            reference = specified(MIXED, some, source, target)
            same = torch.autograd.grad(reference, wanted, cotangent, create_graph=True)
            k = next(i for i, f in enumerate(first) if f is one)
            found = torch.autograd.grad(
                one.sin().sum(), wanted, retain_graph=True, materialize_grads=True, allow_unused=True
            )
            expected = torch.autograd.grad(
                same[k].sin().sum(), wanted, materialize_grads=True, allow_unused=True
            )
            for a, b in zip(found, expected, strict=True):
                close(a, b, 1e-12)


def test_derivatives_by_differences():
    spec = ProductSpec.from_instructions(
        "2x1o", "0e+1o", "2x1o+2x0e", [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)]
    )
    leaves, source, target = arguments(spec, 2, 2)

    def product(*t):
        return generated(spec, t, source, target)

    assert gradcheck(product, leaves) and gradgradcheck(product, leaves)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, (2e-6, 2e-6, 1e-5)), (torch.float16, (2e-3,) * 3), (torch.bfloat16, (1.5e-2,) * 3)],
)
def test_lower_precision(dtype, tolerance):
    """Half precision is how numbers are stored; sums run in float32."""
    leaves, source, target = arguments(MIXED, 5, 30, dtype=dtype)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    found = derivatives(lambda t: generated(MIXED, t, source, target), leaves)
    expected = derivatives(lambda t: specified(MIXED, t, source, target), exact)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.dtype == dtype
        close(a.double(), b, tolerance[0 if k == 0 else 1 if k < 5 else 2])


def test_a_wrong_table_is_noticed(monkeypatch):
    """The comparison can fail: one coefficient changed in its last but sixth digit."""
    plan = plan_of(WIDE)
    changed = plan.forward.entry_c.copy()
    changed[1] *= 1 + 1e-10
    table = type(plan.forward)(plan.forward.group, plan.forward.term, plan.forward.entry_y, changed)
    other = type(plan)(**{**plan.__dict__, "forward": table})
    (x, y, w), source, target = arguments(WIDE, 4, 9)
    rows = DeviceRows.edges(source, target, 4, 4)
    with pytest.raises(AssertionError):
        close(cuda.channelwise(other, rows, x, y, w), specified(WIDE, (x, y, w), source, target), 1e-12)


def test_rows_grouped_on_a_cpu():
    (x, y, w), source, target = arguments(MIXED, 6, 20)
    expected = generated(MIXED, (x, y, w), source, target)
    cpu = Rows.edges(source, target, 6, 6, shared_weights=False)
    rows = DeviceRows.of(cpu, 6, torch.device("cpu"))
    assert torch.equal(cuda.channelwise(plan_of(MIXED), rows, x, y, w), expected)
    assert torch.equal(DeviceRows.edges(source.int(), target.int(), 6, 6).target, target.sort().values)


def test_edges_out_of_range():
    _, source, target = arguments(MIXED, 4, 9)
    with pytest.raises(InvalidInput, match="sender: node"):
        DeviceRows.edges(source + 1, target, 4, 4)
    with pytest.raises(InvalidInput, match="receiver: node"):
        DeviceRows.edges(source, target - 1, 4, 4)


def test_device_rows_serve_every_backend():
    (x, y, w), source, target = arguments(MIXED, 6, 20)
    rows, edge_index = DeviceRows.edges(source, target, 6, 6), torch.stack([source, target])
    for backend in ("torch", "cpu"):
        out = tensor_product_conv(MIXED, x, y, w, edge_index, rows=rows, backend=backend)
        close(out, specified(MIXED, (x, y, w), source, target), 1e-12)


def test_the_same_bits_again():
    leaves, source, target = arguments(WIDE, 7, 60, dtype=torch.float32)
    first = derivatives(lambda t: generated(WIDE, t, source, target), leaves)
    again = derivatives(lambda t: generated(WIDE, t, source, target), leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
