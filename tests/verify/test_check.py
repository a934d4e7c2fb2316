"""The verifier itself: inputs of every kind, errors that help, no trace left behind."""

from __future__ import annotations

import json
import random
import warnings
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geomlib import InvalidInput
from geomlib.algebra.symmetry import Symmetry
from geomlib.verify import EquivarianceError, check
from geomlib.verify.statistic import tolerance


class Scale(nn.Module):
    """x -> w |x| x, with a declaration."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.weight * x.norm(dim=-1, keepdim=True) * x)

    @property
    def symmetry(self) -> Symmetry:
        return Symmetry("O(3)*S_n", {"x": "node:vector"}, "node:vector")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Scale, dict]:
        return cls(), {"x": torch.randn(5, 3, generator=generator)}


def test_a_declared_module_needs_no_arguments() -> None:
    report = check(Scale())
    assert report.ok and report.verdict == "EXACT"
    assert [f.name for f in report.fields] == ["out", "d/d x"]
    assert sum(report.components.values()) == 24 and len(report.components) == 4


def test_nothing_is_left_behind() -> None:
    class Rude(Scale):
        def forward(self, x: Tensor) -> Tensor:
            torch.set_default_dtype(torch.float64)
            torch.set_float32_matmul_precision("high")
            warnings.simplefilter("ignore")
            torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
            return super().forward(x)

    module = Rude().train()
    x = torch.randn(4, 3)
    kept, before = x.clone(), {k: v.clone() for k, v in module.state_dict().items()}

    def state():
        return (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
            list(warnings.filters),
        )

    first = state()
    assert check(module, example={"x": x}).verdict == "EXACT"
    assert state() == first
    assert module.training and module.dropout.training and module.weight.dtype == torch.float32
    assert torch.equal(x, kept) and all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.weight.grad is None


def test_state_is_restored_after_an_error() -> None:
    def fail(x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(fail, "O(3)", "vector", "vector")
    assert torch.get_default_dtype() == torch.float32


def test_same_seed_same_bytes() -> None:
    torch.manual_seed(1)
    first = check(Scale(), seed=7)
    torch.manual_seed(2)
    assert check(Scale(), seed=7).to_json() == first.to_json()
    assert check(Scale(), seed=8).to_json() != first.to_json()


def test_inputs_changed_in_place_are_reported() -> None:
    report = check(
        lambda x: x.mul_(1.0) * x.add_(0.0).mul_(2.0).norm(dim=-1, keepdim=True),
        "O(3)",
        "vector",
        "vector",
        gradients=False,
    )
    assert report.verdict == "BROKEN" and "modified in place" in report.failures[0]


Pair = namedtuple("Pair", ["a", "b"])


@dataclass(frozen=True)
class Bundle:
    v: Tensor
    n: int = 2


def test_containers() -> None:
    def f(x: dict, p: Pair, q: Bundle, flag: bool) -> dict:
        return {
            "sum": x["v"] + p.a * p.b + q.n * q.v,
            "list": [x["v"].norm(dim=-1)],
            "flag": torch.tensor(flag),
        }

    v = torch.randn(4, 4, 3)
    example = {
        "x": {"v": v[0]},
        "p": Pair(v[1], v[2].norm(dim=-1, keepdim=True)),
        "q": Bundle(v[3]),
        "flag": True,
    }
    types = {"x.v": "vector", "p.a": "vector", "p.b": "inv", "q.v": "vector"}
    report = check(f, "O(3)", types, {"sum": "vector", "list.0": "scalar"}, example=example)
    assert report.verdict == "EXACT"
    assert any("`flag` has no declared type" in w for w in report.warnings)
    wrong = {**types, "q.v": "pseudovector"}
    assert check(f, "O(3)", wrong, {"sum": "vector", "list.0": "scalar"}, example=example).verdict == "BROKEN"


def test_several_positional_arguments_and_a_tuple() -> None:
    def f(v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.cross(v, w), (v * w).sum(-1)

    assert check(f, "O(3)", {"0": "vector", "1": "vector"}, ("pseudovector", "scalar")).verdict == "EXACT"
    assert check(f, "O(3)", {"0": "vector", "1": "vector"}, ("vector", "scalar")).verdict == "BROKEN"
    assert check(f, "SO(3)", {"0": "vector", "1": "vector"}, ("vector", "scalar")).verdict == "EXACT"


def test_known_names_need_no_types() -> None:
    def energy(z: Tensor, pos: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        i, j = edge_index
        pair = (z[i] + z[j]).to(pos) * torch.exp(-(pos[j] - pos[i]).square().sum(-1))
        return pos.new_zeros(int(batch.max()) + 1).index_add(0, batch[i], pair)

    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    example = {
        "z": torch.arange(1, 6),
        "pos": torch.randn(5, 3),
        "edge_index": edges,
        "batch": torch.tensor([0, 0, 0, 1, 1]),
    }
    report = check(energy, "E(3)*S_n", {}, "graph:scalar", example=example)
    assert report.verdict == "EXACT" and not report.warnings, str(report)


def test_untyped_floats_are_named() -> None:
    def f(x: Tensor, edge_attr: Tensor) -> Tensor:
        return x + edge_attr

    example = {"x": torch.randn(4, 3), "edge_attr": torch.randn(4, 3)}
    report = check(f, "O(3)", {"x": "vector"}, "vector", example=example)
    assert report.verdict == "BROKEN"
    assert (
        "`edge_attr` of shape (4, 3) has no type" in report.warnings[0]
        and "usually a vector" in report.warnings[0]
    )


def test_claimed_breaks_must_be_seen() -> None:
    def chiral(x: Tensor) -> Tensor:
        return torch.linalg.det(x[:3])[None]

    seen = Symmetry("SO(3)", {"x": "vector"}, "graph:scalar", breaks=("reflections",))
    report = check(chiral, symmetry=seen, example={"x": torch.randn(3, 3)})
    assert report.ok and report.breaks["reflections"] > 1e6
    claimed = Symmetry("SO(3)", {"0": "vector"}, "scalar", breaks=("reflections",))
    blind = check(lambda x: x.norm(dim=-1), symmetry=claimed)
    assert not blind.ok and "breaks='reflections' is claimed" in blind.failures[0]


@pytest.mark.parametrize(
    ("breaks", "f"),
    [
        ("translations", lambda x: x.square().sum(-1)),
        ("permutations", lambda x: (x - x.mean(0)).square().sum(-1) * torch.arange(len(x))),
        ("rotations", lambda x: (x - x.mean(0))[:, 0]),
    ],
)
def test_every_break(breaks: str, f) -> None:
    group = {"translations": "O(3)*S_n", "permutations": "E(3)", "rotations": "T(3)*S_n"}[breaks]
    declared = Symmetry(group, {"pos": "point"}, "node:scalar", breaks=(breaks,))
    report = check(lambda pos: f(pos), symmetry=declared)
    assert report.ok, str(report)


def test_refused_inputs_are_reported_not_judged() -> None:
    def strict(x: Tensor) -> Tensor:
        if float(x.detach().abs().max()) > 200:
            raise InvalidInput("x: larger than 200.\nmore")
        return 2 * x

    report = check(strict, "O(3)", "vector", "vector")
    assert report.ok and any(
        w.startswith("amplitude 1000: refused by the target (x: larger") for w in report.warnings
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "declares no symmetry, so group, inputs, outputs must be given"),
        ({"group": "O(3)", "inputs": "vector"}, "so outputs must be given"),
        ({"group": "O(3)", "inputs": "vectro", "outputs": "vector"}, "Did you mean 'vector'"),
        ({"group": "O3", "inputs": "vector", "outputs": "vector"}, r"Did you mean 'O\(3\)'"),
        ({"group": "O(3)", "inputs": "vector", "outputs": "vector", "trials": 0}, "trials=0"),
        ({"group": "O(3)", "inputs": {"w": "inv"}, "outputs": "vector"}, "no values are known for `w`"),
        ({"group": "O(3)", "inputs": "vector", "outputs": "tensor(2)"}, "acts on axes of"),
        ({"group": "O(3)", "inputs": "vector", "outputs": {"forces": "vector"}}, "the target returned"),
        ({"symmetry": "O(3)"}, "expected geomlib.algebra.Symmetry"),
    ],
)
def test_wrong_usage(arguments: dict, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        check(lambda x: x, **arguments)


def test_more_wrong_usage() -> None:
    with pytest.raises(InvalidInput, match="is a class"):
        check(Scale)
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        check(Scale(), example={"x": torch.full((3, 3), float("nan"))})
    with pytest.raises(InvalidInput, match="returned str"):
        check(lambda x: "x", "O(3)", "vector", "vector")
    with pytest.raises(InvalidInput, match="types are given for"):
        check(
            Scale(), group="O(3)", inputs={"y": "vector"}, outputs="vector", example={"x": torch.randn(3, 3)}
        )


def test_report() -> None:
    good, bad = check(Scale()), check(torch.tanh, "O(3)", "vector", "vector")
    assert good.raise_if_failed() is good
    with pytest.raises(EquivarianceError, match=r"BROKEN  tanh : O\(3\)   seed 0   24 trials \(12 proper"):
        bad.raise_if_failed()
    table = json.loads(bad.to_json())
    assert table["schema_version"] == 1 and table["verdict"] == "BROKEN" and table["ok"] is False
    assert {"name", "type", "e64", "e32", "d32", "tau64", "verdict"} <= set(table["fields"][0])
    lines = str(bad).splitlines()
    assert lines[1].split() == ["field", "type", "err", "f64", "err", "f32", "round-off", "f32", "verdict"]
    assert "expected f64 round-off" in lines[2]


def test_the_tolerance_is_the_round_off() -> None:
    assert tolerance(0.0) == 16 * 2.0**-24 * 2.0**-29 == 16 * 2.0**-53
    assert tolerance(1e-6) == pytest.approx(16e-6 * 2.0**-29)
    assert tolerance(1.0) < 3.1e-8


def test_weights_are_rounded_not_the_buffers() -> None:
    """A table held exactly in float64 must not be degraded by the check."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
            self.register_buffer("q", q)

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.q.to(x)).norm(dim=-1)  # invariant only as far as q is orthogonal

    exact = Table()
    assert check(exact, "O(3)", "vector", "scalar").verdict == "EXACT"
    cast = Table().float().double()
    report = check(cast, "O(3)", "vector", "scalar")
    assert (
        report.verdict == "PRECISION LEAK"
        and "buffer q of shape (3, 3) was built in float32" in report.leaks[0]
    )


def test_half_of_a_batch_in_another_order_is_the_same_batch() -> None:
    def total(x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return x.new_zeros(num_graphs).index_add(0, batch, x.square().sum(-1))

    example = {"x": torch.randn(5, 3), "batch": torch.tensor([0, 1, 0, 2, 1]), "num_graphs": 3}
    report = check(total, "O(3)*S_n", {"x": "node:vector", "batch": "index"}, "graph:scalar", example=example)
    assert report.verdict == "EXACT" and not report.warnings, str(report)
