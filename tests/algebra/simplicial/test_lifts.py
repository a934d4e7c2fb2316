"""Lifts: the reference's sets and counts, brute force, networkx, Qhull, invariances, ragged selections, misuse."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import combinations

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.simplicial import (
    clique_complex,
    from_simplices,
    hull_complex,
    skeleton_complex,
    to_message_graph,
    vietoris_rips,
)
from geomlib.errors import MissingDependency
from tests.algebra.clifford.common import load
from tests.algebra.simplicial import brute

FIXTURES = load("csmpn_lifts")


def reference(name):
    if name == "rips":
        return vietoris_rips(FIXTURES["rips.pos"], float(FIXTURES["rips.dis"]))
    if name == "hull":
        return hull_complex(FIXTURES["hull.pos"])
    return clique_complex(FIXTURES["clique.edge_index"], 6, pos=FIXTURES["clique.pos"])


@pytest.mark.parametrize(
    ("name", "unique", "legacy"), [("rips", 42, 50), ("hull", 56, 82), ("clique", 14, 14)]
)
def test_reference_lifts(name, unique, legacy):
    """Simplices and messages of the reference, with its repetitions when asked; counts of the points' own messages."""
    complex = reference(name)
    assert torch.equal(complex.edges.T, FIXTURES[f"{name}.x_1"])
    assert torch.equal(complex.triangles.T, FIXTURES[f"{name}.x_2"])
    first = {0: 0, 1: complex.num_points, 2: complex.num_points + complex.edges.shape[1]}
    wanted = []
    for a, b in [(0, 0), (0, 1), (1, 1), (1, 2)]:
        pairs = FIXTURES[f"{name}.adj_{a}_{b}"] + torch.tensor([[first[a]], [first[b]]])
        wanted += [pairs] if a == b else [pairs, pairs.flip(0)]
    counted = Counter(map(tuple, torch.cat(wanted, 1).T.tolist()))
    full = name != "clique"
    found = to_message_graph(complex, complete=full, legacy_duplicates=True)
    assert Counter(map(tuple, found.T.tolist())) == counted
    once = to_message_graph(complex, complete=full)
    assert Counter(map(tuple, once.T.tolist())) == Counter(counted.keys())
    for graph, count in ((found, legacy), (once, unique)):
        assert int((graph < complex.num_points).all(0).sum()) == count


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.floats(0.0, 3.0), st.integers(0, 10**6))
def test_rips_is_the_definition(points, dim, distance, seed):
    x = brute.random_cloud(seed, points, dim)
    found = vietoris_rips(x, distance)
    assert brute.sets(found) == brute.rips(x.numpy(), distance)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.floats(0, 1), st.integers(0, 10**6))
def test_cliques_are_those_of_networkx(points, density, seed):
    graph = networkx.gnp_random_graph(points, density, seed=seed)
    edge_index = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2).T
    both = torch.cat([edge_index, edge_index.flip(0), edge_index], 1)
    found = clique_complex(both, points)
    wanted = {tuple(sorted(c)) for c in networkx.enumerate_all_cliques(graph) if len(c) == 3}
    edges = {tuple(sorted(e)) for e in graph.edges}
    assert brute.sets(found) == (edges, wanted)
    assert wanted == brute.cliques(points, edges)


def test_limits_of_length_and_area():
    x = brute.random_cloud(3, 9, 3)
    pairs = torch.combinations(torch.arange(9)).T
    lengths = (x[pairs[0]] - x[pairs[1]]).norm(dim=-1)
    longest = float(lengths.median())
    found = clique_complex(pairs, 9, pos=x, max_length=longest)
    assert brute.sets(found) == brute.rips(x.numpy(), longest)
    triples = torch.combinations(torch.arange(9), 3).T
    u, v = x[triples[1]] - x[triples[0]], x[triples[2]] - x[triples[0]]
    areas = 0.5 * torch.linalg.cross(u, v).norm(dim=-1)
    largest = float(areas.median())
    found = clique_complex(pairs, 9, pos=x, max_area=largest)
    assert found.edges.shape[1] == 36
    assert brute.tuples(found.triangles) == brute.tuples(triples[:, areas <= largest]) != set()
    plane = clique_complex(pairs, 9, pos=torch.zeros(9, 4), max_area=0.0, max_length=0.0)
    assert plane.triangles.shape == (3, 84)


