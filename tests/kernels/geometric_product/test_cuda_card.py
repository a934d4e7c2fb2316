"""Products and layers of multivectors on a card: the numbers of torch on the CPU in float64, streams, captured graphs."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels.cuda.launcher import missing_device
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.geometric_product import fc_gp, geometric_product, grade_squares, weighted_gp
from geomlib.kernels.geometric_product.gates import grade_gate
from geomlib.kernels.geometric_product.steerable import steerable_product
from geomlib.layers import CEMLP

from .cuda_problems import algebra, close, derivatives

pytestmark = pytest.mark.skipif(missing_device() is not None, reason=f"no card: {missing_device()}")

TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 3e-2}


def random(*shapes, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(s, generator=g, dtype=torch.float64).cuda().to(dtype).requires_grad_() for s in shapes
    ]


def on_cpu(function, leaves, orders):
    exact = [t.detach().cpu().double().requires_grad_() for t in leaves]
    with use_backend("torch"):
        return derivatives(lambda t: function(*t), exact, orders)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("signature", [(2, 0), (3, 0), (1, 3), (3, 0, 1), (5, 0), (6, 0)], ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (700, 28), (33, 130)])
def test_weighted_products(signature, shape, dtype):
    alg = algebra(signature)
    if alg.n == 6 and dtype == torch.float64:
        pytest.skip("six generators are served in float32")
    rows, channels = shape if alg.n < 5 else (9, 4)
    leaves = random(
        (rows, channels, alg.size), (rows, channels, alg.size), (channels, len(alg.paths)), dtype=dtype
    )
    with use_backend("cuda"):
        found = derivatives(lambda t: weighted_gp(*t, alg), leaves)
    for a, b in zip(found, on_cpu(lambda *t: weighted_gp(*t, alg), leaves, 2), strict=True):
        assert a.is_cuda and a.dtype == dtype
        close(a.cpu().double(), b, TOLERANCES[dtype])


@pytest.mark.parametrize("signature", [(3, 0), (1, 3)], ids=str)
def test_other_products(signature):
    alg = algebra(signature)
    x, y, w = random((40, 5, alg.size), (40, 5, alg.size), (4, 5, len(alg.paths)))
    functions = {
        "wedge": (lambda a, b: geometric_product(a, b, alg, kind="wedge"), (x, y)),
        "connected": (lambda a, b, v: fc_gp(a, b, v, alg), (x, y, w)),
        "squares": (lambda a: grade_squares(a, alg, scalar_as_is=True), (x,)),
    }
    for function, leaves in functions.values():
        with use_backend("cuda"):
            found = derivatives(lambda t, f=function: f(*t), leaves)
        for a, b in zip(found, on_cpu(function, leaves, 2), strict=True):
            close(a.cpu(), b, 1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("signature", [(2, 0), (3, 0), (1, 3), (3, 0, 1), (5, 0)], ids=str)
def test_layers(signature, dtype):
    """Two orders of derivatives, in rows stored blade by blade."""
    alg, c = algebra(signature), 6
    x, w, right, a, left, bias, b = random(
        (50, c, alg.size), (c, len(alg.paths)), (c, c, alg.n + 1), (c, alg.n + 1), (c, c, alg.n + 1), (1, c, 1),
        (c, alg.n + 1), dtype=dtype,
    )  # fmt: skip
    functions = {
        "gate": (lambda x, a, b: grade_gate(x, a, b, alg, gate="normal", invariant="norm"), (x, a, b)),
        "product": (
            lambda x, w, r, a, l, v: steerable_product(x, w, r, alg, a=a, left=l, bias=v),
            (x, w, right, a, left, bias),
        ),
    }
    for function, leaves in functions.values():
        found = derivatives(lambda t, f=function: f(*t), leaves)
        for p, q in zip(found, on_cpu(function, leaves, 2), strict=True):
            close(p.cpu().double(), q, 1e-9 if dtype == torch.float64 else 2e-2)


def test_strides():
    alg = algebra((3, 0))
    x, y, w = (t.detach() for t in random((64, 6, 8), (64, 6, 8), (6, 20)))
    expected = weighted_gp(x, y, w, alg, backend="cuda")
    outermost = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    transposed = y.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(weighted_gp(outermost, transposed, w, alg, backend="cuda"), expected)
    assert weighted_gp(x[:0], y[:0], w, alg, backend="cuda").shape == (0, 6, 8)


def step(model, x):
    out = model(x)
    first = torch.autograd.grad(out.square().sum(), [x, *model.parameters()], create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), list(model.parameters()))
    return [t.detach() for t in (out, *first, *second)]


def network():
    model = CEMLP(algebra((3, 0)), 3, 28, 2).cuda()
    return model, torch.randn(500, 3, 8, device="cuda").requires_grad_()


def test_the_same_bits_again():
    model, x = network()
    first = step(model, x)
    assert all(torch.equal(a, b) for a, b in zip(first, step(model, x), strict=True))


def test_nothing_waits():
    model, x = network()
    step(model, x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(model, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_captured_graph_reads_new_inputs():
    model, x = network()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(model, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(model, x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(captured, step(model, x), strict=True):
        assert torch.equal(a, b)


def test_more_than_two_billion_numbers():
    """Addresses of 64 bits."""
    alg, channels = algebra((3, 0)), 64
    rows = (1 << 31) // (channels * 8) + 1000
    if torch.cuda.mem_get_info()[0] < 5 * 4 * rows * channels * 8:
        pytest.skip("needs 45 GB of free memory on the card")
    x = torch.randn(rows, channels, 8, device="cuda")
    y, w = torch.randn(1, channels, 8, device="cuda"), torch.randn(channels, 20, device="cuda")
    last = weighted_gp(x, y.expand_as(x), w, alg, backend="cuda")[-50:]
    close(last.cpu(), weighted_gp(x[-50:].cpu(), y.cpu(), w.cpu(), alg, backend="torch"), 1e-5)
