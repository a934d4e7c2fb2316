"""Every fused operation against its torch reference: value, gradient, gradient of gradient, odd layouts."""

import pytest
import torch

from geomlib.errors import InvalidInput
from geomlib.kernels import available_backends, use_backend
from geomlib.kernels.cartesian import gate_parts, normalize, part_linear, part_norms, product, square_update
from geomlib.kernels.dual import attach_slope, dual_gate
from geomlib.kernels.edges import EdgeList, edge_embedding, edge_message
from geomlib.kernels.geometry import bond_geometry
from geomlib.kernels.harmonics import spherical_harmonics

pytest.importorskip("numba")
D = torch.float64
N, C = 5, 3


def leaf(*shape):
    return torch.randn(*shape, dtype=D, requires_grad=True)


def edge_list(both, loops):
    i, j = torch.tensor([0, 0, 1, 2, 3, 3]), torch.tensor([1, 2, 2, 4, 4, 3])
    return EdgeList(i, j, N, both=both, loops=loops)


def _message(both, loops):
    edges = edge_list(both, loops)
    return lambda w, x, **k: edge_message(w, x, edges, **k), (leaf(edges.num_rows, 3, C), leaf(N, 9, C))


def _embedding(both, loops):
    edges = edge_list(both, loops)
    tensors = leaf(edges.num_rows, 3, C), leaf(edges.num_pairs, 9), leaf(N, C), leaf(N, C)
    return lambda *t, **k: edge_embedding(*t, edges, **k), tensors


def _product(symmetric):
    scale = torch.rand(N, dtype=D)
    return lambda x, y, **k: product(x, y, scale.to(x.dtype), symmetric=symmetric, **k), (
        leaf(N, 9, C),
        leaf(N, 9, C),
    )


def _square():
    scale = torch.rand(N, dtype=D)
    return lambda x, y, **k: square_update(x, y, scale.to(x.dtype), **k), (leaf(N, 9, C), leaf(N, 9, C))


def _gate(activate):
    envelope = torch.rand(2, 4, dtype=D)
    return lambda h, b, **k: dual_gate(h, b, envelope.to(h.dtype), activate=activate, **k), (
        leaf(2, 4, C),
        leaf(C),
    )


def _harmonics(degrees, normalize):
    return lambda x, **k: spherical_harmonics(degrees, x, normalize, **k), (leaf(N, 3),)


