"""Classes, instances and functions; declarations of one's own; messages; use without pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.algebra import Symmetry
from geomlib.layers import VectorHead
from geomlib.testing import GroupSuite, KernelSuite, LayerSuite, ModelSuite, assert_equivariant
from geomlib.verify import EquivarianceError

HERE = Path(__file__).resolve().parent
GROUP = Symmetry("O(3)*S_n", {"v": "node:vector"}, "node:vector")


class Foreign(nn.Module):
    """Somebody else's layer: no declaration, no example."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return v * torch.tanh(self.weight.sum() * v.norm(dim=-1, keepdim=True))


def made(generator: torch.Generator) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return Foreign(3), {"v": torch.randn(5, 3, generator=generator)}


def suite(**attributes: object) -> LayerSuite:
    return type("Suite", (LayerSuite,), attributes)()


WAYS = {
    "a class of the library": {"layer": VectorHead},
    "a class": {"layer": Foreign, "symmetry": GROUP},
    "an instance": {"layer": Foreign(4), "symmetry": GROUP},
    "an instance with inputs": {"layer": Foreign(4), "symmetry": GROUP, "inputs": {"v": torch.randn(6, 3)}},
    "a function": {"layer": staticmethod(made), "symmetry": GROUP},
    "a class with drawn inputs": {
        "layer": Foreign,
        "symmetry": GROUP,
        "inputs": staticmethod(lambda generator: {"v": torch.randn(4, 3, generator=generator)}),
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_name_a_layer(way: str) -> None:
    tests = suite(**WAYS[way])
    for name in (
        "construct",
        "forward",
        "backward",
        "equivariance",
        "mutant_is_caught",
        "permutation",
        "save_and_load",
    ):
        getattr(tests, f"test_{name}")()
    assert tests.report().target in ("Foreign", "VectorHead")


def test_the_instance_is_left_alone() -> None:
    layer = Foreign(4).train()
    before = {n: p.clone() for n, p in layer.state_dict().items()}
    tests = suite(layer=layer, symmetry=GROUP)
    for name in ("float64", "save_and_load", "deepcopy", "equivariance"):
        getattr(tests, f"test_{name}")()
    assert layer.training and all(torch.equal(p, before[n]) for n, p in layer.state_dict().items())


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"layer": Foreign}, "Foreign declares no symmetry. Set `symmetry"),
        ({}, "layer = None: expected a class with `example`, a module, or a function"),
        ({"layer": 3}, "layer = 3: expected"),
    ],
)
def test_what_is_missing_is_named(attributes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        suite(**attributes).test_forward()


def test_a_misspelt_model_gets_the_nearest_name() -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'tensornet'"):
        type("Suite", (ModelSuite,), {"model": "tensornett"})().test_forward()


def test_incomplete_groups_and_kernels() -> None:
    with pytest.raises(InvalidInput, match="needs `kernel`, `reference` and `inputs`"):
        KernelSuite().test_values()
    with pytest.raises(InvalidInput, match="expected a name such as"):
        GroupSuite().test_components()
    with pytest.raises(InvalidInput, match="needs `example"):
        type("Suite", (GroupSuite,), {"group": "O(3)", "type": "vector"})().test_identity()


def test_assert_equivariant() -> None:
    assert assert_equivariant(Foreign(), "O(3)", "vector", "vector", trials=4).verdict == "EXACT"
    with pytest.raises(AssertionError, match=r"BROKEN  tanh : O\(3\)") as caught:
        assert_equivariant(torch.tanh, "O(3)", "vector", "vector", trials=4)
    assert isinstance(caught.value, EquivarianceError)


def test_without_pytest_and_without_assert_statements() -> None:
    """``python -O`` drops assertions: the suites use none; and they need no pytest."""
    code = """
import sys, unittest
import torch
from geomlib.testing import LayerSuite
from geomlib.algebra import Symmetry
class Tanh(torch.nn.Module):
    def forward(self, v):
        return v.tanh()
class Suite(LayerSuite):
    layer, symmetry = Tanh, Symmetry("O(3)", {"v": "vector"}, "vector")
for name in ("test_equivariance", "test_repr_shows_representations", "test_breaks"):
    try:
        getattr(Suite(), name)()
    except (AssertionError, unittest.SkipTest) as error:
        print(name, isinstance(error, unittest.SkipTest))
print("pytest" in sys.modules, __debug__)
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "test_equivariance False",
        "test_repr_shows_representations False",
        "test_breaks True",
        "False False",
    ], done.stderr


def test_a_test_can_be_switched_off(tmp_path: Path) -> None:
    text = """
from geomlib.testing import LayerSuite
from geomlib.layers import VectorHead
class TestHead(LayerSuite):
    layer = VectorHead
    test_compile = None
"""
    (tmp_path / "test_head.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "test_forward" in done.stdout and "test_compile" not in done.stdout
