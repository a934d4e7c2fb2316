"""Nested Python values as JSON plus tensors, without pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geomlib.errors import CheckpointError, InvalidInput

__all__ = ["decode_tree", "encode_tree"]

_MAX_DEPTH = 100
_ODD_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode_tree(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested values into a JSON-able structure and named tensors.

    dict (any mapping becomes a dict, keys and their order are kept), list, tuple, int, float (also nan and
    inf), str, bool, None and tensors. Everything else is refused: nothing is guessed, nothing is pickled.

    Returns:
        The structure and the tensors ``t0``, ``t1``, ..., each on the CPU and contiguous.

    Raises:
        InvalidInput: a value of another type, named by its place in the tree.

    Example:
        >>> structure, tensors = encode_tree({"a": [1, (2.5, None)]})
        >>> structure
        {'d': [['a', {'l': [1, {'u': [2.5, None]}]}]]}
    """
    tensors: dict[str, Tensor] = {}
    return _encode(tree, tensors, "tree", 0), tensors


def _encode(value: Any, tensors: dict[str, Tensor], where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise InvalidInput(
            f"save_tree: {where[:80]}... is nested more than {_MAX_DEPTH} deep; does it contain itself?"
        )
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InvalidInput(
                f"save_tree: {where} is a {value.layout} tensor on {value.device}, expected a dense one."
            )
        name = f"t{len(tensors)}"
        # A copy of its own: views of one storage would otherwise be refused or stored twice.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"t": name}
    if isinstance(value, Mapping):
        return {
            "d": [
                [_encode_key(k, where), _encode(v, tensors, f"{where}[{k!r}]", depth + 1)]
                for k, v in value.items()
            ]
        }
    if type(value) in (list, tuple):
        items = [_encode(v, tensors, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
        return {"l" if type(value) is list else "u": items}
    raise InvalidInput(
        f"save_tree: {where} is a {type(value).__module__}.{type(value).__qualname__}; expected dict, list, "
        "tuple, int, float, str, bool, None or a tensor. Convert it first; objects are never pickled."
    )


def _encode_key(key: Any, where: str) -> Any:
    if key is None or type(key) in (str, int, bool):
        return key
    raise InvalidInput(
        f"save_tree: {where} has a key of type {type(key).__qualname__}, expected str, int, bool or None."
    )


def decode_tree(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild what :func:`encode_tree` split.

    Raises:
        CheckpointError: the structure is not one of ours.
    """
    try:
        return _decode(structure, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the structure of the file cannot be read ({type(error).__name__}: {error})."
        ) from None


def _decode(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    pairs: list[tuple[str, Any]] = list(node.items()) if isinstance(node, dict) else []
    ((tag, value),) = pairs
    if tag == "t":
        return tensors[value]
    if tag == "f":
        return _ODD_FLOATS[value]
    if tag == "l":
        return [_decode(v, tensors) for v in value]
    if tag == "u":
        return tuple(_decode(v, tensors) for v in value)
    if tag == "d":
        return {k: _decode(v, tensors) for k, v in value}
    raise ValueError(f"unknown entry {str(node)[:40]!r}")