@pytest.mark.parametrize(("points", "dim"), [(3, 2), (5, 2), (4, 3), (9, 3), (7, 4), (6, 5), (8, 5)])
def test_hulls_by_orientations(points, dim):
    x = brute.random_cloud(points + dim, 12, points, dim)
    found = hull_complex(x)
    for cloud in range(12):
        assert brute.sets(found.select(torch.tensor([cloud]))) == brute.hull(x[cloud].numpy())


@pytest.mark.parametrize(("points", "dim"), [(40, 2), (30, 3), (14, 5)])
def test_hulls_of_many_points(points, dim):
    from scipy.spatial import ConvexHull

    x = brute.random_cloud(points, 2, points, dim)
    found = hull_complex(x)
    for cloud in range(2):
        facets = [tuple(sorted(f)) for f in ConvexHull(x[cloud].numpy()).simplices.tolist()]
        wanted = tuple({s for f in facets for s in combinations(f, k)} for k in (2, 3))
        assert brute.sets(found.select(torch.tensor([cloud]))) == wanted


def test_hulls_with_points_in_one_plane():
    """A cube has facets of four points: Qhull cuts each in two triangles, and the surface stays closed."""
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    both = hull_complex(torch.stack([cube, brute.random_cloud(0, 8, 3).float()]))
    one = both.select(torch.tensor([0]))
    assert one.edges.shape[1] == 18 and one.triangles.shape[1] == 12
    assert bool((torch.bincount(one.sides().flatten()) == 2).all())
    with pytest.raises(InvalidInput, match="cloud 1 has no hull"):
        hull_complex(torch.stack([cube, cube * torch.tensor([1.0, 1.0, 0.0])]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lifts_do_not_move(dtype):
    """Rotations, shifts and scale leave complexes as they are; relabelled points give relabelled simplices."""
    x = brute.random_cloud(5, 3, 8, 5)
    q = torch.linalg.qr(brute.random_cloud(6, 5, 5))[0]
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    moved, scaled = (1e3 * (x @ q.T) + 7).to(dtype), (1e-3 * x).to(dtype)
    hull, near = hull_complex(x.to(dtype)), vietoris_rips(x.to(dtype), 2.5)
    for other in (hull_complex(moved), hull_complex(scaled), vietoris_rips(1e-3 * moved, 2.5)):
        same = near if other.edges.shape == near.edges.shape else hull
        assert brute.sets(other) == brute.sets(same)
    after = hull_complex(x[:, order].to(dtype))
    old = order + 8 * torch.arange(3)[:, None]
    renamed = from_simplices(hull.ptr, old.flatten()[after.edges], old.flatten()[after.triangles])
    assert brute.sets(renamed) == brute.sets(hull) and near.edges.shape[1] > 0


def test_batches_are_their_clouds():
    """A batch, its selections in any order, and the clouds one by one."""
    x = brute.random_cloud(9, 6, 8, 5)
    for lift in (hull_complex, lambda p: vietoris_rips(p, 2.0)):
        together = lift(x)
        index = torch.tensor([4, 0, 4, 5])
        chosen, again = together.select(index), lift(x[index])
        for name in ("ptr", "edges", "triangles"):
            assert torch.equal(getattr(chosen, name), getattr(again, name))
        alone = [lift(p) for p in x]
        assert sum(a.triangles.shape[1] for a in alone) == together.triangles.shape[1]
        assert torch.equal(to_message_graph(chosen), to_message_graph(again))


def test_ragged_clouds_and_empty_ones():
    ptr = torch.tensor([0, 3, 3, 7, 8])
    complex = from_simplices(ptr, torch.tensor([[4, 6], [3, 4]]), torch.tensor([[2], [0], [1]]))
    assert complex.edges.tolist() == [[0, 0, 1, 3, 4], [1, 2, 2, 4, 6]] and complex.num_clouds == 4
    assert complex.offsets(1).tolist() == [0, 3, 3, 5, 5] and complex.clouds(2).tolist() == [0]
    chosen = complex.select(torch.tensor([2, 1, 0]))
    assert chosen.ptr.tolist() == [0, 4, 4, 7] and chosen.edges.tolist() == [[0, 1, 4, 4, 5], [1, 3, 5, 6, 6]]
    assert int((to_message_graph(complex) < 8).all(0).sum()) == 6 + 12
    nothing = complex.select(torch.zeros(0, dtype=torch.int64))
    assert nothing.num_points == 0 and to_message_graph(nothing).shape == (2, 0)
    assert vietoris_rips(torch.zeros(0, 4, 2), 1.0).edges.shape == (2, 0)
    assert vietoris_rips(torch.randn(2, 1, 3), 1.0).num_points == 2
    assert hull_complex(torch.zeros(0, 8, 5)).triangles.shape == (3, 0)


def test_skeletons_repeat():
    bones = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]])
    two = skeleton_complex(bones, 5, copies=2)
    assert two.triangles.tolist() == [[0, 5], [1, 6], [2, 7]] and two.num_points == 10
    given = skeleton_complex(bones, 5, triangles=torch.tensor([[1], [2], [3]]))
    assert brute.sets(given) == ({(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)}, {(1, 2, 3)})
    assert skeleton_complex(bones, 5, copies=0).num_clouds == 0


