"""Models: one file each, and the registry that names them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geomlib.zoo.registry import create_model, list_models, model_card, model_class, register_model

if TYPE_CHECKING:
    from geomlib.zoo.captured import CapturedPotential
    from geomlib.zoo.tensornet import TensorNet

__all__ = [
    "CapturedPotential",
    "TensorNet",
    "create_model",
    "list_models",
    "model_card",
    "model_class",
    "register_model",
]

_LAZY = {"CapturedPotential": "geomlib.zoo.captured", "TensorNet": "geomlib.zoo.tensornet"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'geomlib.zoo' has no attribute {name!r}")
