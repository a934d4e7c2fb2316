"""Arguments and results as flat tables of tensors, whatever containers they came in."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = [
    "Leaves",
    "Tree",
    "is_graph",
    "last_name",
    "leaves",
    "map_leaves",
    "narrowed",
    "outputs_of",
    "replaced",
    "rounded",
    "with_entries",
]

#: Arguments of the target, tensors, containers of tensors, or anything else (passed on as is): by keyword, by
#: position (``"0"``, ``"1"``), or a single container under ``""``, whose tensors then keep their own names.
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
    """Return the tensors of a result by name: ``out``, the position in a tuple, or the key in a container.

    Raises:
        InvalidInput: the result holds no tensor.
    """
    if isinstance(result, Tensor):
        return {"out": result}
    found = {} if result is None else leaves({"": result})
    found.pop("", None)
    if not found:
        raise InvalidInput(
            f"verify: the target returned {type(result).__name__}, expected tensors: one, a tuple or a dict. "
            "Wrap it, for example `lambda x: torch.as_tensor(f(x))`, or name the attribute that holds the tensor."
        )
    return found


def last_name(path: str) -> str:
    """Return the last part of a path, the name that the tensor goes by: ``pos`` of ``0.pos``."""
    return path.rpartition(".")[2]


def with_entries(tree: Tree, new: Mapping[str, Any]) -> Tree:
    """Return a copy of a tree in which entries of these last names are exchanged, tensors or not."""

    def change(path: str, value: Any) -> Any:
        return new.get(last_name(path), value)

    return cast(Tree, _rebuild(tree, "", change, everything=True))


def is_graph(value: Any) -> bool:
    """Return whether a value is a ``Data``, ``Batch`` or ``HeteroData`` of PyG, which is not imported for this."""
    return any(c.__module__.startswith("torch_geometric.data") for c in type(value).__mro__) and hasattr(
        value, "stores"
    )


def _graph_items(value: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield path, name, tensor and store of everything that a PyG graph holds."""
    for store in value.stores:
        key = getattr(store, "_key", None)
        prefix = "" if key is None else f"{'__'.join(key) if isinstance(key, tuple) else key}."
        for name, found in list(store.items()):
            yield prefix + str(name), str(name), found, store


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return ((str(k), v) for k, v in cast("Mapping[str, Any]", value).items())
    if is_graph(value):
        return ((path, found) for path, _, found, _ in _graph_items(value))
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


def _rebuild(value: Any, path: str, change: Callable[[str, Any], Any], *, everything: bool = False) -> Any:
    if isinstance(value, Tensor):
        return change(path, value)
    children = _children(value)
    if children is None:
        return change(path, value) if everything else value

    def rebuilt(name: str, child: Any) -> Any:
        return _rebuild(child, f"{path}.{name}" if path else name, change, everything=everything)

    if is_graph(value):
        made = copy.copy(value)
        for name, key, child, store in _graph_items(made):
            store[key] = rebuilt(name, child)
        for store in made.stores if everything else ():
            if "_num_graphs" in vars(store):  # what Batch.num_graphs returns
                vars(store)["_num_graphs"] = change("num_graphs", vars(store)["_num_graphs"])
        return made
    new = {name: rebuilt(name, child) for name, child in children}
    if isinstance(value, Mapping):
        return dict(zip(cast("Mapping[Any, Any]", value), new.values(), strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*new.values())  # a named tuple
    if isinstance(value, (list, tuple)):
        return type(value)(new.values())  # pyright: ignore[reportUnknownVariableType]
    return dataclasses.replace(value, **new)