def test_large_clouds_are_quick_and_right():
    """A grid of 2500 points: every unit square has four edges to its neighbours and two diagonals."""
    grid = torch.cartesian_prod(torch.arange(50.0), torch.arange(50.0))
    found = vietoris_rips(grid, 1.5)
    assert found.edges.shape[1] == 2 * 50 * 49 + 2 * 49 * 49
    assert found.triangles.shape[1] == 4 * 49 * 49


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    assert hull_complex(torch.randn(4, 3)).triangles.shape == (3, 4)
    with pytest.raises(MissingDependency, match="pip install scipy"):
        hull_complex(torch.randn(40, 3))


def test_large_problems_are_cut_in_pieces(monkeypatch):
    """The same complexes where only a few distances, orientations and candidates are held at once."""
    x = brute.random_cloud(4, 7, 8, 5)
    wanted = vietoris_rips(x, 3.0), hull_complex(x)
    assert wanted[0].triangles.shape[1] > 40
    monkeypatch.setattr("geomlib.algebra.simplicial.lifts._CHUNK", 13)
    monkeypatch.setattr("geomlib.algebra.simplicial.hulls._CHUNK", 13)
    for a, b in zip(wanted, (vietoris_rips(x, 3.0), hull_complex(x)), strict=True):
        assert torch.equal(a.edges, b.edges) and torch.equal(a.triangles, b.triangles)


def test_misuse():
    ptr = torch.tensor([0, 3, 5])
    for bad, reason in (
        (torch.tensor([[0], [3]]), "one cloud"), (torch.tensor([[0], [5]]), r"0\.\.4"), (torch.tensor([[-1], [0]]), r"0\.\.4"),
        (torch.tensor([[1], [1]]), "differ"), (torch.tensor([[0, 1]]), r"\(2, count\)"), (torch.zeros(2, 1), "float32"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=reason):
            from_simplices(ptr, bad)
    for bad in (torch.tensor([1, 2]), torch.tensor([0, 3, 2]), torch.tensor([0.0, 2]), torch.tensor(0)):
        with pytest.raises(InvalidInput, match="ptr"):
            from_simplices(bad)
    with pytest.raises(InvalidInput, match="distance"):
        vietoris_rips(torch.randn(3, 2), -1.0)
    with pytest.raises(InvalidInput, match="distance"):
        vietoris_rips(torch.randn(3, 2), float("nan"))
    with pytest.raises(InvalidInput, match="not finite"):
        vietoris_rips(torch.full((3, 2), torch.nan), 1.0)
    with pytest.raises(InvalidInput, match="floating"):
        vietoris_rips(torch.zeros(3, 2, dtype=torch.int64), 1.0)
    with pytest.raises(InvalidInput, match="more than d points"):
        hull_complex(torch.randn(5, 5))
    with pytest.raises(InvalidInput, match="no negative"):
        clique_complex(torch.tensor([[0], [1]]), 2, max_area=-1.0)
    with pytest.raises(InvalidInput, match=r"limits need `pos` of shape \(2, d\)"):
        clique_complex(torch.tensor([[0], [1]]), 2, max_area=1.0)
    with pytest.raises(InvalidInput, match="copies=-1"):
        skeleton_complex(torch.tensor([[0], [1]]), 2, copies=-1)
    with pytest.raises(InvalidInput, match="dim=3"):
        from_simplices(ptr).boundary(3)
