"""Names of the registered models that are interatomic potentials: energies, forces, atoms."""

from __future__ import annotations

from geomlib import list_models
from geomlib.zoo.potential import Potential
from geomlib.zoo.registry import model_class

__all__ = ["POTENTIALS"]

POTENTIALS = [name for name in list_models() if issubclass(model_class(name), Potential)]
