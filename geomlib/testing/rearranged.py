"""Other graphs made from one: reordered, joined, cut down, with one more node, or a pair at a distance.

Written without the moves of the verifier, so that an error there cannot hide one in a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.symmetry import TensorType

__all__ = [
    "DISTANCES",
    "chosen",
    "edge_index_of",
    "edges_of",
    "graphs_of",
    "joined",
    "nodes_of",
    "pair",
    "reordered",
    "reordered_edges",
    "spread",
    "with_far_node",
]

Inputs = Mapping[str, Any]
Types = Mapping[str, TensorType]

#: Names of an invariant of an edge that is its length.
DISTANCES = ("r", "d", "dist", "distance", "distances", "edge_weight", "edge_length", "edge_dist")


def _scope(types: Types, name: str) -> str | None:
    return types[name].scope if name in types else None


def _is_edge_index(types: Types, name: str) -> bool:
    return name in types and types[name].kind == "index" and types[name].scope == "edge"


def _is_simplices(types: Types, name: str, x: Tensor) -> bool:
    """Whether an input holds the nodes of simplices (integers), not values on them (floats)."""
    return name in types and types[name].kind == "simplex" and not x.is_floating_point()


def edge_index_of(inputs: Inputs, types: Types) -> Tensor | None:
    """Return the edge index, if there is one."""
    return next((x for n, x in inputs.items() if isinstance(x, Tensor) and _is_edge_index(types, n)), None)


def nodes_of(inputs: Inputs, types: Types) -> int | None:
    """Return the number of nodes, if any input has one row per node."""
    rows = (x for n, x in inputs.items() if isinstance(x, Tensor) and x.dim() and _scope(types, n) == "node")
    first = next(rows, None)
    return None if first is None else first.shape[0]


def edges_of(inputs: Inputs, types: Types) -> int | None:
    """Return the number of edges, if any input has one row per edge."""
    index = edge_index_of(inputs, types)
    if index is not None:
        return index.shape[-1]
    rows = (x for n, x in inputs.items() if isinstance(x, Tensor) and x.dim() and _scope(types, n) == "edge")
    first = next(rows, None)
    return None if first is None else first.shape[0]


def graphs_of(inputs: Inputs, types: Types) -> int:
    """Return the number of graphs."""
    batch = inputs.get("batch")
    found = int(batch.max()) + 1 if isinstance(batch, Tensor) and batch.numel() else 1
    rows = [
        x.shape[0]
        for n, x in inputs.items()
        if isinstance(x, Tensor) and x.dim() and _scope(types, n) in ("graph", "cell")
    ]
    return max([found, *rows])


def reordered(inputs: Inputs, types: Types, order: Tensor) -> dict[str, Any]:
    """Return the graph with node k at row ``order.argsort()[k]``: row i holds what row ``order[i]`` held."""
    new = torch.argsort(order)

    def move(name: str, x: Tensor) -> Tensor:
        if _is_edge_index(types, name) or _is_simplices(types, name, x):
            return new[x]
        return x[order] if _scope(types, name) == "node" and x.dim() else x

    return {n: move(n, x) if isinstance(x, Tensor) else x for n, x in inputs.items()}


def reordered_edges(inputs: Inputs, types: Types, order: Tensor) -> dict[str, Any]:
    """Return the graph with its edges in another order."""

    def move(name: str, x: Tensor) -> Tensor:
        if _is_edge_index(types, name):
            return x[..., order]
        return x[order] if _scope(types, name) == "edge" and x.dim() else x

    return {n: move(n, x) if isinstance(x, Tensor) else x for n, x in inputs.items()}


def joined(a: Inputs, b: Inputs, types: Types) -> dict[str, Any]:
    """Return the disjoint union of two graphs, or batches of graphs."""
    nodes, graphs = nodes_of(a, types) or 0, graphs_of(a, types)

    def join(name: str, x: Tensor, y: Tensor) -> Tensor:
        if name == "batch":
            return torch.cat([x, y + graphs])
        if _is_edge_index(types, name):
            return torch.cat([x, y + nodes], -1)
        return torch.cat([x, y]) if _scope(types, name) is not None and x.dim() else x

    both = {
        n: join(n, x, b[n]) if isinstance(x, Tensor) and isinstance(b.get(n), Tensor) else x
        for n, x in a.items()
    }
    if isinstance(a.get("num_graphs"), int):
        both["num_graphs"] = graphs + graphs_of(b, types)
    return both


def chosen(inputs: Inputs, types: Types, keep: Tensor, *, edges: bool = True) -> dict[str, Any]:
    """Return the graph of some nodes, with the edges between them or without any; empty graphs are dropped."""
    index = edge_index_of(inputs, types)
    new = torch.full((nodes_of(inputs, types) or 0,), -1, dtype=torch.int64)
    new[keep] = torch.arange(len(keep))
    if index is None:
        kept = torch.zeros(0, dtype=torch.int64)
    else:
        inside = (new[index.reshape(-1, index.shape[-1])] >= 0).all(0)
        kept = (inside & edges).nonzero()[:, 0]
    batch = inputs.get("batch")
    graphs = batch[keep].unique() if isinstance(batch, Tensor) else None

    def move(name: str, x: Tensor) -> Tensor:
        scope = _scope(types, name)
        if name == "batch" and graphs is not None:
            return torch.searchsorted(graphs, x[keep])
        if _is_edge_index(types, name):
            return new[x[..., kept]]
        if scope == "edge" and x.dim():
            return x[kept]
        if scope == "node" and x.dim():
            return x[keep]
        return x[graphs] if scope in ("graph", "cell") and graphs is not None and x.dim() else x

    found = {n: move(n, x) if isinstance(x, Tensor) else x for n, x in inputs.items()}
    if isinstance(inputs.get("num_graphs"), int):
        found["num_graphs"] = len(graphs) if graphs is not None else 1
    return found


def with_far_node(inputs: Inputs, types: Types, distance: float) -> dict[str, Any]:
    """Return the graph with a copy of node 0 at the end, far from everything and without edges."""

    def move(name: str, x: Tensor) -> Tensor:
        if _scope(types, name) != "node" or not x.dim() or _is_edge_index(types, name):
            return x
        last = x[:1].clone()
        if types[name].kind == "point":
            last = x.amax(0, keepdim=True) + distance
        return torch.cat([x, last])

    return {n: move(n, x) if isinstance(x, Tensor) else x for n, x in inputs.items()}


def spread(inputs: Inputs, types: Types, distance: float) -> dict[str, Any]:
    """Return the graph with its points on a line, ``distance`` apart."""

    def move(name: str, x: Tensor) -> Tensor:
        if name not in types or types[name].kind != "point":
            return x
        steps = distance * torch.arange(x.shape[0], dtype=x.dtype)
        return steps[:, None] * torch.ones_like(x)

    return {n: move(n, x) if isinstance(x, Tensor) else x for n, x in inputs.items()}


def pair(
    inputs: Inputs, types: Types, r: Tensor, direction: Tensor, *, bonded: bool
) -> dict[str, Any] | None:
    """Return two nodes of one graph at distance ``r``, differentiable in it, or None where no input is a distance.

    Args:
        inputs: the graph they come from.
        types: types of its tensors.
        r: distance, a scalar.
        direction: unit vector from node 0 to node 1.
        bonded: whether the two edges between them are there.
    """
    index = edge_index_of(inputs, types)
    nodes = nodes_of(inputs, types)
    told = False
    if nodes is None:
        two = {n: x[:2] if isinstance(x, Tensor) and x.dim() else x for n, x in inputs.items()}
    else:
        batch = inputs.get("batch")
        keep = torch.arange(nodes) if not isinstance(batch, Tensor) else (batch == batch[0]).nonzero()[:, 0]
        two = chosen(inputs, types, keep[:2], edges=False)
    rows = torch.zeros(2, dtype=torch.int64) if bonded else torch.zeros(0, dtype=torch.int64)
    for name, x in inputs.items():
        if not isinstance(x, Tensor) or name not in types:
            continue
        t = types[name]
        if t.kind == "point":
            two[name] = torch.stack([0.0 * r * direction, r * direction]).to(x.dtype)
            told = True
        elif _is_edge_index(types, name):
            two[name] = torch.tensor([[0, 1], [1, 0]])[:, : len(rows)]
        elif t.scope == "edge" and t.kind == "vector":
            two[name] = torch.stack([r * direction, -r * direction]).to(x.dtype)[: len(rows)]
            told = True
        elif t.scope == "edge" and name in DISTANCES:
            # Without nodes the rows are the only output: they stay, whatever the distance.
            two[name] = torch.stack([r, r]).to(x.dtype)[: len(rows) if nodes is not None else 2]
            told = True
        elif t.scope == "edge" and index is not None and x.dim():
            two[name] = x[rows]
    return two if told else None
