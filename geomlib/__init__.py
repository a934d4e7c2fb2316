"""geomlib: equivariant and geometric deep learning for PyTorch.

Importing this package is cheap: ``torch`` and everything heavier are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader, register_fast_path
from geomlib._version import __version__
from geomlib.errors import CheckpointError, GeomlibError, InvalidInput, MissingDependency

if TYPE_CHECKING:
    from geomlib import verify
    from geomlib.kernels.compile_forces import compile_forces
    from geomlib.zoo.registry import create_model, list_models

__all__ = [
    "CheckpointError",
    "GeomlibError",
    "InvalidInput",
    "MissingDependency",
    "__version__",
    "compile_forces",
    "create_model",
    "list_models",
    "verify",
]

_LAZY = {
    "compile_forces": "kernels.compile_forces",
    "create_model": "zoo.registry",
    "list_models": "zoo.registry",
    "verify": "verify",
}

__getattr__ = attribute_loader("geomlib", _LAZY)

register_fast_path("spectral", "geomlib.kernels.spectral")
