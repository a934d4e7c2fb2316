"""geomlib: equivariant and geometric deep learning for PyTorch.

Importing this package is cheap: ``torch`` and everything heavier are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geomlib._version import __version__
from geomlib.errors import CheckpointError, GeomlibError, InvalidInput, MissingDependency

if TYPE_CHECKING:
    from geomlib import verify
    from geomlib.zoo.registry import create_model, list_models

__all__ = [
    "CheckpointError",
    "GeomlibError",
    "InvalidInput",
    "MissingDependency",
    "__version__",
    "create_model",
    "list_models",
    "verify",
]

_LAZY = {"create_model": "geomlib.zoo.registry", "list_models": "geomlib.zoo.registry"}


def __getattr__(name: str) -> Any:
    if name == "verify":
        return importlib.import_module("geomlib.verify")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'geomlib' has no attribute {name!r}")
