"""On a card: the same numbers as torch on the CPU in float64, captured graphs, streams, large addresses."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.irreps import spherical_harmonics as specification
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.kernels.cuda.launcher import missing_device
from geomlib.kernels.harmonics import spherical_harmonics
from geomlib.kernels.tensor_product import tensor_product, tensor_product_conv
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows

from ..tensor_product.cases import GRAPHS, arrays, spec_of
from .problems import HIGH, MIXED, WIDE, arguments, channelwise_spec, close, derivatives, specified

pytestmark = pytest.mark.skipif(missing_device() is not None, reason=f"no card: {missing_device()}")

LARGE = channelwise_spec("128x0e+128x1o+128x2e", "0e+1o+2e+3o", "0e+1o+2e+3o")
PARITY = channelwise_spec("64x0o+64x0e+64x1o+64x1e+64x2o+64x2e", "0e+1o+2e", "0o+0e+1o+1e+2o+2e")


def convolution(spec, leaves, source, target, backend="cuda", rows=None):
    return tensor_product_conv(spec, *leaves, torch.stack([source, target]), backend=backend, rows=rows)


@pytest.mark.parametrize("name", GRAPHS)
def test_stored_graphs(name):
    d = {k: v.cuda() for k, v in arrays("conv_graph", name).items()}
    x, y, w, gout = (d[k].clone().requires_grad_() for k in ("x", "y", "w", "gout"))
    out = convolution(spec_of(GRAPHS[name]), (x, y, w), d["senders"], d["receivers"])
    close(out, d["out"], 1e-12)
    first = torch.autograd.grad(out, (x, y, w), gout, create_graph=True)
    for k, g in zip("xyw", first, strict=True):
        close(g, d[f"g{k}"], 1e-12)
    pairing = sum((g * d[f"v{k}"]).sum() for k, g in zip("xyw", first, strict=True))
    second = torch.autograd.grad(pairing, (x, y, w, gout))
    for k, h in zip(("x", "y", "w", "gout"), second, strict=True):
        close(h, d[f"h{k}"], 1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerances"),
    [
        (torch.float64, (1e-12,) * 3),
        (torch.float32, (2e-6, 2e-6, 1e-5)),
        (torch.float16, (4e-3,) * 3),
        (torch.bfloat16, (3e-2,) * 3),
    ],
)
@pytest.mark.parametrize(
    ("spec", "nodes", "edges", "shared"),
    [(MIXED, 5, 13, False), (MIXED, 4, 400, True), (WIDE, 30, 200, False), (WIDE, 1, 999, False), (HIGH, 9, 50, False),
     (LARGE, 40, 700, False), (PARITY, 40, 700, False), (PARITY, 40, 700, True)],
)  # fmt: skip
def test_equal_to_torch_on_the_cpu(spec, nodes, edges, shared, dtype, tolerances):
    leaves, source, target = arguments(spec, nodes, edges, shared=shared, dtype=dtype, device="cuda")
    exact = [t.detach().cpu().double().requires_grad_() for t in leaves]
    found = derivatives(lambda t: convolution(spec, t, source, target), leaves)
    expected = derivatives(lambda t: specified(spec, t, source.cpu(), target.cpu()), exact)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.is_cuda and a.dtype == dtype
        close(a.cpu().double(), b, tolerances[0 if k == 0 else 1 if k < 5 else 2])


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_rows(rows):
    (x, y, w), _, _ = arguments(MIXED, rows, rows, dtype=torch.float64, device="cuda")
    out = tensor_product(MIXED, x, y, w, backend="cuda")
    close(out.cpu(), tensor_product(MIXED, x.cpu(), y.cpu(), w.cpu(), backend="torch"), 1e-12)


def test_automatic_choice_and_empty_graphs():
    for nodes, edges in ((0, 0), (4, 0), (1, 1)):
        leaves, source, target = arguments(MIXED, nodes, edges, device="cuda")
        out = convolution(MIXED, leaves, source, target, backend=None)
        close(out.cpu(), specified(MIXED, [t.cpu() for t in leaves], source.cpu(), target.cpu()), 1e-12)


def test_the_same_bits_again():
    leaves, source, target = arguments(LARGE, 50, 2000, dtype=torch.float32, device="cuda")
    first = derivatives(lambda t: convolution(LARGE, t, source, target), leaves)
    for _ in range(3):
        again = derivatives(lambda t: convolution(LARGE, t, source, target), leaves)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_stream():
    leaves, source, target = arguments(LARGE, 50, 2000, dtype=torch.float32, device="cuda")
    expected = convolution(LARGE, leaves, source, target)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        out = convolution(LARGE, leaves, source, target)
    stream.synchronize()
    assert torch.equal(out, expected)


def test_a_captured_graph_reads_new_inputs():
    """Value, gradients and gradients of gradients are captured; nothing waits for the card."""
    leaves, source, target = arguments(LARGE, 50, 2000, dtype=torch.float32, device="cuda")
    rows = DeviceRows.edges(source, target, 50, 50)

    def step():
        return derivatives_on_card(LARGE, leaves, source, target, rows)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for t in leaves:
            t.copy_(torch.randn_like(t))
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(captured, step(), strict=True):
        assert torch.equal(a, b)


def derivatives_on_card(spec, leaves, source, target, rows):
    out = convolution(spec, leaves, source, target, rows=rows)
    first = torch.autograd.grad((out * out).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
    return [t.detach() for t in (out, *first, *second)]


def test_nothing_waits(monkeypatch):
    leaves, source, target = arguments(LARGE, 50, 2000, dtype=torch.float32, device="cuda")
    rows = DeviceRows.edges(source, target, 50, 50)
    derivatives_on_card(LARGE, leaves, source, target, rows)
    torch.cuda.set_sync_debug_mode("error")
    try:
        derivatives_on_card(LARGE, leaves, source, target, rows)
        DeviceRows.edges(source, target, 50, 50, checked=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_more_than_two_billion_numbers():
    """Weights of 2^31 entries and more: addresses of 64 bits."""
    edges = (1 << 31) // LARGE.weight_numel + 1000
    free, _ = torch.cuda.mem_get_info()
    if free < 5 * 4 * edges * LARGE.weight_numel // 2:
        pytest.skip("needs 22 GB of free memory on the card")
    g = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(100, LARGE.irreps_in1.dim, device="cuda", generator=g)
    y = torch.randn(edges, LARGE.irreps_in2.dim, device="cuda", generator=g)
    w = torch.randn(edges, LARGE.weight_numel, device="cuda", generator=g).requires_grad_()
    source = torch.randint(0, 100, (edges,), device="cuda", generator=g)
    target = torch.full((edges,), 7, device="cuda")
    target[-50:] = 93
    out = convolution(LARGE, (x, y, w), source, target)
    last = slice(edges - 50, edges)
    expected = tensor_product(LARGE, x[source[last]], y[last], w[last], backend="torch").double().sum(0)
    close(out[93].double(), expected, 1e-5)
    (gw,) = torch.autograd.grad(out[93].sum(), w)
    small = w.detach()[last].requires_grad_()
    (expected,) = torch.autograd.grad(
        tensor_product(LARGE, x[source[last]], y[last], small, backend="torch").sum(), small
    )
    close(gw[last], expected, 1e-5)
    assert not gw[:-50].any()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 1e-1)],
)
@pytest.mark.parametrize(
    ("degrees", "normalize", "rows"),
    [(range(7), True, 1000), (range(5), False, 33), ([3, 1, 1], True, 7), ([2], True, 0)],
)
def test_harmonics_and_two_derivatives(degrees, normalize, rows, dtype, tolerance):
    x = torch.randn(rows, 3, dtype=torch.float64).to(dtype)
    g = torch.randn(rows, sum(2 * d + 1 for d in degrees), dtype=torch.float64).to(dtype)

    def found(function, x, g):
        x, g = x.requires_grad_(), g.requires_grad_()
        y = function(degrees, x, normalize)
        (first,) = torch.autograd.grad(y, x, g, create_graph=True)
        return [t.detach() for t in (y, first, *torch.autograd.grad((first * first).sum(), (g, x)))]

    ours = found(lambda *a: spherical_harmonics(*a, backend="cuda"), x.cuda(), g.cuda())
    for a, b in zip(ours, found(specification, x.double(), g.double()), strict=True):
        assert a.is_cuda and a.dtype == dtype
        close(a.cpu().double(), b, tolerance * 10)


def test_harmonics_in_a_captured_graph():
    x = torch.randn(500, 3, device="cuda")

    def step():
        t = x.detach().requires_grad_()
        return torch.autograd.grad((spherical_harmonics(range(4), t) ** 3).sum(), t)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, step())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize(
    ("n", "count"), [(1, 3), (2, 1000), (3, 129), (4, 7), (8, 100), (31, 5), (32, 5), (40, 3), (96, 2)]
)
def test_spectral_functions_and_two_derivatives(n, count, dtype, tolerance):
    q = torch.linalg.qr(torch.randn(count, n, n, dtype=torch.float64))[0]
    w = 0.2 + torch.rand(count, n, dtype=torch.float64)
    w[:, : n // 2] = 0.5
    a, e = ((q * w[:, None]) @ q.mT).to(dtype), torch.randn(count, n, n, dtype=torch.float64).to(dtype)

    def found(a, e, backend):
        x = a.clone().requires_grad_()
        y = symfun(x, "log", backend=backend)
        first = torch.autograd.grad(y, x, e, create_graph=True)[0]
        return [t.detach().cpu().double() for t in (y, first, torch.autograd.grad(first, x, e)[0])]

    for ours, wanted in zip(
        found(a.cuda(), e.cuda(), "cuda"), found(a.double(), e.double(), "torch"), strict=True
    ):
        close(ours, wanted, tolerance * 10)
