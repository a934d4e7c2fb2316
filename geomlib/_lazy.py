"""Names of a package that are loaded on first use, so that importing the package stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

__all__ = ["attribute_loader", "fast_path", "register_fast_path"]

#: Operation of `algebra` to the module that computes it faster, or its name until it is first needed.
_FAST_PATHS: dict[str, str | ModuleType] = {}


def attribute_loader(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: its name.
        homes: for every name the submodule that defines it; a name that is its own home is a submodule.

    >>> list_models = attribute_loader("geomlib", {"list_models": "zoo.registry"})("list_models")
    >>> "tensornet" in list_models()
    True
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name]}")
        value = module if homes[name] == name else getattr(module, name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return load


def register_fast_path(operation: str, module: str) -> None:
    """Name the module that computes an operation of ``algebra`` faster; it is imported when first needed.

    ``algebra`` imports nothing above itself, so the package that knows both (``geomlib/__init__.py``) joins them.

    >>> register_fast_path("spectral", "geomlib.kernels.spectral")
    """
    _FAST_PATHS[operation] = module


def fast_path(operation: str) -> ModuleType | None:
    """Return the module that computes an operation faster, or None where none is registered.

    >>> fast_path("an operation without a fast path") is None
    True
    """
    found = _FAST_PATHS.get(operation)
    if isinstance(found, str):
        found = _FAST_PATHS[operation] = importlib.import_module(found)
    return found
