"""Moves: what is done to the inputs, and what must then happen to the outputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.representations import act
from geomlib.algebra.symmetry import TensorType
from geomlib.verify.target import GRADIENT, gradient_type
from geomlib.verify.values import Leaves, Tree, leaves, map_leaves

__all__ = ["Move", "Types", "batch_gap", "batch_split", "by_element", "num_edges", "num_nodes", "strided"]

Types = Mapping[str, TensorType]


def _first(found: list[Leaves]) -> Leaves:
    return found[0]


def _same(outputs: Leaves) -> Leaves:
    return outputs


@dataclass(frozen=True)
class Move:
    """A change of the inputs with the change of the outputs that it must cause.

    Args:
        label: for reports.
        inputs: gives the moved inputs, several where a batch is taken apart.
        expected: gives the moved outputs from the outputs of the unmoved inputs.
        joined: gives one table of outputs from those of the moved inputs.
    """

    label: str
    inputs: Callable[[Tree], list[Tree]]
    expected: Callable[[Leaves], Leaves] = _same
    joined: Callable[[list[Leaves]], Leaves] = _first


def by_element(g: Element, inputs: Types, outputs: Types) -> Move:
    """Return the move of one group element."""

    def output_type(name: str) -> TensorType | None:
        if name.startswith(GRADIENT):
            found = inputs.get(name.removeprefix(GRADIENT))
            return None if found is None else gradient_type(found)
        return outputs.get(name)

    def moved_output(name: str, x: Tensor) -> Tensor:
        t = output_type(name)
        return x if t is None else act(t, g, x, name=name)

    def moved_input(name: str, x: Tensor) -> Tensor:
        t = inputs.get(name)
        return x if t is None else act(t, g, x, name=name)

    return Move(
        g.label,
        lambda tree: [map_leaves(tree, moved_input)],
        lambda found: {name: moved_output(name, x) for name, x in found.items()},
    )


def strided() -> Move:
    """Return the move that changes only the memory layout: every float input becomes non-contiguous."""

    def spread(_: str, x: Tensor) -> Tensor:
        # A transposed layout survives copies and casts; one with gaps would be closed by the next clone.
        return x.mT.contiguous().mT if x.is_floating_point() and x.dim() > 1 else x

    return Move("not contiguous", lambda tree: [map_leaves(tree, spread)])


def num_nodes(found: Leaves, types: Types) -> int | None:
    """Return the number of rows of the first node-scoped tensor."""
    for name, x in found.items():
        t = types.get(name)
        if t is not None and t.scope == "node" and x.dim() > 0:
            return x.shape[0]
    return None


def num_edges(found: Leaves, types: Types) -> int | None:
    """Return the number of edges of the first edge-scoped tensor."""
    for name, x in found.items():
        t = types.get(name)
        if t is not None and t.scope == "edge" and x.dim() > 0:
            return x.shape[-1] if t.kind == "index" else x.shape[0]
    return None


def _batch_of(tree: Tree) -> Tensor | None:
    batch = leaves(tree).get("batch")
    return batch if batch is not None and batch.numel() and int(batch.max()) > 0 else None


def batch_split(tree: Tree, inputs: Types, outputs: Types) -> Move | None:
    """Return the move that evaluates the graphs of a batch one by one, or None where there is one."""
    batch = _batch_of(tree)
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
            if name == "batch":
                return torch.zeros_like(x[nodes[b]])
            if t is None or t.scope is None:
                return x
            if t.scope == "node":
                return x[nodes[b]]
            if t.scope == "edge":
                return local[x[..., edges[b]]] if t.kind == "index" else x[edges[b]]
            return x[b : b + 1]

        return select

    def taken_apart(whole: Tree) -> list[Tree]:
        pieces = [map_leaves(whole, part(b)) for b in range(graphs)]
        return [{**p, "num_graphs": 1} if isinstance(p.get("num_graphs"), int) else p for p in pieces]

    def joined(pieces: list[Leaves]) -> Leaves:
        result: Leaves = {}
        for name in pieces[0]:
            rows = torch.cat([p[name] for p in pieces])
            t = _type_of(name, inputs, outputs)
            if t is not None and t.scope in ("node", "edge"):
                rows = rows[torch.argsort(torch.cat(nodes if t.scope == "node" else edges))]
            if t is not None and t.scope is not None:
                result[name] = rows
        return result

    return Move("graphs one by one", taken_apart, joined=joined)


def batch_gap(tree: Tree, inputs: Types, outputs: Types) -> Move | None:
    """Return the move that puts an empty graph after every graph but the last, or None without a batch."""
    batch = _batch_of(tree)
    if batch is None:
        return None
    graphs = int(batch.max()) + 1
    source = torch.arange(2 * graphs - 1, device=batch.device) // 2

    def widen(name: str, x: Tensor) -> Tensor:
        t = inputs.get(name)
        if name == "batch":
            return 2 * x
        return x[source] if t is not None and t.scope in ("graph", "cell") else x

    def spread(whole: Tree) -> list[Tree]:
        wide = map_leaves(whole, widen)
        return [{**wide, "num_graphs": len(source)} if isinstance(wide.get("num_graphs"), int) else wide]

    def picked(found: list[Leaves]) -> Leaves:
        scope = {name: _type_of(name, inputs, outputs) for name in found[0]}
        return {
            n: x[::2] if (t := scope[n]) and t.scope in ("graph", "cell") else x for n, x in found[0].items()
        }

    return Move("empty graphs between", spread, joined=picked)


def _type_of(name: str, inputs: Types, outputs: Types) -> TensorType | None:
    return inputs.get(name.removeprefix(GRADIENT)) if name.startswith(GRADIENT) else outputs.get(name)
