"""Where the inputs of the trials come from: the target's ``example``, the caller, or the types alone."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from geomlib.algebra.symmetry import TensorType, parse_type
from geomlib.errors import InvalidInput
from geomlib.verify.values import Tree, leaves, map_leaves

__all__ = ["Draw", "example_of", "infer_types", "invented", "jittered", "scaled"]

#: Gives inputs from a generator; called once per trial.
Draw = Callable[[torch.Generator], Tree]

#: Names whose meaning every library of the field shares.
_KNOWN = {
    "pos": "node:point",
    "z": "node:inv",
    "batch": "node:index",
    "edge_index": "edge:index",
    "cell": "graph:cell",
}  # fmt: skip
_NODES = 10


def example_of(target: Any) -> Draw | None:
    """Return a source of inputs from the target's classmethod ``example``, if it has one."""
    example = getattr(target, "example", None)
    if not callable(example):
        return None
    return lambda generator: dict(cast("tuple[Any, Mapping[str, Any]]", example(generator))[1])


def jittered(base: Tree, types: Mapping[str, TensorType]) -> Draw:
    """Return variations of one given input: floats change by a tenth, invariant node rows are shuffled."""

    def draw(generator: torch.Generator) -> Tree:
        def vary(name: str, x: Tensor) -> Tensor:
            t = types.get(name)
            if t is None or t.kind == "index":
                return x
            if x.is_floating_point() and t.kind != "inv":
                noise = torch.randn(x.shape, generator=generator).to(x)
                return x * (1.0 + 0.1 * noise)
            if t.kind == "inv" and t.scope == "node" and x.dim() > 0:
                return x[torch.randperm(x.shape[0], generator=generator).to(x.device)]
            return x

        return map_leaves(base, vary)

    return draw


def invented(types: Mapping[str, TensorType]) -> Draw:
    """Return random inputs made from the types alone: ten nodes, all of them connected, one graph.

    Raises:
        InvalidInput: an invariant argument whose values cannot be guessed.
    """
    has_index = any(t.kind == "index" and name != "batch" for name, t in types.items())

    def draw(generator: torch.Generator) -> Tree:
        i, j = torch.meshgrid(torch.arange(_NODES), torch.arange(_NODES), indexing="ij")
        edge_index = torch.stack([i[i != j], j[i != j]])
        tree: Tree = {}
        for name, t in types.items():
            rows = edge_index.shape[1] if t.scope == "edge" else 1 if t.scope in ("graph", "cell") else _NODES
            if name == "batch":
                tree[name] = torch.zeros(_NODES, dtype=torch.long)
            elif t.kind == "index":
                tree[name] = edge_index
            elif t.kind == "inv" and name == "z":
                tree[name] = torch.randint(1, 9, (rows,), generator=generator)
            elif t.kind == "inv":
                raise InvalidInput(
                    f"verify: no values are known for `{name}` (type inv). Pass example={{...}}."
                )
            else:
                if t.scope is None and has_index:
                    rows = _NODES
                tree[name] = torch.randn(rows, *_shape(t), generator=generator)
        return tree

    return draw


def _shape(t: TensorType) -> tuple[int, ...]:
    if t.kind == "irreps":
        return (t.dim or 0,)
    if t.kind in ("sym2", "cell"):
        return (3, 3)
    if t.kind == "tensor":
        return (3,) * t.order
    return {"scalar": (), "pseudoscalar": (), "cartesian": (9, 4)}.get(t.kind, (3,))


def infer_types(tree: Tree, given: Mapping[str, TensorType]) -> tuple[dict[str, TensorType], list[str]]:
    """Return a type for every tensor of the inputs, and warnings for the tensors whose type is unknown.

    Raises:
        InvalidInput: a type is given for something that is not among the inputs.
    """
    found = leaves(tree)
    missing = sorted(set(given) - set(found))
    absent = [name for name in missing if name not in tree or tree[name] is not None]
    if absent and not any(name in found for name in given):
        raise InvalidInput(f"verify: types are given for {absent}, the inputs are {sorted(found)}.")
    types = {name: t for name, t in given.items() if name in found}
    warnings = [f"input `{name}` is typed but absent from the inputs: not tested" for name in absent]
    for name, x in found.items():
        if name in types:
            continue
        if name in _KNOWN:
            types[name] = parse_type(_KNOWN[name])
        elif x.is_floating_point():
            hint = "; three columns are usually a vector" if x.dim() > 1 and x.shape[-1] == 3 else ""
            warnings.append(
                f"input `{name}` of shape {tuple(x.shape)} has no type: treated as invariant{hint}"
            )
    return types, warnings


def _shrinkable(types: Mapping[str, TensorType], tree: Tree) -> bool:
    """Return whether lengths may be scaled down: not beside a cell, where the images would be countless."""
    return not any(types[name].kind == "cell" for name in leaves(tree) if name in types)


def scaled(tree: Tree, types: Mapping[str, TensorType], amplitude: float) -> Tree:
    """Return the inputs with every float that is not ``inv`` multiplied by the amplitude.

    Beside a cell, lengths are only scaled up.
    """
    shrinkable = _shrinkable(types, tree)

    def scale(name: str, x: Tensor) -> Tensor:
        t = types.get(name)
        if t is None or not x.is_floating_point() or t.kind == "inv":
            return x
        if t.kind in ("point", "cell") and amplitude < 1.0 and not shrinkable:
            return x
        return x * amplitude

    return map_leaves(tree, scale)
