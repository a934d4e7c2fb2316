"""How a target is called: arguments given in any container, types given by any of their names."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from torch import Tensor

from geomlib.algebra.symmetry import Outputs, TensorType, closest
from geomlib.errors import InvalidInput
from geomlib.verify.values import Leaves, Tree, is_graph, last_name, leaves

__all__ = ["call", "flat_types", "holds_tensors", "normalized", "resolved"]


def holds_tensors(value: Any) -> bool:
    """Return whether this is an example of the inputs and not a declaration of their types."""
    if value is None or isinstance(value, str):
        return False
    if isinstance(value, Tensor) or is_graph(value):
        return True
    if isinstance(value, Mapping):
        return any(holds_tensors(v) for v in cast("Mapping[str, Any]", value).values())
    if isinstance(value, (list, tuple)):
        return any(holds_tensors(v) for v in cast("list[Any]", value))
    return dataclasses.is_dataclass(value) and bool(leaves({"": value}))


def normalized(target: Callable[..., Any], example: Any) -> Tree:
    """Return an example as a tree of arguments.

    A dict holds keyword arguments, or is itself the only argument where the target takes no such keywords; a
    tuple holds positional arguments; anything else is the only argument.
    """
    if isinstance(example, Mapping):
        tree = {str(name): value for name, value in cast("Mapping[Any, Any]", example).items()}
        names = parameters(target)
        positional = all(name.isdigit() or name == "" for name in tree)
        if positional or names is None or set(tree) <= set(names) or "**" in names:
            return tree
        one = [name for name in names if name != "*"]
        if len(one) == 1 or not set(tree) & set(names):
            return {"": dict(cast("Mapping[Any, Any]", example))}
        return tree
    if isinstance(example, Tensor):
        return {"0": example}
    if isinstance(example, (list, tuple)) and not hasattr(example, "_fields"):
        return {str(i): value for i, value in enumerate(cast("list[Any]", example))}
    return {"": example}


def parameters(target: Callable[..., Any]) -> list[str] | None:
    """Return the names of the arguments, ``*`` and ``**`` for open ends; ``None`` where Python cannot tell."""
    function = getattr(target, "forward", target)
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(p.kind, p.name) for p in found]


def call(function: Callable[..., Any], tree: Tree) -> Any:
    """Call a function with a tree of arguments."""
    positions = sorted((n for n in tree if n == "" or n.isdigit()), key=lambda n: int(n or "0"))
    named = {n: value for n, value in tree.items() if n != "" and not n.isdigit()}
    return function(*(tree[n] for n in positions), **named)


def flat_types(types: Any, unnamed: str) -> dict[str, str]:
    """Return declared types by dotted name, whatever containers they came in.

    Raises:
        InvalidInput: something in it is not a string.

    >>> flat_types({"data": {"pos": "point"}, "w": ("vector", "inv")}, "0")
    {'data.pos': 'point', 'w.0': 'vector', 'w.1': 'inv'}
    """
    if isinstance(types, str):
        return {unnamed: types}
    if isinstance(types, Mapping):
        items: Iterable[tuple[Any, Any]] = cast("Mapping[Any, Any]", types).items()
    elif isinstance(types, (list, tuple)):
        items = enumerate(cast("list[Any]", types))
    else:
        raise InvalidInput(
            f"verify.check: a type is {type(types).__name__}, expected a string such as 'node:vector', or a dict, "
            "tuple or list of strings in the shape of the inputs or outputs."
        )
    found: dict[str, str] = {}
    for name, value in items:
        if isinstance(value, str):
            found[str(name)] = value
        else:
            found |= {
                f"{name}.{rest}" if name != "" else rest: t for rest, t in flat_types(value, "").items()
            }
    return found


def flat_outputs(outputs: Any) -> Outputs:
    """Return declared output types: a string for one tensor, else a flat dict."""
    return outputs if isinstance(outputs, str) else flat_types(outputs, "out")


def resolved(
    target: Callable[..., Any], given: Mapping[str, TensorType], found: Leaves, *, strict: bool
) -> tuple[dict[str, TensorType], list[str]]:
    """Return the declared types by the paths of the tensors, and the names of those that are not there.

    A type may be named by its path, by its last part where that is unique, or by the parameter of the signature.

    Args:
        target: the callable.
        given: types by the names the user chose.
        found: the tensors of the inputs.
        strict: whether a name without a tensor is an error; otherwise it is an optional argument.

    Raises:
        InvalidInput: a name that no tensor has, or none of them.
    """
    names = [n for n in parameters(target) or [] if not n.startswith("*")]
    types: dict[str, TensorType] = {}
    absent: list[str] = []
    for name, t in given.items():
        path = _path(name, found, names)
        if path is None:
            absent.append(name)
        else:
            types[path] = t.named(last_name(path))
    if absent and (strict or not types):
        hints = "".join(closest(name, [p for p in found if p not in types]) for name in absent[:1])
        raise InvalidInput(f"verify: types are given for {absent}, the inputs are {sorted(found)}.{hints}")
    return types, absent


def _path(name: str, found: Leaves, names: list[str]) -> str | None:
    head, _, rest = name.partition(".")
    as_position = [f"{names.index(head)}.{rest}".rstrip(".")] if head in names else []
    as_name = [f"{names[int(head)]}.{rest}".rstrip(".")] if head.isdigit() and int(head) < len(names) else []
    for path in (name, *as_position, *as_name, *([rest] if rest and (head == "0" or head in names) else [])):
        if path in found:
            return path
    ends = [path for path in found if path.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    return next(iter(found)) if name == "0" and len(found) == 1 else None
