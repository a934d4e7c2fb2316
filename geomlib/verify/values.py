"""Arguments and results as flat tables of tensors, whatever containers they came in."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["Leaves", "Tree", "leaves", "map_leaves", "narrowed", "outputs_of", "replaced", "rounded"]

#: Keyword arguments of the target: tensors, containers of tensors, or anything else (passed on as is).
Tree: TypeAlias = "dict[str, Any]"
#: Tensors by dotted path, ``pos`` or ``pairs.i``.
Leaves: TypeAlias = "dict[str, Tensor]"


def leaves(tree: Tree) -> Leaves:
    """Return every tensor of a tree by its path.

    >>> sorted(leaves({"a": torch.zeros(1), "b": {"c": torch.zeros(2)}, "d": 3}))
    ['a', 'b.c']
    """
    return {path: value for path, value in _walk(tree, "") if isinstance(value, Tensor)}


def map_leaves(tree: Tree, change: Callable[[str, Tensor], Tensor]) -> Tree:
    """Return a copy of a tree with every tensor replaced by ``change(path, tensor)``."""
    return cast(Tree, _rebuild(tree, "", change))


def replaced(tree: Tree, new: Mapping[str, Any]) -> Tree:
    """Return a copy of a tree with some tensors exchanged."""
    return map_leaves(tree, lambda path, value: new.get(path, value))


def rounded(tree: Tree) -> Tree:
    """Return the tree in float64 with every number rounded to one that float32 can hold."""
    return map_leaves(
        tree, lambda _, x: x.detach().float().double() if x.is_floating_point() else x.detach().clone()
    )


def narrowed(tree: Tree) -> Tree:
    """Return the tree in float32."""
    return map_leaves(tree, lambda _, x: x.detach().float() if x.is_floating_point() else x.detach().clone())


def outputs_of(result: Any) -> Leaves:
    """Return the tensors of a result by name: ``out``, the position in a tuple, or the key in a dict.

    Raises:
        InvalidInput: the result holds no tensor.
    """
    if isinstance(result, Tensor):
        return {"out": result}
    if isinstance(result, Mapping):
        found = leaves(dict(cast("Mapping[str, Any]", result)))
    elif isinstance(result, (list, tuple)):
        found = leaves({str(i): value for i, value in enumerate(cast("tuple[Any, ...]", result))})
    else:
        found = {}
    if not found:
        raise InvalidInput(
            f"verify: the target returned {type(result).__name__}, expected tensors: one, a tuple or a dict."
        )
    return found


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return ((str(k), v) for k, v in cast("Mapping[str, Any]", value).items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ((name, getattr(value, name)) for name in cast("tuple[str, ...]", value._fields))  # type: ignore[attr-defined]
    if isinstance(value, (list, tuple)):
        return ((str(i), v) for i, v in enumerate(cast("tuple[Any, ...]", value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init)
    return None


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = None if isinstance(value, Tensor) else _children(value)
    if children is None:
        yield path, value
        return
    for name, child in children:
        yield from _walk(child, f"{path}.{name}" if path else name)


def _rebuild(value: Any, path: str, change: Callable[[str, Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(path, value)
    children = _children(value)
    if children is None:
        return value
    new = {name: _rebuild(child, f"{path}.{name}" if path else name, change) for name, child in children}
    if isinstance(value, Mapping):
        return dict(zip(cast("Mapping[Any, Any]", value), new.values(), strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*new.values())  # a named tuple
    if isinstance(value, (list, tuple)):
        return type(value)(new.values())  # pyright: ignore[reportUnknownVariableType]
    return dataclasses.replace(value, **new)
