"""Gather, product and scatter in one: values, three orders of derivatives, odd graphs."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.tensor_product import tensor_product, tensor_product_conv
from geomlib.kernels.tensor_product.plan import Rows

from .cases import GRAPHS, arrays, spec_of
from .test_reference import close

BACKENDS = ["torch", "cpu"]
MIXED = ProductSpec.from_instructions(
    "3x0e+5x1o+2x2e", "2x0e+1o", "3x0e+5x1o+5x1e+2x1o+5x1o",
    [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", True), (1, 1, 2, "uvu", False), (2, 1, 3, "uvu", True), (1, 0, 4, "uvu", False)],
)  # fmt: skip


def graph(nodes=5, edges=13, seed=0, dtype=torch.float64, spec=MIXED, weights=True):
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.stack(
        [
            torch.randint(0, nodes, (edges,), generator=g),
            torch.randint(0, max(1, nodes - 1), (edges,), generator=g),
        ]
    )
    x = torch.randn(nodes, spec.irreps_in1.dim, generator=g, dtype=dtype)
    y = torch.randn(edges, spec.irreps_in2.dim, generator=g, dtype=dtype)
    w = torch.randn(edges, spec.weight_numel, generator=g, dtype=dtype) if weights else None
    return x, y, w, edge_index


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GRAPHS)
def test_stored_graphs(name, backend):
    case, d = GRAPHS[name], arrays("conv_graph", name)
    spec = spec_of(case)
    x, y, w, gout = (d[k].clone().requires_grad_() for k in ("x", "y", "w", "gout"))
    edge_index = torch.stack([d["senders"], d["receivers"]]).long()
    out = tensor_product_conv(spec, x, y, w, edge_index, backend=backend)
    close(out, d["out"])
    first = torch.autograd.grad(out, (x, y, w), gout, create_graph=True)
    for k, g in zip("xyw", first, strict=True):
        close(g, d[f"g{k}"])
    pairing = sum((g * d[f"v{k}"]).sum() for k, g in zip("xyw", first, strict=True))
    second = torch.autograd.grad(pairing, (x, y, w, gout))
    for k, h in zip(("x", "y", "w", "gout"), second, strict=True):
        close(h, d[f"h{k}"])


@pytest.mark.parametrize("shared", [False, True])
def test_backends_agree_to_third_order(shared):
    results = []
    for backend in BACKENDS:
        x, y, w, edge_index = graph()
        leaves = [t.requires_grad_() for t in (x, y, w[0] if shared else w)]
        out = tensor_product_conv(MIXED, leaves[0], leaves[1], leaves[2], edge_index, backend=backend)
        collected, value = [out], out.sin().sum()
        for order in range(3):
            grads = torch.autograd.grad(value, leaves, create_graph=order < 2)
            collected += grads
            value = sum((g * g).sum() for g in grads)
        results.append(collected)
    for a, b in zip(*results, strict=True):
        close(b, a, 1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_by_differences(backend):
    x, y, w, edge_index = (t.requires_grad_() if t.is_floating_point() else t for t in graph(3, 4))
    spec = ProductSpec.from_instructions("2x1o+0e", "0e+1o", "2x1o+2x0e+1x1o", [
        (0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True), (1, 1, 2, "uvu", True)])  # fmt: skip
    x, y, w = torch.randn(3, 7).double(), torch.randn(4, 4).double(), torch.randn(4, 5).double()
    leaves = tuple(t.requires_grad_() for t in (x, y, w))

    def convolve(a, b, c):
        return tensor_product_conv(spec, a, b, c, edge_index, backend=backend)

    assert gradcheck(convolve, leaves) and gradgradcheck(convolve, leaves)


def test_weights_that_fit_no_cache():
    """Rows of weights are then fetched one edge ahead: the last edge has none after it."""
    cpu = pytest.importorskip("geomlib.kernels.tensor_product.cpu")
    edges = cpu.FAR // (8 * MIXED.weight_numel) + 1
    x, y, w, edge_index = graph(40, edges)
    results = []
    for backend in BACKENDS:
        leaves = [t.clone().requires_grad_() for t in (x, y, w)]
        out = tensor_product_conv(MIXED, *leaves, edge_index, backend=backend)
        first = torch.autograd.grad(out.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
        results.append([out, *first, *second])
    for a, b in zip(*results, strict=True):
        close(a, b)


def test_float32():
    x, y, w, edge_index = graph(dtype=torch.float32)
    exact = tensor_product_conv(MIXED, x.double(), y.double(), w.double(), edge_index, backend="torch")
    for backend in BACKENDS:
        close(tensor_product_conv(MIXED, x, y, w, edge_index, backend=backend).double(), exact, 2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (0, 0), (4, 0), (1, 1), (1, 7), (40, 3)])
def test_odd_graphs(nodes, edges, backend):
    x, y, w, edge_index = (
        graph(nodes, edges) if nodes else (*graph(1, 0)[:3], torch.zeros(2, 0, dtype=torch.int64))
    )
    x = x[:nodes].requires_grad_()
    out = tensor_product_conv(MIXED, x, y, w, edge_index, backend=backend)
    expected = torch.zeros(nodes, MIXED.irreps_out.dim, dtype=x.dtype)
    for e in range(edges):
        s, t = edge_index[:, e].tolist()
        expected[t] += tensor_product(MIXED, x[s : s + 1], y[e : e + 1], w[e : e + 1], backend="torch")[0]
    torch.testing.assert_close(out, expected)
    (g,) = torch.autograd.grad(out.sum(), x)
    assert g.shape == x.shape and bool(torch.isfinite(g).all())


def test_strided_and_expanded_arguments():
    x, y, w, edge_index = graph()
    expected = tensor_product_conv(MIXED, x, y, w, edge_index)
    strided = [torch.stack([t, t], -1)[..., 0] for t in (x, y, w)]
    assert torch.equal(tensor_product_conv(MIXED, *strided, edge_index), expected)
    assert torch.equal(tensor_product_conv(MIXED, x, y, w, edge_index.int()), expected)
    assert torch.equal(tensor_product_conv(MIXED, x, y, w, edge_index.flip(1).flip(1)), expected)
    leaf = x.clone().requires_grad_()
    (a,) = torch.autograd.grad(
        tensor_product_conv(MIXED, leaf, y, w, edge_index).sum(), leaf
    )  # a gradient of stride 0
    ones = torch.ones_like(expected)
    (b,) = torch.autograd.grad(tensor_product_conv(MIXED, leaf, y, w, edge_index), leaf, ones)
    assert torch.equal(a, b)


def test_rows_grouped_once_and_repeated_bits():
    x, y, w, edge_index = graph(20, 200, dtype=torch.float32)
    rows = Rows.edges(*edge_index, 20, 20, shared_weights=False)
    first = tensor_product_conv(MIXED, x, y, w, edge_index, rows=rows)
    for _ in range(3):
        assert torch.equal(tensor_product_conv(MIXED, x, y, w, edge_index), first)


def test_nodes_that_only_receive():
    x, y, w, _ = graph(3, 4)
    edge_index = torch.tensor([[0, 1, 2, 2], [5, 5, 0, 3]])
    out = tensor_product_conv(MIXED, x, y, w, edge_index, num_nodes=6)
    assert out.shape[0] == 6 and not out[[1, 2, 4]].any() and bool(out[5].any())
    torch.testing.assert_close(out, tensor_product_conv(MIXED, x, y, w, edge_index, 6, backend="torch"))


@pytest.mark.parametrize("function", ["rows", "edges"])
def test_wrong_arguments(function):
    x, y, w, edge_index = graph(13, 13)

    def call(x=x, y=y, w=w, edge_index=edge_index):
        if function == "rows":
            return tensor_product(MIXED, x, y, w)
        return tensor_product_conv(MIXED, x, y, w, edge_index)

    for changed, words in (
        ({"x": x[:, 1:]}, "x: expected shape"), ({"y": y[:, 1:]}, "y: expected shape"), ({"y": y[1:]}, "y: expected shape"),
        ({"w": w[:, 1:]}, "weight: expected shape"), ({"w": None}, "weights, none"), ({"x": x.float()}, "one floating type"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=words):
            call(**changed)
    if function == "edges":
        for bad in (edge_index + 1, edge_index - 1):
            with pytest.raises(InvalidInput, match=r"nodes are 0\.\.12"):
                call(edge_index=bad)
        with pytest.raises(InvalidInput, match="integers"):
            call(edge_index=edge_index.double())


def test_rows_of_another_graph_are_refused():
    """The loops read where the rows point to: a wrong one would be memory of somebody else."""
    x, y, w, edge_index = graph(6, 9)
    wrong = {
        "grouped for 8 edges": Rows.edges(*edge_index[:, 1:], 6, 6, shared_weights=False),
        "from 7 to 6 nodes": Rows.edges(*edge_index, 7, 6, shared_weights=False),
        "a row of weights per edge": Rows.edges(*edge_index, 6, 6, shared_weights=True),
    }
    for message, rows in wrong.items():
        with pytest.raises(InvalidInput, match=message):
            tensor_product_conv(MIXED, x, y, w, edge_index, rows=rows, backend="cpu")
    rows = Rows.edges(*edge_index, 6, 6, shared_weights=False)
    with pytest.raises(InvalidInput, match="there is one row of weights"):
        tensor_product_conv(MIXED, x, y, w[0], edge_index, rows=rows, backend="cpu")
    with pytest.raises(InvalidInput, match="edge 0 of `edge_index`"):
        Rows.edges(edge_index[0] + 6, edge_index[1], 6, 6, shared_weights=False)
