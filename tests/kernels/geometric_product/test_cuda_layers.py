"""Gates and steerable products as generated kernels: equal to their composition, finite where that is, and printed right."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels.cuda.staged_run import interpret_staged, tiling
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.geometric_product import cuda, cuda_layers, gates, steerable
from geomlib.kernels.geometric_product.cuda_layer_programs import Product, gate_kernel, product_kernel
from geomlib.layers import CEMLP

from .cuda_problems import algebra, close, derivatives

SIGNATURES = [(1, 0), (1, 1), (3, 0), (2, 0, 1), (1, 3)]
GATES = [(gate, rooted) for gate in ("sigmoid", "normal") for rooted in (False, True)]
PRODUCTS = [(normed, mixed) for normed in (False, True) for mixed in (False, True)]


@pytest.fixture(autouse=True)
def plain():
    """The specification in torch."""
    with use_backend("torch"):
        yield


def random(*shapes, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def gate_leaves(alg, count, channels):
    return random((count, channels, alg.size), (channels, alg.n + 1), (channels, alg.n + 1))


def product_leaves(kind, count, channels):
    size = kind.alg.size
    shapes = [
        (count, channels, size),
        (count, channels * (1 + kind.mixed), size),
        (channels, len(kind.alg.paths)),
    ]
    shapes += [(channels, kind.alg.n + 1)] if kind.normed else []
    return random(*shapes, *([(1, channels, 1)] if kind.mixed else []))


def gate(kind):
    return lambda t: cuda_layers.GATE(kind, *t)


def product(kind):
    return lambda t: cuda_layers.PRODUCT(kind, *t)


@pytest.mark.parametrize(("name", "rooted"), GATES)
@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_gates(signature, name, rooted):
    kind = gates.Gate(algebra(signature), name, rooted)
    leaves = gate_leaves(kind.alg, 9, 3)
    expected = derivatives(lambda t: gates.composed(kind, tuple(t)), leaves)
    for a, b in zip(derivatives(gate(kind), leaves), expected, strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize(("normed", "mixed"), PRODUCTS)
@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_products(signature, normed, mixed):
    kind = Product(algebra(signature), normed, mixed)
    if product_kernel(kind, torch.float64, True) is None:
        assert signature == (1, 3)
        return
    leaves = product_leaves(kind, 9, 3)
    expected = derivatives(lambda t: cuda_layers.PRODUCT.reference(kind, tuple(t)), leaves)
    for a, b in zip(derivatives(product(kind), leaves), expected, strict=True):
        close(a, b, 2e-12)


@pytest.mark.parametrize("signature", [(1, 3), (5, 0)], ids=str)
def test_what_only_float32_is_served(signature):
    kind = Product(algebra(signature), True, True)
    leaves = [t.detach().float().requires_grad_() for t in product_leaves(kind, 6, 2)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    expected = derivatives(lambda t: cuda_layers.PRODUCT.reference(kind, tuple(t)), exact, 1)
    for a, b in zip(derivatives(product(kind), leaves, 1), expected, strict=True):
        close(
            a.double(), b, 1e-4 if signature == (1, 3) else 1e-5
        )  # a length is a cusp where the form is zero


@pytest.mark.parametrize("signature", [(3, 0), (1, 3)], ids=str)
@pytest.mark.parametrize("value", [0.0, 2.0**-100, 2.0**50, 2.0**100])
def test_zero_light_like_and_huge(signature, value):
    """Finite wherever the composition is; the same numbers."""
    alg = algebra(signature)
    x = torch.zeros(2, 2, alg.size)
    x[0, :, 1:3] = value  # e1 + e2 is light-like in the second
    x[1, 0] = value
    kind, leaves = gates.Gate(alg, "sigmoid", False), gate_leaves(alg, 2, 2)
    a, b = (t.detach().float() for t in leaves[1:])
    found, expected = cuda_layers.GATE(kind, x, a, b), gates.composed(kind, (x, a, b))
    rows = 1 if value > 1e20 else 2  # sums of squares at their cap cancel but for round-off
    torch.testing.assert_close(found[:rows], expected[:rows], rtol=2e-6, atol=0)
    assert bool(torch.isfinite(found).all())
    whole = Product(alg, True, False)
    w = torch.ones(2, len(alg.paths))
    tensors = [t.requires_grad_() for t in (x.clamp(max=1e15), x.clone(), w, a.clone())]
    found = derivatives(product(whole), tensors, 1)
    expected = derivatives(lambda t: cuda_layers.PRODUCT.reference(whole, tuple(t)), tensors, 1)
    for p, q in zip(found, expected, strict=True):
        assert bool(torch.isfinite(p[torch.isfinite(q)]).all())


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (300, 3), (2, 140)])
def test_sizes(shape):
    kind = Product(algebra((2, 0)), True, True)
    leaves = product_leaves(kind, *shape)
    expected = derivatives(lambda t: cuda_layers.PRODUCT.reference(kind, tuple(t)), leaves, 1)
    for a, b in zip(derivatives(product(kind), leaves, 1), expected, strict=True):
        close(a, b, 1e-12)


def test_the_layer_is_the_whole_composition():
    alg = algebra((3, 0))
    x, w, right, a, left, bias = random((7, 4, 8), (4, 20), (4, 4, 4), (4, 4), (4, 4, 4), (1, 4, 1))
    expected = steerable.steerable_product(x, w, right, alg, a=a, left=left, bias=bias)
    found = cuda_layers.steerable(Product(alg, True, True), x, w, right, a, left, bias)
    close(found, expected, 1e-12)
    tensors = (x, w, right, a, left, bias)
    for p, q in zip(
        torch.autograd.grad(found.sin().sum(), tensors), torch.autograd.grad(expected.sin().sum(), tensors), strict=True
    ):  # fmt: skip
        close(p, q, 1e-12)


def test_a_wrong_statement_is_noticed():
    kind = gates.Gate(algebra((2, 0)), "sigmoid", False)
    kernel = gate_kernel(kind, torch.float64, False)
    assert kernel is not None
    x, a, b = (t.detach() for t in gate_leaves(kind.alg, 4, 2))
    out = torch.zeros_like(x)
    wrong = tuple(s._replace(function="root") if s.__class__.__name__ == "Call" and s.function == "sigmoid" else s for s in kernel.body)  # fmt: skip # noqa: E501
    for body, right in ((kernel.body, True), (wrong, False)):
        changed = type(kernel)(**{**kernel.__dict__, "body": body})
        interpret_staged(changed, {"x": x, "a": a, "b": b, "out": out}, tiling(changed, 4, 2))
        assert torch.allclose(out, gates.composed(kind, (x, a, b))) == right


def test_a_network_runs_on_them(monkeypatch):
    """CEMLP as a card would run it, the kernels interpreted."""
    alg, generator = algebra((3, 0)), torch.Generator().manual_seed(0)
    model = CEMLP(alg, 3, 4, 2).double()
    x = torch.randn(2, 5, 3, 8, generator=generator, dtype=torch.float64)
    expected = model(x)
    gradients = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    started: list[str] = []
    run = cuda._start
    monkeypatch.setattr(cuda, "_start", lambda k, *rest: started.append(k.name) or run(k, *rest))
    monkeypatch.setattr(cuda_layers, "_serves", lambda *args: True)
    out = model(x)
    close(out, expected, 1e-12)
    for a, b in zip(
        torch.autograd.grad(out.square().sum(), list(model.parameters())), gradients, strict=True
    ):
        close(a, b, 1e-11)
    assert started == ["gate", "steerable"] * 2 + ["steerable_slopes", "gate_slopes"] * 2
