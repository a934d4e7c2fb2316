"""Finding everything, and breaking it on purpose."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import geomlib.layers
from geomlib import InvalidInput
from geomlib.algebra.symmetry import Symmetry
from geomlib.verify import check, mutant, subjects
from geomlib.verify.mutants import SIZE, Mutant


def test_walking_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    names = [s.name for s in subjects()]
    assert torch.equal(torch.get_rng_state(), before) and names == sorted(names)
    next(subjects()).build()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_public_module_without_declaration_is_refused(monkeypatch) -> None:
    class Naked(nn.Module):
        pass

    monkeypatch.setattr(geomlib.layers, "Naked", Naked, raising=False)
    monkeypatch.setattr(geomlib.layers, "__all__", [*geomlib.layers.__all__, "Naked"])
    with pytest.raises(InvalidInput, match=r"layers\.Naked: a public module needs"):
        list(subjects())


def test_building_is_seeded() -> None:
    subject = next(s for s in subjects() if s.name == "layers.TensorEmbedding")
    (a, x, _), (b, y, _) = subject.build(4), subject.build(4)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert torch.equal(x["edge_vec"], y["edge_vec"])


class Identity(nn.Module):
    def __init__(self, type_: str, group: str = "O(3)*S_n", input_type: str | None = None):
        super().__init__()
        self.type, self.group, self.input_type = type_, group, input_type or type_

    @property
    def symmetry(self) -> Symmetry:
        return Symmetry(self.group, {"x": self.input_type}, self.type)

    def forward(self, x):
        return x


SHAPES = {"node:vector": (5, 3), "node:2x0e+1o": (5, 5), "node:cartesian": (5, 9, 4), "node:sym2": (5, 3, 3)}


@pytest.mark.parametrize("type_", [*SHAPES, "node:scalar"])
def test_the_fault_follows_the_type(type_: str) -> None:
    x = torch.randn(SHAPES.get(type_, (5,)))
    broken = mutant(Identity(type_), {"x": x})
    assert broken.fault == ("order" if type_ == "node:scalar" else "output")
    change = ((broken(x) - x).abs() / x.abs()).amax()
    assert float(change) == pytest.approx(SIZE, rel=1e-2)
    assert check(broken, example={"x": x}, trials=4).verdict == "BROKEN"
    assert check(Identity(type_), example={"x": x}, trials=4).verdict == "EXACT"


def test_invariant_outputs_get_a_fault_at_the_input() -> None:
    class Norm(Identity):
        def forward(self, x):
            return x.norm(dim=-1)

    layer = Norm("node:scalar", input_type="node:vector")
    broken = mutant(layer, {"x": torch.randn(4, 3)})
    assert broken.fault == "input"
    assert check(broken, example={"x": torch.randn(4, 3)}, trials=4).verdict == "BROKEN"


def test_permutations_alone() -> None:
    layer = Identity("node:vector", group="S_n")
    assert mutant(layer, {"x": torch.randn(4, 3)}).fault == "order"


def test_tuples_and_dicts() -> None:
    class Many(nn.Module):
        symmetry = Symmetry("O(3)", {"x": "vector"}, {"a": "vector", "b": "scalar"})

        def forward(self, x):
            return {"a": x, "b": x.norm(dim=-1)}

    class Two(Many):
        symmetry = Symmetry("O(3)", {"x": "vector"}, ("vector", "scalar"))

        def forward(self, x):
            return x, x.norm(dim=-1)

    x = torch.randn(4, 3)
    assert Mutant(Many(), "output")(x=x)["b"].equal(x.norm(dim=-1))
    assert not Mutant(Many(), "output")(x=x)["a"].equal(x)
    assert not Mutant(Two(), "output")(x)[0].equal(x)
    assert check(Mutant(Two(), "output"), example={"x": x}, trials=4).verdict == "BROKEN"


def test_an_instance_of_other_irreps_than_the_example_is_verified_with_inputs_of_its_own():
    from geomlib import verify
    from geomlib.layers import ChannelwiseTensorProduct, FullTensorProduct

    for layer in (ChannelwiseTensorProduct("3x0e+5x1o", "0e+1o", "0e+1o"), FullTensorProduct("1o", "2e+1o")):
        report = verify.check(layer, trials=4)
        assert report.verdict == "EXACT", report
