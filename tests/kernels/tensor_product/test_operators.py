"""Products under compile, export, make_fx and the transforms of torch.func, and the checks of torch for its operators."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import geomlib.kernels.tensor_product  # noqa: F401
from geomlib import InvalidInput
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.tensor_product import tensor_product, tensor_product_conv
from geomlib.layers import FullyConnectedTensorProduct, TensorProductConv

from .test_convolution import MIXED, graph
from .test_modes import spec_with, tensors

OPS = torch.ops.geomlib
EDGES = torch.tensor([[0, 1, 2, 2, 4, 1], [1, 1, 0, 3, 2, 2]])


def arguments(spec, edges, shared, dtype=torch.float64):
    x, y, w = tensors(spec, 5, shared, dtype)
    if edges:
        _, y, w = tensors(spec, EDGES.shape[1], shared, dtype)
    w = w[None] if shared else w
    return (x, y, w), ((EDGES, 5) if edges else (None, -1))


SPECS = {
    "channelwise": MIXED,
    "mixed": spec_with("uvw", True),
    "same": spec_with("uuw", True),
    "none": spec_with("uuu", False),
}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_opcheck(name, edges, shared):
    spec = SPECS[name]
    factors, rest = arguments(spec, edges, shared)
    rest = (*rest, spec.text, "")
    leaves = tuple(t.clone().requires_grad_() for t in factors)
    torch.library.opcheck(OPS.tensor_product.default, (*leaves, *rest))
    out = OPS.tensor_product(*factors, *rest)
    grad = torch.randn_like(out).requires_grad_()
    for needs in ([True, True, True], [True, False, False]):
        torch.library.opcheck(OPS.tensor_product_backward.default, (grad, *leaves, *rest, needs))
    tangents = tuple(torch.randn_like(t) for t in factors)
    twice = (*tangents, grad.detach(), *factors, *rest, [True] * 4)
    tests = ("test_schema", "test_faketensor")  # third derivatives are refused
    torch.library.opcheck(OPS.tensor_product_double_backward.default, twice, test_utils=tests)
    some = (None, *tangents[1:], grad.detach(), *factors, *rest, [True, False, True, False])
    torch.library.opcheck(OPS.tensor_product_double_backward.default, some, test_utils=tests)


@pytest.mark.parametrize("backend", ["torch", "cpu"])
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_the_operators_give_the_same_two_derivatives(name, edges, backend):
    spec = SPECS[name]
    factors, (index, count) = arguments(spec, edges, False)

    def plain(x, y, w):
        if index is None:
            return tensor_product(spec, x, y, w, backend=backend)
        return tensor_product_conv(spec, x, y, w, index, count, backend=backend)

    def operator(x, y, w):
        return OPS.tensor_product(x, y, w, index, count, spec.text, backend)

    found = []
    for function in (plain, operator):
        leaves = [t.clone().requires_grad_() for t in factors]
        nothing = 0 * sum((t * t).sum() for t in leaves)
        out = function(*leaves)
        first = torch.autograd.grad(out.sin().sum() + nothing, leaves, create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first) + nothing, leaves)
        found.append((out, *first, *second))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_gradients_of_stride_zero_and_absent_ones():
    (x, y, w), _ = arguments(MIXED, False, False)
    x.requires_grad_()
    out = OPS.tensor_product(x, y, w, None, -1, MIXED.text, "")
    (a,) = torch.autograd.grad(out.sum(), x)
    (b,) = torch.autograd.grad(tensor_product(MIXED, x, y, w), x, torch.ones_like(out))
    assert torch.equal(a, b)
    empty = OPS.tensor_product(x[:0], y[:0], w[:0], None, -1, MIXED.text, "")
    (a,) = torch.autograd.grad(empty.sum(), x)
    assert torch.equal(a, torch.zeros_like(x))


def test_fullgraph_compile_and_its_gradient():
    x, y, w, edges = graph(dtype=torch.float32)
    leaves = [t.requires_grad_() for t in (x, y, w)]

    def f(x, y, w):
        return (tensor_product_conv(MIXED, x.sin(), y, w, edges) ** 2).sum() + tensor_product(
            MIXED, x[:3], y[:3], w[:3]
        ).sum()

    expected = f(*leaves)
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
    got = compiled(*leaves)
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(a, b)


def test_layers_compile_and_export():
    layer = FullyConnectedTensorProduct("4x0e+3x1o", "1x0e+1x1o", "2x0e+2x1o+1x1e")
    x, y = torch.randn(6, 13), torch.randn(6, 4)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x, y), layer(x, y))
    program = torch.export.export(layer, (x, y))
    assert "geomlib.tensor_product" in str(program.graph)
    torch.testing.assert_close(program.module()(x, y), layer(x, y))
    conv, inputs = TensorProductConv.example(torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        torch.compile(conv, backend="aot_eager", fullgraph=True)(**inputs), conv(**inputs)
    )
    exported = torch.export.export(conv, (), inputs).module()
    torch.testing.assert_close(exported(**inputs), conv(**inputs))


def test_exported_programs_live_on(tmp_path):
    conv, inputs = TensorProductConv.example(torch.Generator().manual_seed(0))
    torch.export.save(torch.export.export(conv, (), inputs), tmp_path / "conv.pt2")
    loaded = torch.export.load(tmp_path / "conv.pt2").module()
    torch.testing.assert_close(loaded(**inputs), conv(**inputs))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_notes_the_operators_down(mode):
    x, y, w, edges = graph()

    def force(x, y, w):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad((tensor_product_conv(MIXED, x, y, w, edges) ** 2).sum(), x)
        return g

    traced = make_fx(force, tracing_mode=mode, _allow_non_fake_inputs=True)(x, y, w)
    names = [str(n.target) for n in traced.graph.nodes if n.op == "call_function"]
    assert {"geomlib.tensor_product.default", "geomlib.tensor_product_backward.default"} <= set(names)
    other = torch.randn_like(x)
    torch.testing.assert_close(traced(other, y, w), force(other, y, w))


def test_transforms_of_torch_func():
    (x, y, w), _ = arguments(MIXED, False, False)

    def one(a, b, c):
        return tensor_product(MIXED, a[None], b[None], c[None])[0]

    def total(a):
        return (tensor_product(MIXED, a, y, w) ** 2).sum()

    torch.testing.assert_close(torch.func.vmap(one)(x, y, w), tensor_product(MIXED, x, y, w))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(total)(x), expected)
    direction = torch.randn_like(x)
    _, tangent = torch.func.jvp(total, (x,), (direction,))
    torch.testing.assert_close(tangent, (expected * direction).sum())
    with forward_ad.dual_level():
        dual = total(forward_ad.make_dual(x, direction))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, (expected * direction).sum())


def test_vmap_of_the_operators():
    (x, y, w), _ = arguments(MIXED, False, False)
    xs = torch.stack([x, 2 * x, -x], 1)

    def operator(a):
        return OPS.tensor_product(a, y, w, None, -1, MIXED.text, "")

    expected = torch.stack([operator(a) for a in xs.unbind(1)])
    torch.testing.assert_close(torch.func.vmap(operator, in_dims=1)(xs), expected)
    compiled = torch.compile(
        torch.func.vmap(lambda a: tensor_product(MIXED, a, y, w), in_dims=1), backend="aot_eager"
    )
    torch.testing.assert_close(compiled(xs), expected)


def test_operators_refuse_what_would_be_wrong():
    (x, y, w), _ = arguments(MIXED, False, False)

    def operator(a):
        return OPS.tensor_product(a, y, w, None, -1, MIXED.text, "")

    with pytest.raises(InvalidInput, match="forward-mode"):
        torch.func.jvp(operator, (x,), (x,))
    with forward_ad.dual_level(), pytest.raises(InvalidInput, match="forward-mode"):
        operator(forward_ad.make_dual(x, x))
    x.requires_grad_()
    (first,) = torch.autograd.grad((operator(x) ** 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(InvalidInput, match="third derivatives"):
        torch.autograd.grad((second**2).sum(), x)
    with pytest.raises(InvalidInput, match="x: expected shape"):
        OPS.tensor_product(x[:, 1:], y, w, None, -1, MIXED.text, "")
    with pytest.raises(InvalidInput, match=r"nodes are 0\.\.4"):
        OPS.tensor_product(x, y, w, torch.full((2, 5), 7), 5, MIXED.text, "")


def test_products_as_text():
    for spec in SPECS.values():
        again = ProductSpec.from_text(spec.text)
        assert again == spec and again.text == spec.text and hash(again) == hash(spec)