CASES = {
    "harmonics": lambda: _harmonics([0, 1, 2, 3], True),
    "harmonics, solid": lambda: _harmonics([4, 1, 2, 1], False),
    "message": lambda: _message(True, True),
    "message, no loops": lambda: _message(True, False),
    "message, directed": lambda: _message(False, True),
    "message, directed, no loops": lambda: _message(False, False),
    "embedding": lambda: _embedding(True, True),
    "embedding, no loops": lambda: _embedding(True, False),
    "embedding, directed": lambda: _embedding(False, True),
    "product": lambda: _product(True),
    "product, SO(3)": lambda: _product(False),
    "square update": _square,
    "normalize": lambda: (normalize, (leaf(N, 9, C),)),
    "part linear": lambda: (part_linear, (leaf(N, 9, C), leaf(3, 4, C))),
    "part norms": lambda: (part_norms, (leaf(N, 9, C),)),
    "gate parts": lambda: (gate_parts, (leaf(N, 9, C), leaf(N, 3, C))),
    "dual gate": lambda: _gate(True),
    "dual gate, linear": lambda: _gate(False),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_two_derivatives(name):
    operation, tensors = CASES[name]()
    fast = lambda *t: operation(*t, backend="cpu")  # noqa: E731
    torch.testing.assert_close(fast(*tensors), operation(*tensors, backend="torch"), atol=1e-13, rtol=1e-12)
    assert torch.autograd.gradcheck(fast, tensors)
    assert torch.autograd.gradgradcheck(fast, tensors)


@pytest.mark.parametrize("name", CASES)
def test_third_derivative_comes_from_the_reference(name):
    operation, tensors = CASES[name]()

    def third(backend):
        y = operation(*tensors, backend=backend).pow(3).sum()
        for _ in range(2):
            y = sum(g.pow(2).sum() for g in torch.autograd.grad(y, tensors, create_graph=True))
        return torch.autograd.grad(y, tensors)

    for ours, reference in zip(third("cpu"), third("torch"), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9 * float(reference.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_float32_strided_inputs_and_expanded_gradients(name):
    operation, tensors = CASES[name]()
    strided = [
        torch.stack([t.detach().float(), torch.zeros_like(t).float()], -1)[..., 0].requires_grad_()
        for t in tensors
    ]
    y = operation(*strided, backend="cpu")
    grads = torch.autograd.grad(y, strided, torch.ones(()).expand_as(y))
    z = operation(*tensors, backend="torch")
    expected = torch.autograd.grad(z, tensors, torch.ones_like(z))
    torch.testing.assert_close(y.double(), z, rtol=1e-4, atol=1e-5)
    for ours, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(ours.double(), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nodes", [0, 1])
def test_no_pairs(nodes):
    none = torch.zeros(0, dtype=torch.int64)
    edges = EdgeList(none, none, nodes)
    w, x, u = leaf(1, 3, C), leaf(nodes, 9, C), leaf(nodes, C)
    out = edge_message(w, x, edges, backend="cpu")
    torch.testing.assert_close(out, edge_message(w, x, edges, backend="torch"))
    out = edge_embedding(w, torch.zeros(0, 9, dtype=D), u, u, edges, backend="cpu")
    torch.testing.assert_close(
        out, edge_embedding(w, torch.zeros(0, 9, dtype=D), u, u, edges, backend="torch")
    )


def test_a_nan_stays_a_nan():
    x = torch.randn(N, 9, C)
    x[2, 3, 1] = float("nan")
    ones = torch.ones(N)
    for out in (
        normalize(x, backend="cpu"),
        product(x, x, ones, backend="cpu"),
        part_norms(x, backend="cpu"),
    ):
        assert out[2, :, 1].isnan().any()
        assert out[[0, 1, 3, 4]].isfinite().all()


def test_geometry_pulls_and_pushes_like_autograd():
    vec = leaf(6, 3)
    fast = bond_geometry(vec, loop=True, second_order=False, backend="cpu")
    slow = bond_geometry(vec, loop=True, backend="torch")
    tangents = [torch.randn_like(t).requires_grad_() for t in fast]
    pulled = [torch.autograd.grad(y, vec, tangents, create_graph=True)[0] for y in (fast, slow)]
    torch.testing.assert_close(pulled[0], pulled[1])
    t = torch.randn(6, 3, dtype=D)
    for a, b in zip(*(torch.autograd.grad(p, tangents, t) for p in pulled), strict=True):
        torch.testing.assert_close(a, b)


def test_attached_slope_is_the_derivative_and_carries_gradients_to_weights():
    w = leaf(C)
    r = torch.rand(4, dtype=D, requires_grad=True)
    value, slope = torch.sin(r.detach()[:, None] * w), w * torch.cos(r.detach()[:, None] * w)
    y = attach_slope(r, value, slope)
    (g,) = torch.autograd.grad(y.pow(2).sum(), r, create_graph=True)
    (force_gradient,) = torch.autograd.grad(g.pow(2).sum(), w)
    z = torch.sin(r[:, None] * w)
    (h,) = torch.autograd.grad(z.pow(2).sum(), r, create_graph=True)
    (expected,) = torch.autograd.grad(h.pow(2).sum(), w)
    torch.testing.assert_close(g, h)
    torch.testing.assert_close(force_gradient, expected)


def test_backends_asked_for_by_name():
    assert set(available_backends()) == {"torch", "cpu", "cuda"}
    x = torch.randn(2, 9, 3, dtype=torch.float16)
    with pytest.raises(InvalidInput, match="float16"):
        normalize(x, backend="cpu")
    with pytest.raises(InvalidInput, match="Did you mean 'torch'"), use_backend("torhc"):
        pass
