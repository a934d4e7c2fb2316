"""Layers of irreps compiled, exported and inside transforms: the same numbers, in one graph, with derivatives."""

from __future__ import annotations

import pytest
import torch

import geomlib.layers
from geomlib import InvalidInput
from geomlib.kernels.capture import capture
from geomlib.layers import Linear, SO2Convolution, SphericalHarmonics

NAMES = [
    "Activation", "BatchNorm", "Gate", "Linear", "Norm", "NormActivation", "SO2Convolution", "SphericalHarmonics",
    "SymmetricContraction", "TensorSquare",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_exported(name):
    layer, inputs = getattr(geomlib.layers, name).example(torch.Generator().manual_seed(0))
    layer.eval()
    before = layer(**inputs)
    program = torch.export.export(layer, (), inputs).module()
    torch.testing.assert_close(program(**inputs), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(**inputs), before)  # no table of the trace was kept


@pytest.mark.parametrize("name", NAMES)
def test_compiled_in_one_graph_with_derivatives(name):
    layer, inputs = getattr(geomlib.layers, name).example(torch.Generator().manual_seed(0))
    layer.eval()
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    results = []
    for f in (layer, compiled):
        given = {k: v.clone().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
        out = f(**given)
        wanted = [v for v in given.values() if v.requires_grad]
        results.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


class Network(torch.nn.Module):
    """Two of each in one graph, of different degrees."""

    def __init__(self):
        super().__init__()
        self.first, self.second = SphericalHarmonics([0, 1, 2, 3]), SphericalHarmonics([4])
        self.one = SO2Convolution("2x0e+2x1o+2x3o", "2x0e+2x1o+2x4e")
        self.two = SO2Convolution("2x0e+2x1o+2x4e", "2x0e")
        self.linear = Linear("2x0e", "1x0e")

    def forward(self, x, edge_index, edge_vec):
        z = self.linear(self.two(self.one(x, edge_index, edge_vec), edge_index, edge_vec))
        return z.sum() + self.first(edge_vec).sum() + self.second(edge_vec).square().sum()


def test_several_in_one_graph():
    net = Network()
    x, edge_index, vec = torch.randn(4, 22), torch.randint(0, 4, (2, 7)), torch.randn(7, 3)
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edge_index, vec), net(x, edge_index, vec), rtol=1e-5, atol=1e-5)


def test_a_backend_asked_for_is_part_of_a_trace():
    layer, x = SphericalHarmonics([1], backend="cpu"), torch.randn(4, 3)
    program = torch.export.export(layer, (x,))
    (call,) = (n for n in program.graph.nodes if "spherical_harmonics" in str(n.target))
    assert call.args[-1] == "cpu"
    torch.testing.assert_close(program.module()(x), layer(x))
    with pytest.raises((InvalidInput, RuntimeError), match="float32 or float64"):
        torch.export.export(layer, (x.bfloat16(),)).module()(x.bfloat16())


@pytest.mark.parametrize(
    "name", ["Activation", "Gate", "Linear", "Norm", "NormActivation", "SphericalHarmonics"]
)
def test_rows_one_by_one_and_directional_derivatives(name):
    layer, inputs = getattr(geomlib.layers, name).example(torch.Generator().manual_seed(0))
    x = inputs["x"].double()
    layer = layer.double()
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    v = torch.randn_like(x)
    _, along = torch.func.jvp(layer, (x,), (v,))
    h = 1e-6
    torch.testing.assert_close(along, (layer(x + h * v) - layer(x - h * v)) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_steps_replay(name):
    layer, inputs = getattr(geomlib.layers, name).example(torch.Generator().manual_seed(0))
    layer.eval()

    def step():
        x = inputs["x"].detach().requires_grad_()
        return torch.autograd.grad(layer(**{**inputs, "x": x}).square().sum(), x)[0]

    program = capture(step)
    inputs["x"].copy_(torch.randn(inputs["x"].shape))
    assert torch.equal(program(), step())
    for bad in ("element", "edge_index"):
        if bad in inputs:
            inputs[bad][..., 1] = 100
            with pytest.raises((InvalidInput, IndexError, RuntimeError)):
                program()
