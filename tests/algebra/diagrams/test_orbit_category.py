"""Composition of orbits and of products of maps against matrices; fusion of layers."""

from __future__ import annotations

import itertools

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.diagrams.groups import SO, A, O, S
from geomlib.algebra.diagrams.orbit_category import compose_maps
from geomlib.algebra.diagrams.orbit_groups import AutGraph, PermGroup, Product, Wreath
from geomlib.layers import EquivariantLinear

STAR, CYCLE = AutGraph([(0, 1), (0, 2), (0, 3)], 4), PermGroup([(1, 2, 0)])
CASES = [
    (STAR, 1, 1, 1), (STAR, 0, 1, 2), (CYCLE, 1, 2, 1), (CYCLE, 2, 0, 1), (Wreath(2, 2), 1, 1, 1), (STAR, 0, 0, 0),
    (Product(S(3), S(2)), 1, 1, 1), (Product(O(2), CYCLE), 1, 1, 1), (Product(SO(2), S(2)), 1, 1, 1),
    (Product(A(3), S(2)), 1, 1, 1), (Product(Product(S(2), S(2)), O(2)), 1, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("group", "k", "m", "l"), CASES, ids=str)
def test_products_of_matrices(group, k: int, m: int, l: int) -> None:
    for second, first in itertools.product(group.maps(m, l), group.maps(k, m)):
        wanted = second.matrix(group) @ first.matrix(group)
        total = torch.zeros_like(wanted)
        for d, count in compose_maps(second, first, group).items():
            assert count and (d.k, d.l) == (k, l)
            total = total + count * d.matrix(group)
        assert torch.equal(total, wanted), (second, first)


def test_orders_must_fit() -> None:
    with pytest.raises(InvalidInput, match="takes order 2"):
        compose_maps(STAR.maps(2, 1)[0], STAR.maps(1, 1)[0], STAR)


@pytest.mark.parametrize("group", [STAR, CYCLE, Product(S(2), S(3)), Product(CYCLE, SO(2))], ids=str)
@pytest.mark.parametrize(("k", "m", "l"), [(1, 1, 1), (0, 2, 1)])
def test_two_layers_as_one(group, k: int, m: int, l: int) -> None:
    torch.manual_seed(0)
    if group.kind == "product" and not group.pointwise and k == 0:
        m, l = 2, 2  # odd orders have no maps
    layers = [EquivariantLinear(group, k, m, 2, 3).double(), EquivariantLinear(group, m, l, 3, 2).double()]
    for layer in layers:
        if layer.bias is not None:
            torch.nn.init.normal_(layer.bias)
    x = torch.randn(4, 2, *[group.n] * k, dtype=torch.float64)
    one = layers[0].fuse(layers[1])
    torch.testing.assert_close(one(x), layers[1](layers[0](x)), rtol=1e-11, atol=1e-11)
