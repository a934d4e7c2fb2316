"""Aut(G) and permutation groups: brute force, sympy, networkx."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.groups import Automorphisms, Permutations, parity, parse_group
from geomlib.algebra.groups.chains import stabiliser_chain
from tests.algebra._groups import gen

GRAPHS = {
    "petersen": ([(i, (i + 1) % 5) for i in range(5)] + [(i, i + 5) for i in range(5)]
                 + [(5 + i, 5 + (i + 2) % 5) for i in range(5)], 10, 120),
    "cycle of 12": ([(i, (i + 1) % 12) for i in range(12)], 12, 24),
    "path of 30": ([(i, i + 1) for i in range(29)], 30, 2),
    "complete on 7": (list(itertools.combinations(range(7), 2)), 7, math.factorial(7)),
    "no edges on 6": ([], 6, math.factorial(6)),
    "cube": ([(i, i ^ b) for i in range(8) for b in (1, 2, 4) if i < i ^ b], 8, 48),
    "K_{3,3}": ([(i, j) for i in range(3) for j in range(3, 6)], 6, 72),
    "two triangles": ([(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)], 6, 72),
    "asymmetric tree": ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)], 7, 1),
    "rook 4 x 4": ([(a, b) for a, b in itertools.combinations(range(16), 2)
                    if a // 4 == b // 4 or a % 4 == b % 4], 16, 1152),
}  # fmt: skip


@pytest.mark.parametrize(("edges", "nodes", "order"), GRAPHS.values(), ids=list(GRAPHS))
def test_known_orders(edges: list, nodes: int, order: int) -> None:
    group = Automorphisms.from_edges(edges, nodes)
    assert group.order == order
    adjacency = np.zeros((nodes, nodes))
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    for component in group.components():
        for seed in range(3):
            p = group.sample(component, gen(seed)).nodes.numpy()
            moved = np.zeros_like(adjacency)
            moved[np.ix_(p, p)] = adjacency  # node k becomes node p[k]
            np.testing.assert_array_equal(moved, adjacency)


@given(st.integers(1, 6), st.integers(0, 10**6), st.booleans())
@settings(derandomize=True, max_examples=40, deadline=None)
def test_against_brute_force(n: int, seed: int, directed: bool) -> None:
    a = (torch.rand(n, n, generator=gen(seed)) < 0.5).long() * torch.randint(
        1, 3, (n, n), generator=gen(seed + 1)
    )
    a = a if directed else torch.triu(a) + torch.triu(a, 1).T
    wanted = {p for p in itertools.permutations(range(n)) if torch.equal(a[list(p)][:, list(p)], a)}
    assert set(Automorphisms.from_adjacency(a).chain) == wanted


@given(st.integers(2, 7), st.integers(0, 10**6), st.integers(1, 3))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_generated_groups_against_sympy(n: int, seed: int, count: int) -> None:
    combinatorics = pytest.importorskip("sympy.combinatorics")
    perms = [torch.randperm(n, generator=gen(seed + k)).tolist() for k in range(count)]
    theirs = combinatorics.PermutationGroup([combinatorics.Permutation(p) for p in perms])
    group = Automorphisms.from_generators(perms, n)
    assert group.order == theirs.order()
    if group.order <= 200:
        assert set(group.chain) == {tuple(g.array_form) for g in theirs.elements}
    for p in itertools.islice(itertools.permutations(range(n)), 0, None, 7):
        assert (p in group.chain) == theirs.contains(combinatorics.Permutation(list(p)))
    rebuilt = Automorphisms.from_generators([g.nodes.tolist() for g in group.discrete(gen())], n)
    assert rebuilt.order == group.order


def test_samples_are_uniform() -> None:
    """The square: eight elements, parities apart, 1600 draws; five standard deviations."""
    group, rng = parse_group("Aut(4; 0-1, 1-2, 2-3, 3-0)"), gen()
    for component in group.components():
        drawn = Counter(tuple(group.sample(component, rng).nodes.tolist()) for _ in range(800))
        members = [g for g in group.elements() if g.label == component]
        assert len(drawn) == len(members)
        mean = 800 / len(members)
        assert all(abs(n - mean) < 5 * mean**0.5 for n in drawn.values())


def test_spellings_agree() -> None:
    square = parse_group("Aut(4; 0-1, 1-2, 2-3, 3-0)")
    cycles = parse_group("Aut(4; (0 1 2 3), (0 2))")
    assert set(square.chain) == set(cycles.chain)
    assert set(Automorphisms.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)]).chain) == set(square.chain)
    one_way = parse_group("Aut(4; 0>1, 1>2, 2>3, 3>0)")
    assert one_way.order == 4 and one_way.components() == ("even", "odd")
    assert parse_group("Aut(3)").order == 6 and parse_group("Aut(5; (0 1 2))").components() == ("even",)
    assert parse_group("Aut(4; 0-1, 1-2)*O(3)").components()[0] == "even, proper"
    assert parse_group("Aut(0-1, 1-2)").size == 3
    for group in (square, cycles, one_way, Automorphisms.from_adjacency(torch.tensor([[0, 2], [2, 0]]))):
        assert set(parse_group(group.name).chain) == set(group.chain)
    weighted = Automorphisms.from_adjacency(torch.tensor([[0, 1, 2], [1, 0, 3], [2, 3, 0]]))
    assert weighted.order == 1 and set(parse_group(weighted.name).chain) == set(weighted.chain)


def test_edges_follow_an_edge_index() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
    group = Automorphisms.from_edges(edge_index)
    assert group.order == 8
    for g in group.elements():
        moved = torch.empty_like(edge_index)
        moved[:, g.edges] = g.nodes[edge_index]
        assert torch.equal(moved, edge_index)  # relabelled and reordered, it is the same list
    with pytest.raises(InvalidInput, match="lists an edge twice"):
        Automorphisms.from_edges(torch.tensor([[0, 0], [1, 1]]))


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"acts on 4 nodes, the inputs have 6"):
        parse_group("Aut(4; 0-1)").sized(6)
    with pytest.raises(InvalidInput, match="expected a square matrix"):
        Automorphisms.from_adjacency(torch.zeros(2, 3))
    with pytest.raises(InvalidInput, match=r"\[0, 0\] is not a permutation of 0\.\.1"):
        Automorphisms.from_generators([[0, 0]], 2)
    with pytest.raises(InvalidInput, match=r"an edge names node 4, the graph has nodes 0\.\.2"):
        Automorphisms.from_edges([(0, 4)], 3)


def test_alternating_group() -> None:
    group = Permutations(5, even=True)
    assert group.components() == ("even",)
    drawn = Counter(tuple(group.sample("even", gen(seed)).nodes.tolist()) for seed in range(600))
    assert len(drawn) == 60 and all(parity(p) == "even" for p in drawn)
    for n in (2, 3, 4, 5, 6, 7):
        generating = [tuple(g.nodes.tolist()) for g in Permutations(n, even=True).discrete(gen())]
        assert stabiliser_chain(generating, n).order == max(1, math.factorial(n) // 2)
        special = [g.nodes.tolist() for g in Permutations(n, even=True).special(gen())]
        assert all(parity(p) == "even" for p in special)


@given(st.integers(0, 8), st.integers(0, 10**6))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_parity_is_the_determinant(n: int, seed: int) -> None:
    p = torch.randperm(n, generator=gen(seed))
    sign = np.linalg.det(np.eye(n)[p.numpy()])
    assert parity(p.tolist()) == ("even" if sign > 0 else "odd")


def test_larger_graphs() -> None:
    ladder = (
        [(i, i + 1) for i in range(24)]
        + [(25 + i, 26 + i) for i in range(24)]
        + [(i, i + 25) for i in range(25)]
    )
    assert Automorphisms.from_edges(ladder, 50).order == 4
    ring = [(i, (i + 1) % 60) for i in range(60)]
    assert Automorphisms.from_edges(ring).order == 120
    assert Automorphisms.from_edges(itertools.combinations(range(40), 2)).order == math.factorial(40)
    assert parse_group("Aut(40)").sample("odd", gen()).nodes.sort().values.tolist() == list(range(40))
