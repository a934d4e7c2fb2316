"""Dimensions and bases: every row of the tables, spans against null spaces, exact ranks, canonical order, refusals."""

from __future__ import annotations

import itertools
import time
from math import comb, factorial

import pytest
import torch

from geomlib.algebra.diagrams import (
    SO,
    A,
    B,
    Diagram,
    Lorentz,
    O,
    S,
    Sp,
    bases,
    diagrams,
    dim_hom,
    exact_rank,
    matchings,
    partitions,
    spanning_size,
)  # fmt: skip
from geomlib.algebra.diagrams.dimensions import tableaux
from geomlib.errors import InvalidInput
from tests.algebra.diagrams.common import FAMILIES, GROUPS, commutant, elements, load, matrices, named, power


def test_every_row_of_the_table_of_dimensions():
    table = load("dims.npz")
    columns = ("group", "n", "m", "dim_exact", "dim_nullspace", "spanning_set_size", "rank_of_span")
    rows = list(zip(*(table[c].tolist() for c in columns), strict=True))
    assert len(rows) == 297
    for family, n, m, dim, null, spanning, rank in rows:
        G = FAMILIES[family](n)
        for k in range(m + 1):
            assert dim_hom(G, k, m - k) == dim
            assert spanning_size(G, k, m - k) == spanning
        assert null in (-1, dim) and rank in (-1, dim)
        if m <= 6:
            k = m // 2
            assert len(diagrams(G, k, m - k)) == dim
            assert len(diagrams(G, k, m - k, "spanning")) == spanning


def test_signed_permutations_and_lorentz():
    rows = load("other_groups.json")
    assert {row["group"] for row in rows} == {"B", "O(1,3)"}
    for row in rows:
        G = B(row["n"]) if row["group"] == "B" else Lorentz(1, 3)
        k = row["m"] // 2
        assert dim_hom(G, k, row["m"] - k) == row["dim"] == len(diagrams(G, k, row["m"] - k))


def test_numbers_of_the_specification():
    assert [dim_hom(S(n), 2, 2) for n in (2, 3, 4, 100)] == [8, 14, 15, 15]
    assert dim_hom(S(4), 3, 3) == 187 and dim_hom(S(4), 3, 2) == 51
    assert [dim_hom(SO(3), m, 0) for m in range(2, 11)] == [1, 1, 3, 6, 15, 36, 91, 232, 603]
    assert spanning_size(SO(3), 7, 0) == 105 and spanning_size(SO(2), 2, 2) == 9
    assert dim_hom(S(), 3, 3) == 203
    assert dim_hom(O(1), 40, 40) == 1


def test_large_dimensions_are_exact():
    """Catalan numbers for Sp(2), their determinant for Sp(4), binomials for SO(2); squares of tableaux sum to m!."""

    def catalan(r: int) -> int:
        return comb(2 * r, r) // (r + 1)

    for r in (5, 20, 35):
        assert dim_hom(Sp(2), r, r) == catalan(r)
        assert dim_hom(Sp(4), r, r) == catalan(r) * catalan(r + 2) - catalan(r + 1) ** 2
        assert dim_hom(SO(2), r, r) == comb(2 * r, r)
        assert dim_hom(O(2), r, r) == comb(2 * r, r) // 2
    shapes = {tuple(sorted(s, reverse=True)) for s in itertools.product(range(8), repeat=7) if sum(s) == 7}
    shapes = {tuple(x for x in s if x) for s in shapes}
    assert len(shapes) == 15 and sum(tableaux(s) ** 2 for s in shapes) == factorial(7)


