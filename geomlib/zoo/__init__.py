"""Models: one file each, and the registry that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader
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

_LAZY = {"CapturedPotential": "captured", "TensorNet": "tensornet"}

__getattr__ = attribute_loader("geomlib.zoo", _LAZY)
