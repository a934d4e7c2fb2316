"""Edges are grouped once per graph, and never for a graph that has changed."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.kernels.tensor_product import grouping
from geomlib.kernels.tensor_product.grouping import edge_rows


def edges(*pairs: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(pairs).T


def test_groups_hold_every_edge_once_by_receiver() -> None:
    edge_index = edges((0, 2), (1, 0), (2, 2), (0, 0))
    rows = edge_rows(edge_index, 3, 3, shared_weights=False)
    for node in range(3):
        found = rows.e_row[rows.start[node] : rows.start[node + 1]]
        assert found.tolist() == [e for e in range(4) if int(edge_index[1, e]) == node]
        assert rows.a_row[rows.start[node] : rows.start[node + 1]].tolist() == edge_index[0, found].tolist()


def test_the_same_graph_is_grouped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_index = edges((0, 1), (1, 0))
    first = edge_rows(edge_index, 2, 2, shared_weights=False)
    assert edge_rows(edge_index, 2, 2, shared_weights=False) is first
    assert edge_rows(edge_index, 2, 3, shared_weights=False) is not first
    assert edge_rows(edge_index, 2, 2, shared_weights=True) is not first
    assert edge_rows(edge_index.clone(), 2, 2, shared_weights=False) is not first


@pytest.mark.parametrize("change", ["torch", "numpy"])
def test_a_changed_graph_is_grouped_anew(change: str) -> None:
    """A version counter would see the first change only."""
    values = np.array([[0, 1], [1, 0]])
    edge_index = torch.from_numpy(values)
    before = edge_rows(edge_index, 3, 3, shared_weights=False)
    if change == "torch":
        edge_index[0, 0] = 2
    else:
        values[0, 0] = 2
    after = edge_rows(edge_index, 3, 3, shared_weights=False)
    assert after is not before and 2 in after.a_row.tolist()
    values[0, 0] = 7
    with pytest.raises(InvalidInput, match=r"edge 0 of `edge_index` is \[7, 1\]; nodes are 0\.\.2"):
        edge_rows(edge_index, 3, 3, shared_weights=False)


def test_a_graph_is_forgotten_with_its_tensor_and_few_are_kept() -> None:
    kept = [edges((0, 1), (k, 0)) for k in range(2 * grouping._KEPT)]
    for edge_index in kept:
        edge_rows(edge_index, 40, 40, shared_weights=False)
    assert len(grouping._known) <= grouping._KEPT
    del edge_index, kept
    gc.collect()
    assert not grouping._known
