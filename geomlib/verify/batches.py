"""Moves of whole batches: taken apart, with empty graphs, with one graph spoilt."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geomlib.algebra.symmetry import TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.moves import Move, Types, output_type
from geomlib.verify.statistic import Evaluated, relative, tolerance
from geomlib.verify.target import COTANGENT, Target, WrongShape
from geomlib.verify.values import Leaves, Tree, last_name, leaves, map_leaves, with_entries

__all__ = [
    "batch_gap",
    "batch_of",
    "batch_split",
    "batch_tail",
    "counts_graphs",
    "graph_rows",
    "spoilt_graph",
]


def batch_of(tree: Tree) -> Tensor | None:
    """Return the vector ``batch`` of the inputs, wherever it is."""
    return next((x for name, x in leaves(tree).items() if last_name(name) == "batch"), None)


def _several(tree: Tree) -> Tensor | None:
    batch = batch_of(tree)
    return batch if batch is not None and batch.numel() and int(batch.max()) > 0 else None


def _ptr(batch: Tensor, graphs: int) -> Tensor:
    return torch.cat([batch.new_zeros(1), torch.bincount(batch, minlength=graphs).cumsum(0)])


def counts_graphs(tree: Tree, types: Types) -> bool:
    """Return whether the inputs say how many graphs there are, so that the last ones may be empty."""
    found = [n for n in leaves(tree) if not n.startswith(COTANGENT)]
    named = any(last_name(n) == "ptr" for n in found) or isinstance(tree.get("num_graphs"), int)
    return named or any(types[n].scope in ("graph", "cell") for n in found if n in types)


def graph_rows(x: Tensor, t: TensorType, graphs: int, rows: Tensor) -> Tensor:
    """Return some rows of a graph-level tensor; cells may be stacked as (3 B, 3), or one for all as (3, 3)."""
    if t.kind == "cell" and x.dim() == 2:
        return x.unflatten(0, (graphs, 3))[rows].flatten(0, 1) if x.shape[0] == 3 * graphs else x
    return x[rows] if x.dim() and x.shape[0] == graphs else x


def _with_graphs(tree: Tree, graphs: int) -> Tree:
    """Return the tree with its count of graphs and its boundaries brought up to date."""
    batch = batch_of(tree)
    new = {"num_graphs": graphs, "batch_size": graphs}
    whole = with_entries(tree, new)
    return whole if batch is None else with_entries(whole, {"ptr": _ptr(batch, graphs)})


def batch_split(tree: Tree, inputs: Types, outputs: Types) -> Move | None:
    """Return the move that evaluates the graphs of a batch one by one, or None where there is one."""
    batch = _several(tree)
    if batch is None:
        return None
    graphs = int(batch.max()) + 1
    found = leaves(tree)
    ends = [
        x for n, x in found.items() if n in inputs and inputs[n].kind == "index" and inputs[n].scope == "edge"
    ]
    owner = batch[ends[0].reshape(-1, ends[0].shape[-1])[0]] if ends else batch.new_zeros(0)
    nodes = [(batch == b).nonzero()[:, 0] for b in range(graphs)]
    edges = [(owner == b).nonzero()[:, 0] for b in range(graphs)]

    def part(b: int) -> Callable[[str, Tensor], Tensor]:
        local = torch.zeros_like(batch)
        local[nodes[b]] = torch.arange(len(nodes[b]), device=batch.device)

        def select(name: str, x: Tensor) -> Tensor:
            t = inputs.get(name)
            if last_name(name) == "batch":
                return torch.zeros_like(x[nodes[b]])
            if t is None or t.scope is None:
                return x
            if t.scope == "node":
                return x[nodes[b]]
            if t.scope == "edge":
                return local[x[..., edges[b]]] if t.kind == "index" else x[edges[b]]
            return graph_rows(x, t, graphs, torch.tensor([b], device=x.device))

        return select

    def taken_apart(whole: Tree) -> list[Tree]:
        return [_with_graphs(map_leaves(whole, part(b)), 1) for b in range(graphs)]

    def joined(pieces: list[Leaves]) -> Leaves:
        result: Leaves = {}
        for name in pieces[0]:
            t = output_type(name, inputs, outputs)
            if t is None or t.scope is None or any(name not in p or not p[name].dim() for p in pieces):
                continue
            rows = torch.cat([p[name] for p in pieces])
            if t.scope in ("node", "edge"):
                rows = rows[torch.argsort(torch.cat(nodes if t.scope == "node" else edges))]
            result[name] = rows
        return result

    return Move("graphs one by one", taken_apart, joined=joined)


def batch_gap(tree: Tree, inputs: Types, outputs: Types) -> Move | None:
    """Return the move that puts an empty graph after every graph but the last, or None without a batch."""
    batch = _several(tree)
    if batch is None:
        return None
    graphs = int(batch.max()) + 1
    source = torch.arange(2 * graphs - 1, device=batch.device) // 2
    return _widened("empty graphs between", tree, inputs, outputs, source, lambda x: 2 * x, slice(0, None, 2))


def batch_tail(tree: Tree, inputs: Types, outputs: Types) -> Move | None:
    """Return the move that appends an empty graph, or None where nothing says how many graphs there are."""
    batch = batch_of(tree)
    if batch is None or not batch.numel() or not counts_graphs(tree, inputs):
        return None
    graphs = int(batch.max()) + 1
    source = torch.tensor([*range(graphs), graphs - 1], device=batch.device)
    return _widened("empty graph at the end", tree, inputs, outputs, source, lambda x: x, slice(0, graphs))


def _widened(
    label: str,
    tree: Tree,
    inputs: Types,
    outputs: Types,
    source: Tensor,
    number: Callable[[Tensor], Tensor],
    kept: slice,
) -> Move:
    batch = batch_of(tree)
    graphs = 0 if batch is None else int(batch.max()) + 1

    def widen(name: str, x: Tensor) -> Tensor:
        t = inputs.get(name)
        if last_name(name) == "batch":
            return number(x)
        return graph_rows(x, t, graphs, source) if t is not None and t.scope in ("graph", "cell") else x

    def picked(found: list[Leaves]) -> Leaves:
        kept_rows: Leaves = {}
        for name, x in found[0].items():
            t = output_type(name, inputs, outputs)
            by_graph = t is not None and t.scope in ("graph", "cell") and x.dim() > 0
            if by_graph and x.shape[0] < len(source):
                raise WrongShape(
                    f"verify: output {name!r} has {x.shape[0]} rows for {len(source)} graphs. An empty graph needs "
                    "its row too: take the number of graphs from the inputs, not from the largest entry of `batch`."
                )
            kept_rows[name] = x[kept] if by_graph else x
        return kept_rows

    return Move(label, lambda whole: [_with_graphs(map_leaves(whole, widen), len(source))], joined=picked)


def spoilt_graph(target: Target, at: Evaluated, inputs: Types, outputs: Types) -> str | None:
    """Return what is wrong when the numbers of one graph become NaN: no other graph may change.

    Args:
        target: the callable.
        at: a batch of several graphs with its outputs, without gradients.
        inputs: types of the inputs.
        outputs: types of the outputs.
    """
    batch = _several(at.tree)
    if batch is None:
        return None
    last = int(batch.max())
    spoilt = batch == last

    def spoil(name: str, x: Tensor) -> Tensor:
        t = inputs.get(name)
        if t is None or t.scope != "node" or not x.is_floating_point():
            return x
        return torch.where(spoilt.reshape(-1, *[1] * (x.dim() - 1)), torch.full_like(x, float("nan")), x)

    tree = map_leaves(at.tree, spoil)
    if all(x is y for x, y in zip(leaves(tree).values(), leaves(at.tree).values(), strict=True)):
        return None
    try:
        found = target.wide(tree, gradients=False)
    except InvalidInput:
        return None
    except (
        RuntimeError,
        ValueError,
        IndexError,
    ):  # a NaN may be refused in many ways; a refusal leaks nothing
        return None
    for name, x in found.items():
        t = outputs.get(name)
        if t is None or t.scope not in ("node", "graph") or not x.dim() or x.shape != at.wide[name].shape:
            continue
        kept = ~spoilt if t.scope == "node" else torch.arange(len(x), device=x.device) != last
        a, b = x[kept].double(), at.wide[name][kept].double()
        size, d32 = float(b.norm()), float((at.narrow[name][kept].double() - b).norm())
        if not relative(float((a - b).norm()), size, 0.0) <= tolerance(
            relative(d32, size, 0.0) if size else 0.0
        ):
            return f"batch leakage: a NaN in graph {last} changes `{name}` of another graph of the batch"
    return None
