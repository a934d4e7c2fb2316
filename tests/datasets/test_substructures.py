"""Counting substructures: the fixture, counting by hand, statistics, trivial scores, misuse."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.substructures import count_stars, count_triangles, make_substructures
from geomlib.datasets.tasks import load_task, make_task


def test_counts_of_the_fixture(data):
    with np.load(data / "diagrams" / "er_graphs.npz", allow_pickle=False) as found:
        adjacency = torch.from_numpy(found["adj"].astype(float))
        np.testing.assert_array_equal(count_triangles(adjacency).numpy(), found["triangles"])
        np.testing.assert_array_equal(count_stars(adjacency).numpy(), found["three_stars"])


@pytest.mark.parametrize(("nodes", "p"), [(10, 0.3), (1, 0.5), (4, 1.0), (6, 0.0)])
def test_graphs_and_counts_by_hand(nodes, p):
    for target in ("triangles", "stars"):
        made = make_substructures(20, 3, target, nodes, p)
        a = made["adjacency"].numpy()
        assert set(np.unique(a)) <= {0.0, 1.0}
        np.testing.assert_array_equal(a, a.transpose(0, 2, 1))
        assert not np.einsum("bii->bi", a).any()
        for graph, y in zip(a, made["y"].tolist(), strict=True):
            if target == "triangles":
                want = sum(
                    graph[i, j] * graph[j, k] * graph[i, k] for i, j, k in combinations(range(nodes), 3)
                )
            else:
                want = sum(comb(int(d), 3) for d in graph.sum(0))
            assert y == want


def test_statistics_seeds_and_scores():
    made = make_substructures(4000, 0)
    edges = made["adjacency"].sum((1, 2)) / 2
    assert abs(float(edges.mean()) - 0.3 * 45) < 0.15
    assert abs(float(made["y"].mean()) - 0.027 * 120) < 0.2  # binomial(10, 3) p^3
    again, other = make_substructures(4000, 0), make_substructures(4000, 1)
    assert torch.equal(made["adjacency"], again["adjacency"])
    assert not torch.equal(made["adjacency"], other["adjacency"])
    for name in ("triangles", "stars"):
        sets = make_task(name, sizes=(300, 0, 400))
        train, test = (sets[k].tensors for k in ("train", "test"))
        scores = load_task(name).baselines(train, test)
        assert scores["mean"] == pytest.approx(np.mean((test["y"].numpy() - train["y"].numpy().mean()) ** 2))
        fit = np.polyfit(train["adjacency"].sum((1, 2)).numpy(), train["y"].numpy(), 3)
        error = np.polyval(fit, test["adjacency"].sum((1, 2)).numpy()) - test["y"].numpy()
        assert scores["cubic in the number of edges"] == pytest.approx(np.mean(error**2), rel=1e-6)


def test_misuse():
    for options, match in (
        ({"target": "triangle"}, "'triangles'"),
        ({"p": 1.5}, "p=1.5"),
        ({"nodes": 0}, "nodes=0"),
    ):
        with pytest.raises(InvalidInput, match=match):
            make_substructures(2, 0, **options)
    with pytest.raises(InvalidInput, match="n=0"):
        make_substructures(0, 0)
