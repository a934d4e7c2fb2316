"""Edges of a graph as one row of neighbours per node."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.edge_index import check_edge_range, check_edge_shape

__all__ = ["neighbour_table"]


def neighbour_table(
    edge_index: Tensor,  # (2, E)
    num_nodes: int,
    *,
    width: int | None = None,
) -> Tensor:  # (num_nodes, k)
    """Return the sources of the edges into every node, in the order of the edges, -1 where a node has fewer than k.

    Nothing is left out: k is the largest number of edges into a node. An edge from a node to itself is a neighbour too.

    Args:
        edge_index: sources in row 0 and targets in row 1.
        num_nodes: number of nodes.
        width: k, for tables of one width; by default the smallest that holds all edges.

    Raises:
        InvalidInput: not edges of these nodes, or a width that is too small.

    >>> neighbour_table(torch.tensor([[0, 1, 2], [1, 1, 0]]), 3)
    tensor([[ 2, -1],
            [ 0,  1],
            [-1, -1]])
    """
    check_edge_shape(edge_index)
    check_edge_range(edge_index, num_nodes, num_nodes)
    source, target = edge_index.long()
    counts = torch.bincount(target, minlength=num_nodes)
    needed = int(counts.max()) if num_nodes else 0
    width = needed if width is None else width
    if width < needed:
        node = int(counts.argmax())
        raise InvalidInput(
            f"neighbour_table: width={width}, but node {node} has {needed} edges. Pass width={needed} or more."
        )
    order = torch.argsort(target, stable=True)
    first = counts.cumsum(0) - counts
    target = target[order]
    place = torch.arange(len(order), device=order.device) - first[target]
    table = source.new_full((num_nodes, width), -1)
    table[target, place] = source[order]
    return table
