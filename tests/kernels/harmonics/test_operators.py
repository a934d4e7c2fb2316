"""Harmonics under compile, export, make_fx and the transforms of torch.func, and the checks of torch for their operators."""

from __future__ import annotations

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from geomlib import InvalidInput
from geomlib.algebra.irreps import spherical_harmonics as specification
from geomlib.kernels.harmonics import spherical_harmonics
from geomlib.layers import SphericalHarmonics

OPS = torch.ops.geomlib
NAMES = ("geomlib.spherical_harmonics.default", "geomlib.spherical_harmonics_backward.default")
D = torch.float64


def rest(degrees=(0, 1, 3), normalize=True, backend=""):
    return list(degrees), normalize, "component", backend


def points(rows=5, dtype=D):
    return torch.randn(rows, 3, dtype=dtype)


def noted(graph):
    return {str(n.target) for n in graph.nodes if n.op == "call_function"}


@pytest.mark.parametrize(("degrees", "normalize", "backend"), [((0, 2), True, ""), ((1,), False, "torch")])
def test_opcheck(degrees, normalize, backend):
    x = points().requires_grad_()
    tail = rest(degrees, normalize, backend)
    torch.library.opcheck(OPS.spherical_harmonics.default, (x, *tail))
    out = OPS.spherical_harmonics(x, *tail)
    grad, v = torch.randn_like(out).requires_grad_(), torch.randn_like(x).requires_grad_()
    torch.library.opcheck(OPS.spherical_harmonics_backward.default, (grad, x, *tail))
    # The last check traces its own backward pass, which is made of plain operations: seconds for nothing of ours.
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    for needs in ([True, True], [True, False], [False, True]):
        twice = (v, grad, x, *tail, needs)
        torch.library.opcheck(OPS.spherical_harmonics_double_backward.default, twice, test_utils=tests)


def derivatives(function, x, orders=3):
    x = x.detach().requires_grad_()
    found = [function(x)]
    value = (found[0] * torch.linspace(-1, 1, found[0].shape[-1], dtype=x.dtype)).sum() + x.pow(4).sum()
    for _ in range(orders):
        (g,) = torch.autograd.grad(value, x, create_graph=True)
        found.append(g)
        value = (g * torch.tensor([1.0, -2.0, 0.5], dtype=x.dtype)).square().sum()
    return [t.detach() for t in found]


@pytest.mark.parametrize("backend", ["", "torch", "cpu"])
@pytest.mark.parametrize("normalize", [True, False])
def test_three_derivatives_of_the_operator(normalize, backend):
    if backend == "cpu":
        pytest.importorskip("numba")
    tail = rest((0, 1, 2, 4), normalize, backend)
    found = derivatives(lambda x: OPS.spherical_harmonics(x, *tail), points())
    torch.manual_seed(0)
    expected = derivatives(lambda x: specification((0, 1, 2, 4), x, normalize), points())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradcheck_of_first_and_second_order():
    tail = rest((1, 2), True)
    x = points(3).requires_grad_()
    torch.autograd.gradcheck(lambda t: OPS.spherical_harmonics(t, *tail), x)
    torch.autograd.gradgradcheck(lambda t: OPS.spherical_harmonics(t, *tail), x)


def test_gradients_of_stride_zero_and_no_points():
    x = points().requires_grad_()
    (a,) = torch.autograd.grad(OPS.spherical_harmonics(x, *rest()).sum(), x)
    (b,) = torch.autograd.grad(specification((0, 1, 3), x).sum(), x)
    torch.testing.assert_close(a, b)
    empty = points(0).requires_grad_()
    (a,) = torch.autograd.grad(OPS.spherical_harmonics(empty, *rest()).sum(), empty)
    assert a.shape == (0, 3)


@pytest.mark.parametrize("degrees", [[0, 1, 2], [3, 1, 1], 2])
def test_fullgraph_compile_and_its_gradient(degrees):
    x = torch.randn(2, 4, 3, requires_grad=True)

    def f(x):
        return (spherical_harmonics(degrees, 2 * x) ** 2 * torch.arange(1.0, 4.0)[:, None, None, None]).sum()

    expected = f(x)
    got = torch.compile(f, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got, x), torch.autograd.grad(expected, x), strict=True):
        torch.testing.assert_close(a, b)


def test_export_of_the_layer(tmp_path):
    layer, x = SphericalHarmonics([0, 1, 2]), torch.randn(6, 3)
    program = torch.export.export(layer, (x,), dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}})
    assert NAMES[0] in noted(program.graph)
    torch.export.save(program, tmp_path / "harmonics.pt2")
    again = torch.export.load(tmp_path / "harmonics.pt2").module()
    other = torch.randn(11, 3)
    torch.testing.assert_close(again(other), layer(other))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_notes_the_operators_down(mode):
    def force(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad((spherical_harmonics([0, 2, 1], x) ** 3).sum(), x)[0]

    x = points()
    graph = make_fx(force, tracing_mode=mode)(x)
    assert set(NAMES) <= noted(graph.graph)
    other = points(5)
    torch.testing.assert_close(graph(other), force(other))


def test_plain_operations_where_they_are_asked_for():
    graph = make_fx(lambda x: spherical_harmonics([1, 2], x, backend="torch"))(points())
    assert not any("geomlib" in name for name in noted(graph.graph))


def test_vmap_of_every_operator():
    tail = rest((1, 2), True)
    x, grad, v = torch.randn(4, 3, 3, dtype=D), torch.randn(3, 4, 8, dtype=D), torch.randn(4, 3, dtype=D)
    found = torch.func.vmap(lambda t: OPS.spherical_harmonics(t, *tail), in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(found, specification((1, 2), x))
    one = OPS.spherical_harmonics_backward
    found = torch.func.vmap(lambda g, t: one(g, t, *tail), in_dims=(0, 1))(grad, x)
    expected = torch.stack([one(g, t, *tail) for g, t in zip(grad, x.unbind(1), strict=True)])
    torch.testing.assert_close(found, expected)
    two = OPS.spherical_harmonics_double_backward
    for needs in ([True, True], [False, True]):
        found = torch.func.vmap(lambda g, n=needs: two(v, g, x[:, 0], *tail, n))(grad)
        each = [two(v, g, x[:, 0], *tail, needs) for g in grad]
        for a, b in zip(found, zip(*each, strict=True), strict=True):
            torch.testing.assert_close(a, torch.stack(b))
    compiled = torch.compile(
        torch.func.vmap(lambda t: spherical_harmonics([2, 1], t)), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(x), specification([2, 1], x))


def test_what_is_refused():
    x = points()
    operator = lambda t: OPS.spherical_harmonics(t, *rest())  # noqa: E731
    with pytest.raises(InvalidInput, match="forward-mode"):
        torch.func.jvp(operator, (x,), (x,))
    with pytest.raises(InvalidInput, match="backend 'cpu'"):
        OPS.spherical_harmonics(x.bfloat16(), *rest(backend="cpu"))
    # Untraced, forward mode differentiates the plain operations.
    _, tangent = torch.func.jvp(lambda t: spherical_harmonics([1, 2], t), (x,), (x,))
    torch.testing.assert_close(tangent, torch.zeros_like(tangent), atol=1e-12, rtol=0)
