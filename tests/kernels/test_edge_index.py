"""One check of edges for every operation that takes them."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.kernels.edge_index import check_edge_range, check_edge_shape


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 4, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(4, dtype=torch.int64)]
)
def test_shapes_and_types(bad: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match="edge_index: expected integers of shape"):
        check_edge_shape(bad)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_good_edges(dtype: torch.dtype) -> None:
    for pairs, sources, targets in (([[0, 2], [1, 0]], 3, 2), ([[], []], 0, 0), ([[0], [0]], 1, 1)):
        edge_index = torch.tensor(pairs, dtype=dtype)
        check_edge_shape(edge_index)
        check_edge_range(edge_index, sources, targets)


@pytest.mark.parametrize(
    ("pairs", "sources", "targets", "message"),
    [
        ([[0, 3], [0, 0]], 3, 3, r"edge 1 of `edge_index` is \[3, 0\]; nodes are 0..2"),
        ([[0, -1, 5], [0, 0, 0]], 3, 3, r"edge 1 of `edge_index` is \[-1, 0\]"),
        ([[2, 2], [1, 2]], 3, 2, r"edge 1 of `edge_index` is \[2, 2\]; sources are 0..2, targets 0..1"),
    ],
)
def test_the_first_wrong_edge_is_named(pairs: list, sources: int, targets: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_edge_range(torch.tensor(pairs), sources, targets)