@pytest.mark.parametrize("key", load("bases_labels.json"))
def test_labelled_matrices_and_spans(key):
    record, stored = load("bases_labels.json")[key], load("bases_small.npz")
    G, k, l = FAMILIES[record["group"]](record["n"]), record["k"], record["l"]
    for label, expected in zip(record["labels"], stored[f"{key}/basis"], strict=True):
        d = Diagram.from_label(label, k, l)
        assert d.label == label
        assert torch.equal(d.matrix(G), torch.from_numpy(expected).double())
    ours = matrices(diagrams(G, k, l), G, k, l)
    assert len(ours) == record["dim"]
    q = torch.linalg.qr(ours.T)[0]
    if f"{key}/projector" in stored:
        assert (q @ q.T - torch.from_numpy(stored[f"{key}/projector"])).abs().max() < 1e-6
    theirs = torch.from_numpy(stored[f"{key}/basis"]).double().flatten(1)
    assert (theirs - theirs @ q @ q.T).abs().max() < 1e-12


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_span_is_the_commutant(G):
    """Against null spaces from random elements, boosts and non-orthogonal symplectic ones among them."""
    for k, l in ((0, 0), (1, 0), (0, 2), (1, 1), (2, 1), (1, 3), (2, 2)):
        if G.n ** (k + l) > 100:
            continue
        null = commutant(G, k, l)
        for which in ("basis", "spanning"):
            ours = matrices(diagrams(G, k, l, which), G, k, l)
            rank = int(torch.linalg.matrix_rank(ours)) if len(ours) else 0
            assert rank == len(null) == dim_hom(G, k, l) == exact_rank(G, k, l, which)
            assert which == "spanning" or len(ours) == rank
            assert (ours - ours @ null.T @ null).abs().max() < 1e-9 * G.n ** (k + l) if len(ours) else True


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_maps_are_equivariant(G):
    for (k, l), a in itertools.product(((1, 2), (2, 2), (3, 1), (3, 0)), elements(G, 3, seed=1)):
        for d in diagrams(G, k, l, "spanning"):
            if G.n ** (k + l) <= 300:
                m, left = d.matrix(G), power(a, l)
                assert torch.allclose(
                    left @ m, m @ power(a, k), atol=1e-9 * float(left.abs().max()) ** 2 + 1e-10
                )


def test_elements_outside_the_group_are_noticed():
    swap = torch.eye(3, dtype=torch.float64)[[1, 0, 2]]
    jellyfish = [d for d in diagrams(A(3), 1, 2) if d.kind == "jellyfish"]
    assert jellyfish and all(
        torch.equal(power(swap, 2) @ d.matrix(A(3)), -d.matrix(A(3)) @ swap) for d in jellyfish
    )
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    epsilons = [d for d in diagrams(SO(3), 2, 3) if d.kind == "grood"]
    assert len(epsilons) == 6 and all(
        torch.equal(power(mirror, 3) @ d.matrix(SO(3)), -d.matrix(SO(3)) @ power(mirror, 2)) for d in epsilons
    )
    turn = elements(O(4), 1)[0]
    pair = Diagram([(0, 1)], 2, 0, "symplectic").matrix(Sp(4))
    assert (pair - pair @ power(turn, 2)).abs().max() > 0.1


@pytest.mark.parametrize("G", [S(3), A(3), B(4), O(2), SO(2), SO(3), Sp(2)], ids=named)
def test_canonical_order(G):
    for k, l, which in itertools.product(range(4), range(4), ("basis", "spanning")):
        keys = [d.order for d in diagrams(G, k, l, which)]
        assert keys == sorted(keys) and len(set(keys)) == len(keys)


def test_order_is_a_contract():
    """Weights are stored in this order: these lists never change."""
    assert [str(d.label) for d in diagrams(S(3), 1, 2)] == [
        "['D', [0, 0, 1]]", "['D', [0, 1, 2]]", "['D', [0, 0, 0]]", "['D', [0, 1, 0]]", "['D', [0, 1, 1]]",
    ]  # fmt: skip
    assert [str(d.label) for d in diagrams(SO(2), 2, 2)] == [
        "['E', [[0, 1], [2, 3]]]", "['E', [[0, 2], [1, 3]]]", "['E', [[0, 3], [1, 2]]]",
        "['H', [1, 3], [[0, 2]]]", "['H', [1, 2], [[0, 3]]]", "['H', [0, 2], [[1, 3]]]",
    ]  # fmt: skip


def test_listing_matches_brute_force():
    for k, l in ((2, 3), (3, 3)):
        found = {d.rgs for d in diagrams(S(4), k, l)}
        assert found == {p for p in partitions.set_partitions(k + l) if max(p) < 4}
        pairs = {d.blocks for d in diagrams(O(3), k, l, "spanning")}
        assert pairs == set(matchings.perfect_matchings(k + l))


