"""Where the inputs of the trials come from: the target's ``example``, the caller, or the types alone."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from math import comb
from typing import Any, cast

import torch
from torch import Generator, Tensor

from geomlib.algebra.symmetry import TensorType, parse_type
from geomlib.errors import InvalidInput
from geomlib.verify.arguments import normalized
from geomlib.verify.values import Leaves, Tree, last_name, leaves, map_leaves

__all__ = ["Draw", "example_of", "infer_types", "invented", "jittered", "scaled", "spacing"]

#: Gives inputs from a generator; called once per trial.
Draw = Callable[[torch.Generator], Tree]

#: Names whose meaning every library of the field shares.
_KNOWN = {
    "pos": "node:point",
    "z": "node:inv",
    "atomic_numbers": "node:inv",
    "species": "node:inv",
    "batch": "node:index",
    "edge_index": "edge:index",
    "cell": "graph:cell",
    "natoms": "graph:inv",
    "ptr": "inv",
}  # fmt: skip
_NODES = 10


def example_of(target: Any) -> Draw | None:
    """Return a source of inputs from the target's classmethod ``example``, if it has one that fits.

    An example is made for its own instance: where that declares other types than the target (an instance of other irreps),
    None is returned. A method ``example_inputs(generator)`` gives inputs for the very instance, and goes first.
    """
    inputs = getattr(target, "example_inputs", None)
    if callable(inputs):
        return lambda generator: normalized(target, inputs(generator))
    example = getattr(target, "example", None)
    if not callable(example):
        return None
    try:
        instance = cast("tuple[Any, Any]", example(Generator().manual_seed(0)))[0]
    except AttributeError:  # a wrapper around something that has none
        return None
    theirs, ours = (getattr(getattr(t, "symmetry", None), "inputs", None) for t in (instance, target))
    if theirs is not None and ours is not None and dict(theirs) != dict(ours):
        return None
    return lambda generator: normalized(target, cast("tuple[Any, Any]", example(generator))[1])


def jittered(base: Tree, types: Mapping[str, TensorType]) -> Draw:
    """Return variations of one given input: floats change by a tenth, invariant node rows are shuffled."""
    near = spacing(leaves(base), types)

    def draw(generator: Generator) -> Tree:
        def vary(name: str, x: Tensor) -> Tensor:
            t = types.get(name)
            if t is None or t.kind == "index":
                return x
            if x.is_floating_point() and t.kind != "inv":
                return _varied(x, t, near, generator)
            if t.kind == "inv" and t.scope == "node" and x.dim() > 0:
                return x[torch.randperm(x.shape[0], generator=generator).to(x.device)]
            return x

        return map_leaves(base, vary)

    return draw


def _varied(x: Tensor, t: TensorType, near: float | None, generator: Generator) -> Tensor:
    if t.kind == "point" and near is not None:
        return x + 0.1 * near * torch.randn(x.shape, generator=generator).to(x)
    if t.kind in (
        "sym2",
        "spd",
    ):  # a congruence keeps symmetric matrices symmetric and positive ones positive
        m = torch.eye(x.shape[-1]) + 0.1 * torch.randn(*x.shape, generator=generator)
        return m.to(x) @ x @ m.to(x).mT
    if t.kind == "grassmann":
        a = 0.1 * torch.randn(*x.shape[:-2], x.shape[-2], x.shape[-2], generator=generator)
        q = torch.linalg.matrix_exp(a - a.mT).to(x)
        return q @ x @ q.mT if x.shape[-1] == x.shape[-2] else q @ x
    return x * (1.0 + 0.1 * torch.randn(x.shape, generator=generator).to(x))


def spacing(found: Leaves, types: Mapping[str, TensorType]) -> float | None:
    """Return the median distance between nearest points, or a short edge vector; ``None`` without either."""
    for name, t in types.items():
        if t.kind == "point" and name in found and found[name].dim() == 2 and len(found[name]) > 1:
            # A large system is judged by its first few hundred points.
            x = found[name][:512].detach().double()
            d = torch.cdist(x, x).fill_diagonal_(float("inf")).amin(1)
            d = d[d > 0]
            return float(d.median()) if d.numel() else None
    for name, t in types.items():
        if t.scope == "edge" and t.kind == "vector" and name in found and found[name].numel():
            lengths = found[name].detach().double().norm(dim=-1)
            return float(lengths.quantile(0.2)) or None
    return None


def invented(types: Mapping[str, TensorType], dim: int = 3) -> Draw:
    """Return random inputs made from the types alone: ten nodes, all of them connected, one graph.

    Args:
        types: type of every argument.
        dim: dimension of space.

    Raises:
        InvalidInput: an invariant argument whose values cannot be guessed.
    """
    has_index = any(t.kind == "index" and name != "batch" for name, t in types.items())

    def draw(generator: Generator) -> Tree:
        i, j = torch.meshgrid(torch.arange(_NODES), torch.arange(_NODES), indexing="ij")
        edge_index = torch.stack([i[i != j], j[i != j]])
        tree: Tree = {}
        for name, t in types.items():
            rows = edge_index.shape[1] if t.scope == "edge" else 1 if t.scope in ("graph", "cell") else _NODES
            if t.scope is None and has_index:
                rows = _NODES
            if name == "batch":
                tree[name] = torch.zeros(_NODES, dtype=torch.long)
            elif t.kind == "index":
                tree[name] = edge_index
            elif t.kind == "inv" and name in ("z", "species", "atomic_numbers"):
                tree[name] = torch.randint(1, 9, (rows,), generator=generator)
            elif t.kind == "inv":
                raise InvalidInput(
                    f"verify: no values are known for `{name}` (type inv). Pass example={{...}}."
                )
            else:
                tree[name] = _made(t, rows, dim, generator)
        return tree

    return draw


def _made(t: TensorType, rows: int, dim: int, generator: Generator) -> Tensor:
    """Return random values of a type; matrices that must be positive, or projectors, are."""
    if t.kind == "spd":
        m = torch.randn(rows, t.args[0], t.args[0], generator=generator)
        return m @ m.mT / t.args[0] + 0.3 * torch.eye(t.args[0])
    if t.kind == "sym2":
        m = torch.randn(rows, dim, dim, generator=generator)
        return m + m.mT
    if t.kind == "grassmann":
        q = torch.linalg.qr(
            torch.randn(rows, t.args[0], t.args[1], generator=generator, dtype=torch.float64)
        )[0]
        return (q @ q.mT).float()
    if t.kind == "perm":
        return torch.randn(*[_NODES] * t.order, *([4] if t.scope == "node" else []), generator=generator)
    if t.kind == "simplex":
        return torch.tensor(list(combinations(range(_NODES), t.order + 1))).T if t.scope is None else torch.randn(
            comb(_NODES, t.order + 1), 4, generator=generator
        )  # fmt: skip
    return torch.randn(rows, *_shape(t, dim), generator=generator)


def _shape(t: TensorType, dim: int) -> tuple[int, ...]:
    if t.kind in ("irreps", "mv"):
        return (t.dim or 0,)
    if t.kind == "cell":
        return (dim, dim)
    if t.kind == "tensor":
        return (dim,) * t.order
    if t.kind == "blocks":
        return (t.args[0] * dim,) * 2
    return {"scalar": (), "pseudoscalar": (), "cartesian": (9, 4), "columns": (dim, 4)}.get(t.kind, (dim,))


def infer_types(tree: Tree, given: Mapping[str, TensorType]) -> tuple[dict[str, TensorType], list[str]]:
    """Return a type for every tensor of the inputs, and warnings for the tensors whose type is unknown.

    Args:
        tree: the inputs.
        given: declared types by the paths of the tensors, see `geomlib.verify.arguments.resolved`.

    Raises:
        InvalidInput: a type is given for something that is not among the inputs.
    """
    found = leaves(tree)
    types = {name: t for name, t in given.items() if name in found}
    absent = [name for name in given if name not in found and tree.get(name, name) is not None]
    if absent and not types:
        raise InvalidInput(f"verify: types are given for {absent}, the inputs are {sorted(found)}.")
    warnings = [f"input `{name}` is typed but absent from the inputs: not tested" for name in absent]
    for name, x in found.items():
        known = _KNOWN.get(last_name(name))
        if name in types or (known is None and x.dim() == 0):
            continue
        if known is not None:
            types[name] = parse_type(known).named(last_name(name))
    counts = _counts(found, types)
    for name, x in found.items():
        if name not in types and x.dim():
            warnings += _untyped(name, x, counts)
    return types, warnings


def _counts(found: Leaves, types: Mapping[str, TensorType]) -> dict[str, int]:
    """Return how many nodes, edges and graphs there are, as far as typed tensors say."""
    counts: dict[str, int] = {}
    for name, t in types.items():
        x = found[name]
        if t.scope is not None and x.dim() and t.kind not in ("perm", "simplex"):
            scope = "graph" if t.scope == "cell" else t.scope
            counts.setdefault(scope, x.shape[-1] if t.kind == "index" else x.shape[0])
    return counts


def _untyped(name: str, x: Tensor, counts: Mapping[str, int]) -> list[str]:
    """Return a warning for a tensor without a type, with the usual mistake."""
    scope = next((s for s in ("edge", "node") if counts.get(s) == x.shape[0] and x.shape[0] > 1), "")
    prefix = f"{scope}:" if scope else ""
    shape = f"input `{name}` of shape {tuple(x.shape)} has no type"
    if not x.is_floating_point():
        rows = f"{shape}: its rows do not follow a permutation of the nodes; type it 'node:inv'"
        return [rows] if scope == "node" and x.dtype != torch.bool else []
    if x.dim() > 1 and x.shape[-1] == 3 and x.shape[-2] == 3:
        return [
            f"{shape}: {last_name(name)} is 3 x 3 and is treated as invariant; three columns are usually a vector, "
            "and a cell must turn with the positions: type it 'graph:cell'"
        ]
    if x.dim() > 1 and x.shape[-1] == 3:
        return [
            f"{shape}: {last_name(name)} has 3 columns and is treated as invariant; three columns are usually a "
            f"vector: type it '{prefix}vector'"
        ]
    return [f"{shape}: treated as invariant" + (f"; type it '{prefix}inv' if it is" if scope else "")]


def scaled(tree: Tree, types: Mapping[str, TensorType], amplitude: float) -> Tree:
    """Return the inputs with every float that is not ``inv`` multiplied by the amplitude.

    Beside a cell, lengths are only scaled up: else the images would be countless. Projectors keep their size.
    """
    shrinkable = not any(types[name].kind == "cell" for name in leaves(tree) if name in types)

    def scale(name: str, x: Tensor) -> Tensor:
        t = types.get(name)
        if t is None or not x.is_floating_point() or t.kind in ("inv", "grassmann"):
            return x
        if t.kind in ("point", "cell") and amplitude < 1.0 and not shrinkable:
            return x
        return x * amplitude

    return map_leaves(tree, scale)
