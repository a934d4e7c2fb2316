"""Equivariance to round-off by `verify`, for every group, orders and n; and what is not equivariant is caught."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geomlib.algebra.diagrams import dim_hom, tensor_group
from geomlib.algebra.diagrams.orbit_groups import AutGraph, Product, Wreath
from geomlib.layers import (
    EquivariantLinear,
    EquivariantTensorLayer,
    GatedTensor,
    NormTensor,
    PointwiseTensor,
    TensorProductLayer,
)
from geomlib.verify import check
from tests.layers.diagrams.common import randomised

SQUARE = AutGraph([(0, 1), (1, 2), (2, 3), (3, 0)], 4)
PRODUCTS = [Product(tensor_group("S_3"), tensor_group(text)) for text in ("S_2", "O(2)")]
THIN = [
    ("S_n", 2, 2), ("S_3", 3, 1), ("A_3", 2, 1), ("A_4", 1, 2), ("B(3)", 2, 2), ("O(3)", 3, 1), ("O(2)", 2, 2),
    ("SO(2)", 1, 1), ("SO(3)", 2, 1), ("SO(4)", 2, 2), ("Sp(2)", 2, 2), ("Sp(4)", 1, 3), ("Sp(4,block)", 2, 0),
    ("O(1,3)", 2, 2), ("O(2,1)", 1, 1), ("S_n", 0, 2), ("S_n", 2, 0), (SQUARE, 1, 1), (SQUARE, 2, 1), (PRODUCTS[0], 1, 1),
    (PRODUCTS[1], 2, 0),
]  # fmt: skip


def exact(layer: nn.Module, trials: int = 8, stress: bool = False) -> None:
    report = check(layer, trials=trials, stress=stress).raise_if_failed()
    assert report.verdict == "EXACT"
    assert report.e64 < 1e-12


@pytest.mark.parametrize(("group", "k", "l"), THIN, ids=str)
def test_linear_layers(group, k: int, l: int) -> None:
    exact(randomised(EquivariantLinear(group, k, l, 2, 2)))


@pytest.mark.parametrize(("basis", "text"), [("orbit", "A_3"), ("orthonormal", "SO(2)")])
def test_other_bases(basis: str, text: str) -> None:
    exact(randomised(EquivariantLinear(text, 1, 2 if text == "A_3" else 1, 1, 2, basis=basis)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EquivariantTensorLayer("S_n", {0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 1}),
        lambda: EquivariantTensorLayer("SO(3)", {0: 1, 1: 1, 2: 1}, {0: 1, 1: 1}),
        lambda: TensorProductLayer("S_n", 1, 1, 2, 1, 1),
        lambda: TensorProductLayer("SO(3)", 1, 1, 1, 1, 1),
        lambda: TensorProductLayer("Sp(4)", 2, 1, 1, 1, 1),
        lambda: GatedTensor("Sp(4)", {0: 1, 1: 2}),
        lambda: NormTensor("Sp(4)", 1, pairs=True),
        lambda: NormTensor("O(1,3)", 2),
        lambda: PointwiseTensor("B(3)", torch.tanh),
        lambda: PointwiseTensor(SQUARE, torch.relu),
    ],
)
def test_other_layers(make) -> None:
    exact(randomised(make()), trials=4)


@pytest.mark.parametrize(
    ("layer", "wider"),
    [
        (lambda: EquivariantLinear("A_3", 1, 1, 1, 1), "S_n"),  # a jellyfish sees odd permutations
        (lambda: EquivariantLinear("SO(3)", 2, 1, 1, 1), "O(3)*S_n"),  # an epsilon sees reflections
        (lambda: EquivariantLinear("Sp(4)", 2, 0, 1, 1), "O(4)*S_n"),
        (lambda: EquivariantLinear("O(1,3)", 2, 0, 1, 1), "O(4)*S_n"),
        (lambda: EquivariantLinear("O(3)", 2, 0, 1, 1), "SL(3)*S_n"),
        (lambda: EquivariantLinear("Sp(4)", 2, 0, 1, 1), "Sp(4,block)*S_n"),
        (lambda: EquivariantLinear(SQUARE, 1, 1, 1, 1), "S_n"),
    ],
)
def test_what_is_outside_of_the_group_is_seen(layer, wider: str) -> None:
    assert check(randomised(layer()), group=wider, trials=4, stress=False).verdict == "BROKEN"


def test_local_symmetries_have_few_maps() -> None:
    parts = Product(tensor_group("S_4"), tensor_group("S_3"))
    assert EquivariantLinear(parts, 1, 1, 1, 1).num_maps == 4
    nested = EquivariantLinear(Wreath(3, 4), 1, 1, 1, 2)
    assert nested.num_maps == 3 and nested(torch.randn(2, 1, 12)).shape == (2, 2, 12)


EVERY = ["S_2", "S_4", "S_n", "A_3", "A_5", "B(2)", "B(3)", "O(2)", "O(3)", "SO(2)", "SO(3)"]
EVERY += ["SO(4)", "Sp(2)", "Sp(4)", "O(1,2)"]


@pytest.mark.slow
@pytest.mark.parametrize("group", [*map(tensor_group, EVERY), SQUARE, *PRODUCTS], ids=str)
def test_every_pair_of_orders(group) -> None:
    """All k + l <= 6 that have maps, with shifts; of graphs and products k + l <= 4."""
    for m in range(5 if group.kind in ("orbits", "product") else 7):
        for l in range(m + 1):
            if (m == 0 and group.pointwise) or not dim_hom(group.sized(group.n or 4), m - l, l):
                continue
            exact(randomised(EquivariantLinear(group, m - l, l, 1, 1)), trials=4)