def test_nested_arcs_count_as_crossing_ones():
    for n, m in ((2, 6), (2, 8), (4, 8)):
        kept = diagrams(Sp(n), m, 0)
        nested = 0
        for pairs in matchings.perfect_matchings(m):
            w = matchings.involution(pairs, m)
            nested += matchings.longest_increasing(reversed(w)) // 2 <= n // 2
        assert len(kept) == nested == dim_hom(Sp(n), m, 0)


@pytest.mark.slow
@pytest.mark.parametrize("G", [O(2), O(3), O(4), SO(2), SO(3), SO(4), SO(5), Sp(2), Sp(4)], ids=named)
def test_bases_are_independent_up_to_ten_legs(G):
    for m in range(5, 9 if G == SO(4) else 11):  # of SO(4) with ten legs there are 1,764
        assert exact_rank(G, m // 2, m - m // 2) == dim_hom(G, m, 0) == len(diagrams(G, m // 2, m - m // 2))


def test_a_wrong_basis_is_noticed(monkeypatch):
    monkeypatch.setattr(bases, "longest_increasing", lambda w: 0)
    bases._listed.cache_clear()
    with pytest.raises(Exception, match="has rank 10"):
        diagrams(O(2), 3, 3)
    bases._listed.cache_clear()


@pytest.mark.parametrize(
    "G", [S(2), S(1000), A(5), B(1000), O(2), SO(2), SO(1000), Sp(2), Sp(1000)], ids=named
)
def test_setup_takes_milliseconds(G):
    """Ten milliseconds for any n with six legs; CPU time, the best of three cold lists."""
    rows = (partitions.marked_partitions, partitions.set_partitions, matchings.paired_rows, bases._even_rows)
    best = 1.0
    for _ in range(3):
        for cached in (bases._listed, *rows):
            cached.cache_clear()
        start = time.process_time()
        diagrams(G, 3, 3)
        best = min(best, time.process_time() - start)
    assert best < 0.01


def test_explosions_are_refused_with_number_and_memory():
    with pytest.raises(InvalidInput, match=r"4,213,597 maps, about 6.32 GB .* k \+ l = 12"):
        diagrams(S(), 6, 6, "spanning")
    with pytest.raises(InvalidInput, match="227,475 maps chosen among 2,027,025"):
        diagrams(O(3), 8, 8)
    with pytest.raises(InvalidInput, match="limit is 100"):
        diagrams(S(9), 3, 3, limit=100)
    assert len(diagrams(S(2), 8, 7)) == 2**14  # few maps of many legs are no explosion
    with pytest.raises(InvalidInput, match="GB"):
        Diagram([(0, 1), (2, 3)], 2, 2).matrix(S(1000))


def test_misuse_is_named():
    with pytest.raises(InvalidInput, match="Did you mean 'basis'"):
        diagrams(S(3), 1, 1, "bases")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="k=-1"):
        diagrams(S(3), -1, 1)
    with pytest.raises(InvalidInput, match="which='spanning'"):
        diagrams(S(), 1, 1)
    with pytest.raises(InvalidInput, match="must hold each"):
        Diagram([(0, 1), (1,)], 1, 1)
    with pytest.raises(InvalidInput, match="expected pairs"):
        Diagram([(0, 1, 2)], 1, 2, "brauer")
    with pytest.raises(InvalidInput, match="only 'grood'"):
        Diagram([(0, 1)], 1, 2, "brauer", [2])
    with pytest.raises(InvalidInput, match="Did you mean 'brauer'"):
        Diagram([], 0, 0, "brouer")
    with pytest.raises(InvalidInput, match="expected a list such as"):
        Diagram.from_label(["Q", [0]], 1, 0)
    with pytest.raises(InvalidInput, match="not a map of O"):
        Diagram([(0, 1)], 1, 1).matrix(O(3))
    with pytest.raises(InvalidInput, match="epsilon of SO"):
        Diagram([], 1, 1, "grood", [0, 1]).matrix(SO(3))
    with pytest.raises(InvalidInput, match="must have 3 or 4"):
        Diagram([(0, 1)], 1, 1, "jellyfish").matrix(A(4))
    with pytest.raises(InvalidInput, match="even size"):
        Diagram([(0,), (1,)], 1, 1).matrix(B(4))
