"""From what is typed in a shell to objects, groups and types. Imports no torch."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomlib.errors import InvalidInput

__all__ = ["load", "spelled", "types_of"]

_SCOPES = ("node", "edge", "graph", "cell")
_PRODUCT = re.compile(r"\s*[*×]\s*|\s+x\s+|(?<=[\dn)])x(?=[A-Z])")
_LETTERS = re.compile(r"(SO|SE|GL|SL|Sp|O|E|T)(\d+)")
_INDEXED = re.compile(r"([SACDTOI])(n|h|d|\d+)")


def spelled(group: str) -> str:
    """Return the group as `geomlib.algebra.parse_group` writes it: a shell makes parentheses hard to type.

    >>> spelled("E3xSn"), spelled("E(3) x S_n"), spelled("O3"), spelled("Oh")
    ('E(3)*S_n', 'E(3)*S_n', 'O(3)', 'O_h')
    """
    return "*".join(_factor(part) for part in _PRODUCT.split(group.strip()))


def _factor(text: str) -> str:
    plain = _LETTERS.fullmatch(text)
    if plain is not None:
        return f"{plain.group(1)}({plain.group(2)})"
    indexed = _INDEXED.fullmatch(text)
    return f"{indexed.group(1)}_{indexed.group(2)}" if indexed is not None else text


def types_of(entries: Sequence[str], single: str) -> dict[str, str]:
    """Return types by name; ``node:vector`` has a scope but no name.

    Args:
        entries: ``name:type``, or types alone in the order of the positional arguments.
        single: name of the only entry without a name.

    Raises:
        InvalidInput: a name given twice, or entries with and without names.

    >>> types_of(["z:inv", "pos:node:point"], "0")
    {'z': 'inv', 'pos': 'node:point'}
    >>> types_of(["node:0e", "1o"], "out")
    {'0': 'node:0e', '1': '1o'}
    """
    named: dict[str, str] = {}
    bare: list[str] = []
    for entry in entries:
        name, colon, rest = (part.strip() for part in entry.partition(":"))
        if colon and name not in _SCOPES:
            if name in named:
                raise InvalidInput(f"{entry!r}: the name {name!r} is given twice.")
            named[name] = rest
        else:
            bare.append(entry)
    if named and bare:
        raise InvalidInput(
            f"{bare[0]!r} has no name, but {next(iter(named))!r} has one. Name all of them or none."
        )
    return named or ({single: bare[0]} if len(bare) == 1 else {str(i): text for i, text in enumerate(bare)})


def load(text: str) -> Any:
    """Return the object named ``FILE.py:OBJECT``, an instance where it is a class.

    Raises:
        InvalidInput: no such file or object, or a class that cannot be built without arguments.
    """
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InvalidInput(f"target {text!r}: expected FILE.py:OBJECT, for example mylayers.py:MyLayer.")
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"target {text!r}: no file {path!r} in {Path.cwd()}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"target {text!r}: {path!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    found: Any = module
    for step in name.split("."):
        if not hasattr(found, step):
            public = [n for n in vars(module) if not n.startswith("_")]
            near = difflib.get_close_matches(step, public, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidInput(
                f"target {text!r}: {path} has no {name!r}.{hint} It defines {', '.join(public)}."
            )
        found = getattr(found, step)
    return _instance(found)


def _instance(found: Any) -> Any:
    if not isinstance(found, type):
        return found
    example = getattr(found, "example", None)
    if callable(example):
        import torch

        made: Any = example(torch.Generator().manual_seed(0))
        return made[0]
    try:
        return found()
    except TypeError as error:
        raise InvalidInput(
            f"{found.__name__} needs arguments ({error}). Name an instance, or give it an `example`."
        ) from None
