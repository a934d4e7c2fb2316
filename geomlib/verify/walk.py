"""Everything registered, found by name only when asked: the verifier itself needs nothing but ``algebra``."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput

__all__ = ["Subject", "names", "subjects"]


@dataclass(frozen=True)
class Subject:
    """One registered layer or model.

    Args:
        name: ``layers.TensorEmbedding`` or ``zoo.tensornet``.
        example: gives an instance and one set of inputs.
    """

    name: str
    example: Callable[[torch.Generator], tuple[nn.Module, dict[str, Any]]]

    def build(self, seed: int = 0) -> tuple[nn.Module, dict[str, Any], Symmetry]:
        """Return a seeded instance, its inputs and its declaration."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module, inputs = self.example(torch.Generator().manual_seed(seed))
        declared = getattr(module, "symmetry", None)
        if not isinstance(declared, Symmetry):
            raise InvalidInput(f"{self.name}: `symmetry` is {type(declared).__name__}, expected a Symmetry.")
        return module, dict(inputs), declared


def subjects() -> Iterator[Subject]:
    """Yield every public layer and every registered model.

    Raises:
        InvalidInput: a public module without ``example``.
    """
    layers = _optional("geomlib.layers")
    for name in sorted(getattr(layers, "__all__", ())):
        found = getattr(layers, name)
        if isinstance(found, type) and issubclass(found, nn.Module) and not _abstract(found):
            yield _subject(f"layers.{name}", found)
    registry = _optional("geomlib.zoo.registry")
    if registry is not None:
        for name in registry.list_models():
            yield _subject(f"zoo.{name}", registry.model_class(name))


def names() -> list[str]:
    """Return the names of all subjects, without building layers."""
    return [subject.name for subject in subjects()]


def _subject(name: str, found: type[Any]) -> Subject:
    example = getattr(found, "example", None)
    if not callable(example) or not hasattr(found, "symmetry"):
        raise InvalidInput(
            f"{name}: a public module needs the property `symmetry` and the classmethod `example`."
        )
    return Subject(name, example)  # pyright: ignore[reportArgumentType]


def _abstract(found: type[Any]) -> bool:
    """Return whether a class is only a base: it says so by leaving out ``example`` and having subclasses."""
    return not hasattr(found, "example") and bool(found.__subclasses__())


def _optional(name: str) -> Any:
    """Import a sibling package if this installation has it; ``algebra`` and ``verify`` can be used alone."""
    parent = name.rpartition(".")[0]
    if parent != "geomlib" and importlib.util.find_spec(parent) is None:
        return None
    return None if importlib.util.find_spec(name) is None else importlib.import_module(name)
