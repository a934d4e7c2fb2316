"""Orbits of permutation groups: fixtures, brute force, counts, wreath and Kronecker products, refusals."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.diagrams.bases import diagrams
from geomlib.algebra.diagrams.dimensions import dim_hom
from geomlib.algebra.diagrams.groups import SO, A, O, S, Sp, tensor_group
from geomlib.algebra.diagrams.orbit_groups import AutGraph, PermGroup, Product, Wreath
from geomlib.algebra.diagrams.orbits import count_orbits, orbit_labels, orbit_maps, orbits
from geomlib.algebra.groups import parse_group, stratified
from geomlib.algebra.representations import matrix

DATA = np.load(Path(__file__).parents[2] / "data" / "diagrams" / "aut_orbits.npz")
GRAPHS = ["C5", "P4", "K23", "Petersen", "star3", "asym6"]


def graph(name: str) -> AutGraph:
    adjacency = DATA[f"{name}/adj"]
    return AutGraph([(int(i), int(j)) for i, j in np.argwhere(np.triu(adjacency))], len(adjacency))


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("name", GRAPHS)
def test_fixture(name: str) -> None:
    group = graph(name)
    assert group.order == int(DATA[f"{name}/order"])
    for m in (1, 2, 3, 4):
        if f"{name}/orbits_m{m}" in DATA:
            for k in range(m + 1):
                found = orbits(group, k, m - k)
                assert len(found) == dim_hom(group, k, m - k) == int(DATA[f"{name}/count_m{m}"])
            assert same_partition(found.labels, DATA[f"{name}/orbits_m{m}"])


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_against_brute_force(n: int, m: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    group = PermGroup([torch.randperm(n, generator=generator).tolist() for _ in range(count)])
    elements = list(group.automorphisms.chain)
    least = {t: min(tuple(p[i] for i in t) for p in elements) for t in itertools.product(range(n), repeat=m)}
    names = {t: k for k, t in enumerate(sorted(set(least.values())))}
    wanted = np.array([names[least[t]] for t in itertools.product(range(n), repeat=m)]).reshape((n,) * m)
    # Not only the same partition: orbits are numbered by their first tuples.
    np.testing.assert_array_equal(orbit_labels(group.generators, n, m), wanted)
    maps = orbit_maps(group, m - 1, 1)
    assert [d.first for d in maps] == sorted(names) and [d.number for d in maps] == list(range(len(names)))


@pytest.mark.parametrize(
    "group",
    [
        AutGraph([], 6),
        AutGraph([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)], 7),
        graph("Petersen"),
        Wreath(2, 3),
    ],
    ids=["S_6", "two triangles", "Petersen", "wreath"],
)
def test_counts_by_elements_and_by_stabilisers(group: PermGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [count_orbits(group.automorphisms.chain, m) for m in range(6)]
    module = importlib.import_module(
        "geomlib.algebra.diagrams.orbits"
    )  # the package has a function of this name
    monkeypatch.setattr(module, "_ENUMERATED", 0)
    assert counts == [count_orbits(group.automorphisms.chain, m) for m in range(6)]
    assert counts[:4] == [len(orbits(group, m, 0)) for m in range(4)]


def test_counts_of_large_groups_need_no_list() -> None:
    assert AutGraph([], 12).dim_hom(3, 3) == 203  # Bell numbers
    assert AutGraph([], 3).dim_hom(2, 2) == 14
    hypercube = [(i, i ^ (1 << b)) for i in range(32) for b in range(5) if i < i ^ (1 << b)]
    assert AutGraph(hypercube, 32).dim_hom(1, 1) == 6  # distances 0..5
    directed = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert AutGraph(directed, 3).order == 3 and AutGraph(directed, 3).dim_hom(1, 1) == 3


def test_wreath_products() -> None:
    assert Wreath(3, 4).dim_hom(1, 1) == 3 and Wreath(1, 4).dim_hom(2, 2) == 15 == Wreath(4, 1).dim_hom(2, 2)
    for m, blocks in [(2, 2), (2, 3), (3, 2), (1, 3), (3, 1), (1, 1)]:
        group = Wreath(m, blocks)
        for total in range(5):
            assert group.dim_hom(total, 0) == len(orbits(group, total, 0)), (m, blocks, total)
    assert Wreath(3, 2).order == 6**2 * 2
    # Legs that agree, that share a block, or neither: from the definition.
    labels = orbits(Wreath(3, 2), 1, 1).labels
    i, j = np.indices((6, 6))
    assert same_partition(labels, np.where(i == j, 0, np.where(i // 3 == j // 3, 1, 2)))


PRODUCTS = [
    (Product(S(3), S(2)), 1, 1), (Product(S(3), S(2)), 2, 1), (Product(S(3), O(2)), 1, 1), (Product(S(2), O(2)), 2, 2),
    (Product(A(3), SO(2)), 1, 1), (Product(AutGraph([(0, 1)], 3), Sp(2)), 1, 1),
    (Product(Product(S(2), S(2)), O(2)), 1, 1), (Product(PermGroup([(1, 0)]), O(3)), 2, 0),
]  # fmt: skip


@pytest.mark.parametrize(("group", "k", "l"), PRODUCTS, ids=str)
def test_products_commute_with_both_groups_and_are_all(group: Product, k: int, l: int) -> None:
    maps = group.maps(k, l)
    rows = torch.stack([d.matrix(group) for d in maps])
    assert len(maps) == dim_hom(group, k, l) == int(torch.linalg.matrix_rank(rows.flatten(1)))
    assert len({str(d.label) for d in maps}) == len(maps)
    acting, projector = parse_group(group.name), torch.zeros(1)
    for g in stratified(acting, 8, torch.Generator().manual_seed(0)):
        out, into = (matrix(f"tensor({o})", g) if o else torch.ones(1, 1).double() for o in (l, k))
        torch.testing.assert_close(out @ rows, rows @ into, rtol=0, atol=1e-11)
        # Invariance of the flat matrices: out M into^-1 = M.
        projector = (
            projector + (m := torch.kron(out, torch.linalg.inv(into).T) - torch.eye(rows[0].numel())).T @ m
        )
    if rows[0].numel() <= 256:
        kernel = int((torch.linalg.eigvalsh(projector) < 1e-8).sum())
        assert kernel == len(maps)


def test_more_than_listed_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"10,000,000,000 tuples, 80 GB .* limit is 16,777,216"):
        orbits(graph("Petersen"), 5, 5)
    with pytest.raises(InvalidInput, match=r"10,000 tuples.*limit is 100"):
        orbit_maps(graph("Petersen"), 2, 2, limit=100)
    assert (
        graph("Petersen").dim_hom(5, 5)
        == sum(
            int(c) * f**10 for f, c in enumerate(np.bincount((DATA["Petersen/auts"] == np.arange(10)).sum(1)))
        )
        // 120
    )
    for group, count in ((Product(S(4), S(4)), 225), (graph("P4"), 128)):
        with pytest.raises(InvalidInput, match=f"{count} maps, .* MB .*limit is 100"):
            diagrams(group, 2, 2, limit=100)
    assert len(diagrams(graph("Petersen"), 2, 3)) == graph("Petersen").dim_hom(3, 2)


def test_groups_are_read_as_they_are_written() -> None:
    for group in (
        graph("K23"),
        PermGroup([(1, 2, 0, 3)]),
        Product(S(3), O(2)),
        Product(graph("C5"), A(3)),
        Wreath(2, 2),
    ):
        read = tensor_group(group.name)
        assert read.name == group.name and read.n == group.n and read.pointwise == group.pointwise
        assert [d.label for d in diagrams(read, 1, 1)] == [d.label for d in diagrams(group.name, 1, 1)]
        assert dim_hom(group.name, 2, 1) == dim_hom(group, 2, 1)
    assert tensor_group("Aut(3; 0-1, 1-2)") == tensor_group("Aut(3; 0-1, 1-2)")
    for text in ("Kron(S_3)", "Kron(S_3, E(3))", "Aut(3; 0:1)"):
        with pytest.raises(InvalidInput, match=r"[Ee]xpected|two groups"):
            tensor_group(text)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: AutGraph([(0, 7)], 3), "node 7"), (lambda: PermGroup([(0, 0)]), "not a permutation"),
        (lambda: PermGroup([]), "no size"), (lambda: AutGraph([]), "no nodes"), (lambda: Wreath(0, 2), "m=0"),
        (lambda: Product(S(), O(2)), "without a size"), (lambda: graph("C5").sized(4), "axes of length 5"),
    ],
)  # fmt: skip
def test_misuse(make, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        make()


def test_the_smallest_groups() -> None:
    one = AutGraph([], 1)
    assert one.dim_hom(3, 3) == 1 and orbits(one, 3, 3).labels.shape == (1,) * 6
    scalars = orbits(graph("C5"), 0, 0)
    assert len(scalars) == 1 == graph("C5").dim_hom(0, 0) and scalars.representatives.shape == (1, 0)
    assert scalars.row_sizes.tolist() == [1]
    assert PermGroup([], 4).dim_hom(1, 1) == 16 and hash(PermGroup([], 4)) == hash(PermGroup([(0, 1, 2, 3)]))


def test_row_sizes_are_sums_of_rows() -> None:
    for group, k, l in [
        (graph("K23"), 1, 1),
        (graph("P4"), 2, 1),
        (graph("C5"), 1, 2),
        (graph("star3"), 2, 0),
    ]:
        found = orbits(group, k, l)
        for d, size in zip(orbit_maps(group, k, l), found.row_sizes, strict=True):
            sums = d.matrix(group).sum(1)
            assert set(sums.tolist()) <= {0.0, float(size)} and float(sums.max()) == size
            assert float(d.matrix(group).sum()) == found.sizes[d.number]
