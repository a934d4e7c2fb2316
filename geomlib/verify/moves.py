"""Moves: what is done to the inputs, and what must then happen to the outputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.representations import act, count_nodes
from geomlib.algebra.symmetry import TensorType
from geomlib.verify.target import COTANGENT, GRADIENT, gradient_type
from geomlib.verify.values import Leaves, Tree, map_leaves

__all__ = ["Move", "Types", "by_element", "num_edges", "num_nodes", "output_type", "strided"]

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
        element: the group element, where there is one.
    """

    label: str
    inputs: Callable[[Tree], list[Tree]]
    expected: Callable[[Leaves], Leaves] = _same
    joined: Callable[[list[Leaves]], Leaves] = _first
    element: Element | None = None


def output_type(name: str, inputs: Types, outputs: Types) -> TensorType | None:
    """Return the type of an output or of a gradient, ``None`` where it has none."""
    if not name.startswith(GRADIENT):
        return outputs.get(name)
    found = inputs.get(name.removeprefix(GRADIENT))
    return None if found is None else gradient_type(found)


def by_element(g: Element, inputs: Types, outputs: Types, *, answer: Element | None = None) -> Move:
    """Return the move of one group element.

    Args:
        g: what is done to the inputs.
        inputs: types of the inputs.
        outputs: types of the outputs.
        answer: what must be done to the outputs, ``g`` unless a guess about them is being tried.
    """
    out = g if answer is None else answer

    def moved_output(name: str, x: Tensor) -> Tensor:
        t = output_type(name, inputs, outputs)
        return x if t is None else act(t, g if name.startswith(GRADIENT) else out, x, name=name)

    def moved_input(name: str, x: Tensor) -> Tensor:
        t = inputs.get(name)
        g_or_out = out if name.startswith(COTANGENT) else g
        return x if t is None else act(t, g_or_out, x, name=name.removeprefix(COTANGENT))

    return Move(
        g.label,
        lambda tree: [map_leaves(tree, moved_input)],
        lambda found: {name: moved_output(name, x) for name, x in found.items()},
        element=g,
    )


def strided() -> Move:
    """Return the move that changes only the memory layout: every float input becomes non-contiguous."""

    def spread(_: str, x: Tensor) -> Tensor:
        # A transposed layout survives copies and casts; one with gaps would be closed by the next clone.
        return x.mT.contiguous().mT if x.is_floating_point() and x.dim() > 1 else x

    return Move("not contiguous", lambda tree: [map_leaves(tree, spread)])


def num_nodes(found: Leaves, types: Types) -> int | None:
    """Return the number of nodes that the first tensor with an axis for them has."""
    for name, x in found.items():
        t = types.get(name)
        nodes = None if t is None else count_nodes(t, x)
        if nodes is not None:
            return nodes
    return None


def num_edges(found: Leaves, types: Types) -> int | None:
    """Return the number of edges of the first edge-scoped tensor."""
    for name, x in found.items():
        t = types.get(name)
        if t is not None and t.scope == "edge" and x.dim() > 0:
            return x.shape[-1] if t.kind == "index" else x.shape[0]
    return None
