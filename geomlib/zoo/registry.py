"""The models by name: ``create_model``, ``list_models`` and the cards that describe them."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
import json
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["create_model", "list_models", "model_card", "model_class", "register_model"]

T = TypeVar("T", bound="type[nn.Module]")

#: Models of the library and where they live; importing the module registers the class.
_MODULES = {
    "aut_network": "geomlib.zoo.aut_network",
    "cgenn_hull": "geomlib.zoo.cgenn_hull",
    "cgenn_lorentz": "geomlib.zoo.cgenn_lorentz",
    "cgenn_nbody": "geomlib.zoo.cgenn_nbody",
    "cgenn_o3": "geomlib.zoo.cgenn_o3",
    "cgenn_o5": "geomlib.zoo.cgenn_o5",
    "csmpn": "geomlib.zoo.csmpn",
    "equivariant_tensor_net": "geomlib.zoo.equivariant_tensor_net",
    "euclidean_kge": "geomlib.zoo.euclidean_kge",
    "gaanet": "geomlib.zoo.gaanet",
    "gca_gnn": "geomlib.zoo.gca_gnn",
    "gca_mlp": "geomlib.zoo.gca_mlp",
    "gca_resnet": "geomlib.zoo.gca_unet",
    "gca_unet": "geomlib.zoo.gca_unet",
    "grassmann_kge": "geomlib.zoo.grassmann_kge",
    "gyro_recurrent": "geomlib.zoo.gyro_recurrent",
    "gyro_spdnet": "geomlib.zoo.gyro_spdnet",
    "gyrogr_net": "geomlib.zoo.gyrogr_net",
    "hamiltonian_tensor_net": "geomlib.zoo.hamiltonian_tensor_net",
    "kign": "geomlib.zoo.kign",
    "moment_net": "geomlib.zoo.moment_net",
    "ppgn": "geomlib.zoo.ppgn",
    "spd_eegnet": "geomlib.zoo.spd_eegnet",
    "spd_kge": "geomlib.zoo.spd_kge",
    "spdnet": "geomlib.zoo.spdnet",
    "tensor_basis": "geomlib.zoo.tensor_basis",
    "tensornet": "geomlib.zoo.tensornet",
}
_CLASSES: dict[str, type[nn.Module]] = {}


def register_model(name: str) -> Callable[[T], T]:
    """Register a class under a name, so that :func:`create_model` and the test suite find it.

    Raises:
        InvalidInput: another class already has the name.

    >>> @register_model("my_model")
    ... class MyModel: ...
    >>> "my_model" in list_models()
    True
    """

    def add(cls: T) -> T:
        other = _CLASSES.get(name)
        if other is not None and other.__qualname__ != cls.__qualname__:
            raise InvalidInput(f"register_model: the name {name!r} is taken by {other.__qualname__}.")
        _CLASSES[name] = cls
        return cls

    return add


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all models that match a shell pattern, sorted.

    >>> list_models("tensorn*")
    ['tensornet']
    """
    return sorted(n for n in {*_MODULES, *_CLASSES} if fnmatch.fnmatch(n, pattern))


def model_class(name: str) -> type[nn.Module]:
    """Return the class registered under a name.

    Raises:
        InvalidInput: no such model; the message suggests the nearest name.
    """
    if name not in _CLASSES and name in _MODULES:
        importlib.import_module(_MODULES[name])
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, list_models(), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(
            f"model {name!r} is not registered.{hint} list_models() shows {', '.join(list_models())}."
        )
    return _CLASSES[name]


def create_model(name: str, **config: Any) -> nn.Module:
    """Build a model from its name and options.

    Args:
        name: one of :func:`list_models`.
        config: options of the model's constructor.

    Raises:
        InvalidInput: unknown name or option; the message suggests the nearest.

    >>> create_model("tensornet", channels=8, layers=1).config["channels"]
    8
    """
    cls = model_class(name)
    known = [p for p in inspect.signature(cls).parameters if p != "self"]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidInput(f"model {name!r} has no option {key!r}.{hint} It has: {', '.join(known)}.")
    return cls(**config)


def model_card(name: str) -> dict[str, Any]:
    """Return the card of a model: what it computes, its paper, and its measured results.

    Raises:
        InvalidInput: the model has no card.
    """
    path = resources.files("geomlib.zoo") / "cards" / f"{name}.json"
    if not path.is_file():
        raise InvalidInput(f"model {name!r} has no card.")
    return json.loads(path.read_text(encoding="utf-8"))
