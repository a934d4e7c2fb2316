"""Bilabelled graphs: counts by brute force and fixtures, the category, enumeration, spans against orbits."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geomlib import InvalidInput
from geomlib.algebra.diagrams.bilabelled import BilabelledGraph, apply_homomorphisms, homomorphism_matrix
from geomlib.algebra.diagrams.bilabelled_span import bilabelled_graphs, independent_graphs, span_dimension
from geomlib.algebra.diagrams.orbit_groups import AutGraph
from geomlib.algebra.diagrams.partitions import bell

DATA = Path(__file__).parents[2] / "data" / "diagrams"
ORBITS = np.load(DATA / "aut_orbits.npz")
COUNTS = np.load(DATA / "bilabelled.npz")
RECORDS = json.loads((DATA / "bilabelled.json").read_text())


def adjacency(name: str) -> Tensor:
    return torch.from_numpy(ORBITS[f"{name}/adj"]).double()


@st.composite
def bilabelled(draw: st.DrawFn, k: int | None = None, l: int | None = None) -> BilabelledGraph:
    v = draw(st.integers(1, 3))
    vertex = st.integers(0, v - 1)
    edges = draw(st.lists(st.tuples(vertex, vertex), max_size=4))  # loops, both directions, edges that repeat
    legs = [draw(st.lists(vertex, min_size=m or 0, max_size=2 if m is None else m)) for m in (l, k)]
    return BilabelledGraph(v, edges, *legs)


def by_definition(graph: BilabelledGraph, a: Tensor) -> Tensor:
    n = len(a)
    found = torch.zeros([n] * (graph.l + graph.k), dtype=a.dtype)
    for phi in itertools.product(range(n), repeat=graph.vertices):
        value = torch.ones((), dtype=a.dtype)
        for i, j in graph.edges:
            value = value * a[phi[i], phi[j]]
        found[tuple(phi[v] for v in (*graph.outputs, *graph.inputs))] += value
    return found.reshape(n**graph.l, n**graph.k)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("record", RECORDS, ids=[r["key"] for r in RECORDS])
def test_fixture(record: dict) -> None:
    graph = BilabelledGraph(record["n_vertices"], record["edges"], record["out_labels"], record["in_labels"])
    a = torch.tensor(record["adj"])
    for dtype in (torch.float64, torch.float32):
        np.testing.assert_array_equal(graph.matrix(a.to(dtype)).numpy(), COUNTS[record["key"]])


@given(bilabelled(), st.integers(1, 3), st.integers(0, 99))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_counts_and_images_by_definition(graph: BilabelledGraph, n: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(2, n, n, generator=g, dtype=torch.float64)  # any matrix, not symmetric
    want = by_definition(graph, a[0])
    close(homomorphism_matrix(graph, a[0]), want)
    x = torch.randn(2, 3, *[n] * graph.k, generator=g, dtype=torch.float64)
    image = (x.reshape(2, 3, -1) @ want.T).reshape(2, 3, *[n] * graph.l)
    close(apply_homomorphisms(graph, a[0], x), image)
    each = apply_homomorphisms(graph, a, x)
    close(each[0], image[0])
    close(each[1], apply_homomorphisms(graph, a[1], x[1:])[0])


def test_counts_on_a_larger_graph() -> None:
    """Paths and triangles of fifty nodes, whose numbers powers of the matrix give."""
    g = torch.Generator().manual_seed(0)
    a = (torch.rand(50, 50, generator=g) < 0.2).double().triu(1)
    a = a + a.T
    path = BilabelledGraph(9, [(i, i + 1) for i in range(8)], [0], [8])
    assert torch.equal(path.matrix(a), torch.linalg.matrix_power(a, 8))
    triangle = BilabelledGraph(3, [(0, 1), (1, 2), (0, 2)])
    assert float(triangle.matrix(a)) == float((a @ a @ a).trace())
    nothing = BilabelledGraph(0, [])
    assert nothing.matrix(a).tolist() == [[1.0]] and BilabelledGraph(2, []).matrix(a).tolist() == [[2500.0]]


def test_counts_are_differentiable() -> None:
    g = torch.Generator().manual_seed(0)
    graph = BilabelledGraph(3, [(0, 1), (1, 2), (0, 2), (0, 0)], [0, 0], [1])
    a, x = (
        torch.randn(*s, generator=g, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 3), (2, 1, 3))
    )
    assert torch.autograd.gradcheck(lambda a, x: apply_homomorphisms(graph, a, x), (a, x))
    assert torch.autograd.gradgradcheck(lambda a, x: apply_homomorphisms(graph, a, x), (a, x))


@given(st.data(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_category(data: st.DataObject, k: int, m: int, l: int, j: int) -> None:
    one, two, three = (data.draw(bilabelled(a, b)) for a, b in ((k, m), (m, l), (l, j)))
    other = data.draw(bilabelled(1, 1))
    a = torch.randn(2, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    close(
        two.compose(one).matrix(a), two.matrix(a) @ one.matrix(a)
    )  # loops are vertices: no factor is left over
    close(two.tensor(one).matrix(a), torch.kron(two.matrix(a), one.matrix(a)))
    close(two.T.matrix(a), two.matrix(a).T)
    assert two.compose(one).T.k == two.l and one.T.T == one
    close(three.compose(two.compose(one)).matrix(a), three.compose(two).compose(one).matrix(a))
    left, right = other.tensor(two).compose(other.tensor(one)), other.compose(other).tensor(two.compose(one))
    close(left.matrix(a), right.matrix(a))


@pytest.mark.parametrize(("k", "l", "v"), [(1, 1, 1), (1, 1, 3), (2, 1, 3), (0, 1, 4), (0, 0, 3), (2, 2, 3)])
def test_enumeration_by_brute_force(k: int, l: int, v: int) -> None:
    """Every labelled graph in which labels reach everything is isomorphic to exactly one of the list."""

    def name(size: int, edges: frozenset, labels: tuple) -> tuple:
        orders = itertools.permutations(range(size))
        moved = (
            (sorted(tuple(sorted((p[a], p[b]))) for a, b in edges), tuple(p[i] for i in labels))
            for p in orders
        )
        return size, *min(moved)

    def reached(size: int, edges: frozenset, labels: tuple) -> bool:
        seen = set(labels)
        for _ in range(size):
            seen |= {v for pair in edges if seen & set(pair) for v in pair}
        return len(seen) == size

    wanted = set()
    for size in range(v + 1):
        pairs = list(itertools.combinations(range(size), 2))
        for labels in itertools.product(range(size), repeat=k + l):
            for bits in itertools.product((0, 1), repeat=len(pairs)):
                edges = frozenset(p for p, b in zip(pairs, bits, strict=True) if b)
                if reached(size, edges, labels):
                    wanted.add(str(name(size, edges, labels)))
    found = [
        str(name(h.vertices, frozenset(h.edges), (*h.outputs, *h.inputs))) for h in bilabelled_graphs(k, l, v)
    ]
    assert len(found) == len(set(found)) and set(found) == wanted


SPANS = [
    ("P4", 2, 3, 8), ("K23", 2, 3, 6), ("star3", 2, 3, 5), ("C5", 3, 3, 13), ("P4", 3, 3, 26), ("P4", 3, 4, 32),
    ("Petersen", 3, 3, 14), ("Petersen", 3, 4, 15), ("asym6", 2, 4, 31), ("asym6", 2, 5, 36), ("star3", 3, 3, 15),
]  # fmt: skip


@pytest.mark.parametrize(("name", "m", "vertices", "dimension"), SPANS)
def test_spans(name: str, m: int, vertices: int, dimension: int) -> None:
    a, graphs = adjacency(name), bilabelled_graphs(m - 1, 1, vertices)
    kept = independent_graphs(graphs, a)
    assert len(kept) == span_dimension(graphs, a) == dimension <= int(ORBITS[f"{name}/count_m{m}"])
    rows = torch.stack([h.matrix(a).flatten() for h in graphs])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1)
    assert int(torch.linalg.matrix_rank(rows)) == int(torch.linalg.matrix_rank(rows[kept])) == dimension


@pytest.mark.parametrize(("name", "spanned", "all_of_them"), [("P4", 5, 8), ("star3", 4, 5), ("K23", 4, 6)])
def test_powers_of_the_adjacency_matrix_are_not_enough(name: str, spanned: int, all_of_them: int) -> None:
    n = len(adjacency(name))
    paths = [BilabelledGraph(i + 1, [(j, j + 1) for j in range(i)], [0], [i]) for i in range(n)]
    everywhere = BilabelledGraph(2, [], [0], [1])  # the matrix of ones
    a = adjacency(name)
    assert torch.equal(paths[2].matrix(a), a @ a)
    assert span_dimension([*paths, everywhere], a) == spanned
    edges = [(int(i), int(j)) for i, j in a.triu().nonzero()]
    assert AutGraph(edges, n).dim_hom(1, 1) == all_of_them == span_dimension(bilabelled_graphs(1, 1, 3), a)


def test_graphs_without_edges_are_the_diagrams_of_permutations() -> None:
    graphs = [h for h in bilabelled_graphs(2, 2, 4) if not h.edges]
    assert len(graphs) == bell(4) == span_dimension(graphs, torch.zeros(5, 5))


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: BilabelledGraph(2, [(0, 2)]), "vertex 2"), (lambda: BilabelledGraph(1, [], [1]), r"vertices 0\.\.0"),
        (lambda: BilabelledGraph(1, [], [0]).compose(BilabelledGraph(1, [], [0])), "0 inputs after 1 outputs"),
        (lambda: BilabelledGraph(1, []).matrix(torch.ones(2, 3)), r"square matrix \(n, n\)"),
        (lambda: apply_homomorphisms(BilabelledGraph(1, [], [], [0]), torch.ones(2, 2), torch.ones(1, 1, 3)), "expected"),
        (lambda: bilabelled_graphs(2, 2, 7), "limit is 1,048,576"), (lambda: bilabelled_graphs(-1, 1, 2), "k=-1"),
        (lambda: independent_graphs(bilabelled_graphs(1, 1, 1), 0.5 * torch.ones(2, 2)), "not whole"),
        (lambda: independent_graphs([BilabelledGraph(2, [(0, 1)] * 9, [0], [1])], 1e3 * torch.ones(2, 2)), "exceed"),
    ],
)  # fmt: skip
def test_misuse(make, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        make()
