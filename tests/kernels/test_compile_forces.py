"""Compiled energies and forces: values, and gradients of a loss of forces, as without compilation."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

from geomlib import InvalidInput, MissingDependency, compile_forces
from geomlib.layers import (
    ChannelwiseTensorProduct,
    FullyConnectedTensorProduct,
    SphericalHarmonics,
    TensorProductConv,
)


class Model(nn.Module):
    """Two convolutions, a fully connected product and a scalar readout."""

    def __init__(self):
        super().__init__()
        first = ChannelwiseTensorProduct("4x0e", "0e+1o", "0e+1o", shared_weights=False)
        second = ChannelwiseTensorProduct(first.irreps_out, "0e+1o", "0e", shared_weights=False)
        self.embed = nn.Linear(3, 4)
        self.harmonics = SphericalHarmonics("0e+1o")
        self.convs = nn.ModuleList([TensorProductConv(first), TensorProductConv(second)])
        self.radial = nn.ModuleList([nn.Linear(3, c.product.weight_numel) for c in self.convs])
        self.mix = FullyConnectedTensorProduct(second.irreps_out, "1x0e", "1x0e")

    def forward(self, pos, species, edge_index, scale=1.0):
        vec = pos[edge_index[0]] - pos[edge_index[1]]
        r = vec.norm(dim=1, keepdim=True)
        basis = torch.exp(-((r - torch.tensor([0.5, 1.0, 1.5], dtype=r.dtype)) ** 2))
        y, x = self.harmonics(vec), self.embed(species)
        for conv, radial in zip(self.convs, self.radial, strict=True):
            x = conv(x, y, edge_index, torch.tanh(radial(basis)))
        with torch.no_grad():
            shift = x.mean() * pos.norm()
        x = x * torch.sigmoid(x.sum(1, keepdim=True).detach()) + shift
        e = self.mix(x, torch.ones_like(x[:, :1]))
        return {"energy": scale * e.sum(), "atoms": e}


def inputs(nodes=5, edges=14, seed=0):
    g = torch.Generator().manual_seed(seed)
    source = torch.randint(0, nodes, (edges,), generator=g)
    target = (source + torch.randint(1, nodes, (edges,), generator=g)) % nodes
    pos = torch.randn(nodes, 3, generator=g, dtype=torch.float64)
    return {
        "pos": pos,
        "species": torch.randn(nodes, 3, generator=g, dtype=torch.float64),
        "edge_index": torch.stack([source, target]),
    }


def eager(model, given):
    pos = given["pos"].clone().requires_grad_()
    out = model(**{**given, "pos": pos})
    (g,) = torch.autograd.grad(out["energy"], pos, create_graph=True)
    return {**out, "forces": -g}


def loss_gradients(out, model):
    loss = out["energy"].sin() + (out["forces"] ** 2).sum() + out["forces"][0, 0]
    return torch.autograd.grad(loss, list(model.parameters()))


BACKENDS = [
    "eager",
    "aot_eager",
    pytest.param(
        "inductor",
        marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no compiler")],
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_on_forces(backend):
    torch.manual_seed(0)
    model = Model().double()
    compiled = compile_forces(model, backend=backend)
    for given in (inputs(), inputs(seed=1), inputs(4, 9)):
        expected, found = eager(model, given), compiled(**given)
        assert set(found) == {"energy", "forces", "atoms"}
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-12)
        pairs = zip(loss_gradients(found, model), loss_gradients(expected, model), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    assert len(compiled._graphs) == 2


def test_changes_of_parameters_are_seen():
    torch.manual_seed(0)
    compiled = compile_forces(Model().double(), backend="eager")
    before = compiled(**inputs())["energy"]
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    out = compiled(**inputs())
    (out["energy"] ** 2 + (out["forces"] ** 2).sum()).backward()
    optimizer.step()
    assert not torch.equal(compiled(**inputs())["energy"], before)
    torch.testing.assert_close(compiled(**inputs())["energy"], eager(compiled.model, inputs())["energy"])
    scaled = compiled(**inputs(), scale=2.0)["energy"]
    torch.testing.assert_close(scaled, 2 * compiled(**inputs())["energy"])
    assert list(copy.deepcopy(compiled).state_dict()) == list(compiled.state_dict())


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr("geomlib.kernels.compile_forces.shutil.which", lambda name: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        assert compile_forces(Model()).backend == "aot_eager"
    with pytest.raises(MissingDependency, match="inductor"):
        compile_forces(Model(), backend="inductor")


def test_wrong_arguments():
    compiled = compile_forces(Model().double(), backend="eager", positions="xyz")
    with pytest.raises(InvalidInput, match="'xyz'"):
        compiled(**inputs())
    compiled = compile_forces(Model().double(), backend="eager", energy="total")
    with pytest.raises(InvalidInput, match="'total'"):
        compiled(**inputs())
