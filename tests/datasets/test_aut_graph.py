"""Coupled oscillators: the equation written out, the automorphisms, what powers of the adjacency matrix miss."""

from __future__ import annotations

import math

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.diagrams.bilabelled import BilabelledGraph
from geomlib.algebra.diagrams.bilabelled_span import bilabelled_graphs, span_dimension
from geomlib.algebra.diagrams.orbit_groups import AutGraph
from geomlib.algebra.groups import Automorphisms
from geomlib.datasets.aut_graph import SKELETON, coupling, make_aut_graph
from geomlib.datasets.tasks import make_task

GROUP = AutGraph(SKELETON, 10)


def test_rates_by_the_equation() -> None:
    data, (k, w) = make_aut_graph(3, 5), coupling()
    for x, rate in zip(data["x"], data["rate"], strict=True):
        phase = [math.atan2(float(s), float(c)) for c, s in x.T]
        for i in range(10):
            want = float(w[i]) + sum(float(k[i, j]) * math.sin(phase[j] - phase[i]) for j in range(10))
            assert abs(float(rate[i]) - want) < 1e-12
    assert float((data["x"].square().sum(1) - 1).abs().max()) < 1e-14


def test_couplings_tell_apart_what_automorphisms_do_and_no_more() -> None:
    k, w = coupling()
    # The permutations that leave the couplings alone are the automorphisms of the bonds.
    assert set(Automorphisms.from_adjacency(k).chain) == set(GROUP.automorphisms.chain) and GROUP.order == 48
    assert len(k.unique()) == GROUP.dim_hom(1, 1) == 14 and len(w.unique()) == GROUP.dim_hom(0, 1) == 3


def test_powers_of_the_adjacency_matrix_span_six_of_fourteen() -> None:
    a = torch.zeros(10, 10)
    for i, j in SKELETON:
        a[i, j] = a[j, i] = 1.0
    paths = [BilabelledGraph(p + 1, [(j, j + 1) for j in range(p)], [0], [p]) for p in range(10)]
    assert span_dimension([*paths, BilabelledGraph(2, [], [0], [1])], a) == 6
    assert [span_dimension(bilabelled_graphs(1, 1, v), a) for v in (2, 3, 4)] == [4, 10, 14]


def test_samples_follow_automorphisms() -> None:
    data = make_aut_graph(4, 0)
    k, w = coupling()
    for p in list(GROUP.automorphisms.chain)[::7]:
        x, rate = data["x"][..., list(p)], data["rate"][:, list(p)]
        turn = x[:, 1][:, None] * x[:, 0][:, :, None] - x[:, 0][:, None] * x[:, 1][:, :, None]
        torch.testing.assert_close(w + (k * turn).sum(2), rate, rtol=0, atol=1e-13)


def test_sets() -> None:
    sets, again = (make_task("aut_graph", sizes=(20, 5, 5), seed=1) for _ in range(2))
    assert all(
        torch.equal(sets[s].tensors[name], again[s].tensors[name]) for s in sets for name in ("x", "rate")
    )
    assert not torch.equal(sets["val"].tensors["x"], sets["test"].tensors["x"])
    assert not torch.equal(make_aut_graph(5, 0)["x"], make_aut_graph(5, 1)["x"])
    with pytest.raises(InvalidInput, match="n=0"):
        make_aut_graph(0, 0)
