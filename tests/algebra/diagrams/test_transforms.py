"""Gram matrices, orbit, orthonormal and symmetric combinations against dense matrices; partitions; drawings."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.functions.combinatorial.numbers import bell as sympy_bell
from sympy.functions.combinatorial.numbers import stirling as sympy_stirling

from geomlib.algebra.diagrams import (
    SO,
    A,
    B,
    Diagram,
    O,
    S,
    Sp,
    condition_number,
    diagrams,
    dim_hom,
    exact_rank,
    gram,
    matchings,
    orbit_diagrams,
    orbit_transform,
    orthonormal_transform,
    partitions,
    symmetric_transform,
)  # fmt: skip
from geomlib.errors import InvalidInput
from tests.algebra.diagrams.common import GROUPS, load, matrices, named

ORDERS = [(k, l) for k, l in itertools.product(range(4), repeat=2) if k + l <= 5]


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_gram_matrices_and_orthonormal_maps(G):
    for (k, l), which in itertools.product(ORDERS, ("basis", "spanning")):
        found = diagrams(G, k, l, which)
        if not found or G.n ** (k + l) > 1024:
            continue
        dense = matrices(found, G, k, l)
        assert torch.equal(gram(G, k, l, which), dense @ dense.T)
        assert exact_rank(G, k, l, which) == dim_hom(G, k, l)
        t = orthonormal_transform(G, k, l, which)
        q = t @ dense
        assert q.shape[0] == dim_hom(G, k, l)
        assert (q @ q.T - torch.eye(len(q), dtype=torch.float64)).abs().max() < 1e-10
        assert torch.allclose(dense @ q.T @ q, dense, atol=1e-9)  # the span is the same
        assert which == "spanning" or torch.equal(t, t.tril())


def test_condition_numbers_of_the_specification():
    cases = [(S(n), k, k) for k in (2, 3) for n in (5, 10, 50)] + [(O(3), 3, 3), (O(10), 3, 3), (O(3), 4, 4)]
    found = [condition_number(*case) for case in cases]
    expected = [107, 19, 3.5, 2.9e4, 794, 15, 17.5, 2.3, 2.0e3]
    assert np.allclose(found, expected, rtol=0.03)


def test_gram_misuse():
    with pytest.raises(InvalidInput, match="no size"):
        gram(S(), 1, 1, "spanning")
    with pytest.raises(InvalidInput, match="limit is 7,000"):
        gram(S(20), 4, 5)
    with pytest.raises(InvalidInput, match="named forms"):
        gram(Sp(2, torch.tensor([[0.0, 2], [-2, 0]])), 1, 1)
    for act in (gram, orthonormal_transform, symmetric_transform):
        with pytest.raises(InvalidInput, match="no diagrams"):
            act("Aut(3; 0-1)", 1, 1)
    G = gram(S(3), 1, 1)
    G.zero_()
    assert gram(S(3), 1, 1).any()  # what is kept is not handed out


def test_moebius_of_the_table():
    stored = load("moebius.npz")
    for m in (2, 3):
        M, Z = orbit_transform(S(), m, 0, "spanning")
        place = {d.rgs: i for i, d in enumerate(diagrams(S(), m, 0, "spanning"))}
        order = [place[tuple(rgs)] for rgs in stored[f"m{m}/partitions"].tolist()]
        assert np.array_equal(M[order][:, order].numpy(), stored[f"m{m}/moebius"])
        assert np.array_equal(Z[order][:, order].numpy(), stored[f"m{m}/zeta"])


@pytest.mark.parametrize("G", [S(1), S(3), S(4), A(2), A(3), A(4), B(2), B(3)], ids=named)
def test_orbits_and_diagrams(G):
    for k, l in ORDERS:
        found = diagrams(G, k, l)
        if not found or G.n ** (k + l) > 1024:
            continue
        dense, orbits = matrices(found, G, k, l), matrices(orbit_diagrams(G, k, l), G, k, l)
        M, Z = orbit_transform(G, k, l)
        assert torch.equal(M @ dense, orbits) and torch.equal(Z @ orbits, dense)
        assert torch.equal(M @ Z, torch.eye(len(M), dtype=torch.float64))
        # Orbits: zeros and ones, disjoint, none empty; together they are everything but for B(n).
        assert bool(((orbits == 0) | (orbits == 1)).all()) and bool(orbits.any(1).all())
        assert orbits.sum(0).max() == 1 and (G.kind == "B" or orbits.sum(0).min() == 1)
    with pytest.raises(InvalidInput, match="orbit diagrams belong to"):
        orbit_transform(O(3), 1, 1)


SYMMETRIC = [
    (S(), 2, 1, 4), (S(), 2, 2, 9), (S(), 3, 2, 16), (S(), 3, 3, 31), (S(), 4, 4, 109),
    (O(4), 2, 2, 2), (O(4), 3, 1, 1), (O(4), 3, 3, 2), (O(4), 4, 2, 2), (O(4), 4, 4, 3),
]  # fmt: skip


@pytest.mark.parametrize(("G", "k", "l", "count"), SYMMETRIC)
def test_counts_of_symmetric_maps(G, k, l, count):
    assert len(symmetric_transform(G, k, l, which="spanning")) == count


def symmetriser(n: int, k: int) -> torch.Tensor:
    made, at = torch.zeros(n**k, n**k, dtype=torch.float64), torch.arange(n**k).reshape([n] * k)
    for order in itertools.permutations(range(k)):
        made[torch.arange(n**k), at.permute(order).flatten()] += 1 / math.factorial(k)
    return made


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_symmetric_maps_are_all_of_them(G):
    for (k, l), inputs, outputs in itertools.product(ORDERS, (False, True), (False, True)):
        if G.n ** (k + l) > 300 or k + l < 2:
            continue
        right = symmetriser(G.n, k) if inputs else torch.eye(G.n**k, dtype=torch.float64)
        left = symmetriser(G.n, l) if outputs else torch.eye(G.n**l, dtype=torch.float64)
        found = diagrams(G, k, l, "spanning")
        dense = matrices(found, G, k, l).reshape(-1, G.n**l, G.n**k)
        projected = (left @ dense @ right).flatten(1)
        rank = int(torch.linalg.matrix_rank(projected)) if len(found) else 0
        p = symmetric_transform(G, k, l, inputs, outputs, "spanning")
        assert len(p) == rank
        if rank:
            sums = torch.einsum("id,dab->iab", p, dense)
            assert torch.allclose(left @ sums @ right, sums, atol=1e-9)
            assert int(torch.linalg.matrix_rank(sums.flatten(1))) == rank


def test_a_basis_that_is_not_closed_is_refused():
    assert len(symmetric_transform(S(3), 2, 2)) == len(symmetric_transform(S(3), 2, 2, which="spanning"))
    with pytest.raises(InvalidInput, match="which='spanning'"):
        symmetric_transform(SO(2), 2, 2)


def test_counts_of_partitions():
    for m in range(12):
        assert partitions.bell(m) == int(sympy_bell(m))
        for t in range(m + 2):
            assert partitions.stirling(m, t) == int(sympy_stirling(m, t))
        for c in range(min(m, 5) + 1):
            if m <= 6:
                assert partitions.marked_count(m, c) == len(partitions.marked_partitions(m, c))
    # Cutting at the waist: Bell(k + l) = sum over c of c! M(k, c) M(l, c).
    for k, l in ((3, 3), (5, 4), (6, 7)):
        cut = sum(
            math.factorial(c) * partitions.marked_count(k, c) * partitions.marked_count(l, c)
            for c in range(k + 1)
        )
        assert cut == partitions.bell(k + l)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 7).flatmap(lambda m: st.tuples(*[st.lists(st.integers(0, m), min_size=m, max_size=m)] * 3))
)
def test_joins(three):
    a, b, c = (partitions.rgs_of(x) for x in three)
    up = partitions.join(a, b)
    assert up == partitions.join(b, a) and partitions.refines(a, up) and partitions.refines(b, up)
    assert partitions.refines(up, partitions.join(up, c))
    if partitions.refines(a, c) and partitions.refines(b, c):
        assert partitions.refines(up, c)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(a)))
    for p in (a, b):
        graph.add_edges_from((block[0], leg) for block in partitions.blocks_of(p) for leg in block)
    assert {frozenset(x) for x in networkx.connected_components(graph)} == set(
        map(frozenset, partitions.blocks_of(up))
    )


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(8)))
def test_chains_of_arcs(order):
    pairs = [tuple(sorted(order[i : i + 2])) for i in range(0, 8, 2)]
    best = 0
    for size in range(1, 5):
        for some in itertools.combinations(pairs, size):
            if all(a < c < b < d or c < a < d < b for (a, b), (c, d) in itertools.combinations(some, 2)):
                best = size
    assert matchings.crossing_chain(pairs, 8) == best
    whole = max(
        size
        for size in range(9)
        for some in itertools.combinations(order, size)
        if list(some) == sorted(some)
    )
    assert matchings.longest_increasing(order) == whole


DRAWN = [
    Diagram([(0, 3, 4), (1, 2), (5,)], 3, 3), Diagram([(0, 1), (2, 5), (3, 4)], 3, 3, "symplectic"),
    Diagram([(0, 3)], 3, 2, "grood", [1, 2, 4]), Diagram([(0, 2), (1,)], 1, 2, "jellyfish"),
    Diagram([(0, 1)], 1, 1, "orbit-"), Diagram([], 0, 0), Diagram([(0, 1, 2, 3)], 4, 0),
    Diagram([(i,) for i in range(12)], 0, 12),
]  # fmt: skip


@pytest.mark.parametrize("d", DRAWN, ids=repr)
def test_drawings(d):
    """The lines of a drawing join exactly the legs of each block; outputs are above inputs; everything is in view."""
    root = ET.fromstring(d._repr_svg_())
    space = "{http://www.w3.org/2000/svg}"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    legs = {int(x.attrib["data-leg"]): x.attrib for x in root.iter(f"{space}circle")}
    assert sorted(legs) == list(range(d.legs))
    heights = {leg < d.l: float(x["cy"]) for leg, x in legs.items()}
    assert len(heights) < 2 or heights[True] < heights[False]
    assert all(0 < float(x["cx"]) < width and 0 < float(x["cy"]) < height for x in legs.values())
    graph = networkx.Graph()
    graph.add_nodes_from(leg for block in d.blocks for leg in block)
    lines = [x for x in root.iter(f"{space}path") if x.attrib["class"] == "block"]
    for line in lines:
        a, b = map(int, line.attrib["data-legs"].split())
        graph.add_edge(a, b)
        assert line.attrib["d"].startswith(f"M{legs[a]['cx']} {legs[a]['cy']}")
        assert line.attrib["d"].endswith(f"{legs[b]['cx']} {legs[b]['cy']}")
    assert {frozenset(x) for x in networkx.connected_components(graph)} == {frozenset(b) for b in d.blocks}
    assert len(lines) == sum(len(b) - 1 for b in d.blocks)  # trees
    hanging = {int(x.attrib["data-leg"]) for x in root.iter(f"{space}path") if x.attrib["class"] == "free"}
    headed = d.kind in ("jellyfish", "orbit+", "orbit-")
    assert hanging == ({b[0] for b in d.blocks} if headed else set(d.free))
    words = [x.text for x in root.iter(f"{space}text")]
    assert words[-d.legs :] == [str(i) for i in range(d.legs)] if d.legs else not words
    title = root.find(f"{space}title")
    assert title is not None and title.text == repr(d)
