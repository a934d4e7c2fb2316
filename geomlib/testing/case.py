"""What a suite tests: one module, its inputs and its declaration, evaluated in both precisions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry, TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.inputs import infer_types, invented, jittered
from geomlib.verify.statistic import tolerance
from geomlib.verify.values import Leaves, map_leaves, outputs_of

__all__ = ["Case", "Declared", "build", "cast", "difference", "round_off"]


class Declared(nn.Module):
    """A module of somebody else's with the declaration that the suite gives it.

    Args:
        inner: the module.
        symmetry: what it promises.
        draw: gives one set of inputs from a generator.
    """

    def __init__(self, inner: nn.Module, symmetry: Symmetry, draw: Callable[[torch.Generator], Any]) -> None:
        super().__init__()
        self.inner, self._symmetry, self._draw = inner, symmetry, draw
        self.__name__ = type(inner).__name__

    @property
    def symmetry(self) -> Symmetry:
        """What the suite declares."""
        return self._symmetry

    def example(self, generator: torch.Generator) -> tuple[nn.Module, dict[str, Any]]:
        """Return the module and one set of inputs."""
        return self, dict(self._draw(generator))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        return self.inner(*args, **kwargs)


@dataclass(frozen=True)
class Case:
    """One module with inputs.

    Args:
        module: in evaluation mode, float32.
        inputs: keyword arguments.
        symmetry: its declaration.
    """

    module: nn.Module
    inputs: dict[str, Any]
    symmetry: Symmetry

    @property
    def types(self) -> dict[str, TensorType]:
        """Types of the input tensors, those of well-known names included."""
        return infer_types(self.inputs, self.symmetry.input_types())[0]

    @property
    def output_types(self) -> dict[str, TensorType]:
        """Types of the outputs."""
        return self.symmetry.output_types()

    @property
    def bare(self) -> nn.Module:
        """The module without the wrapper of the suite."""
        return self.module.inner if isinstance(self.module, Declared) else self.module

    def at(self, dtype: torch.dtype) -> nn.Module:
        """Return a copy of the module in another type; parameters are rounded to float32 first."""
        return copy.deepcopy(self.module).float().to(dtype).eval()

    def outputs(self, inputs: Mapping[str, Any], dtype: torch.dtype = torch.float64) -> Leaves:
        """Return the detached outputs in one type."""
        return {n: x.detach() for n, x in outputs_of(self.at(dtype)(**cast(inputs, dtype))).items()}


def build(
    layer: Any, seed: int, symmetry: Symmetry | None = None, inputs: Any = None, name: str = "layer"
) -> Case:
    """Return a seeded case from what the suite names.

    Args:
        layer: a class with ``example``, an instance, or a function of a generator that gives module and inputs.
        seed: of weights and inputs.
        symmetry: declaration, where the module has none.
        inputs: keyword arguments or a function of a generator, where the module has no ``example``.
        name: attribute of the suite, for messages.

    Raises:
        InvalidInput: nothing to test, or no declaration.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        module, found = _made(layer, generator, name)
        own = getattr(module, "symmetry", None)
        declared = symmetry if symmetry is not None else own
        if not isinstance(declared, Symmetry):
            raise InvalidInput(
                f"{type(module).__name__} declares no symmetry. Set `symmetry = Symmetry(group, inputs, outputs)` "
                "on the suite, or give the module a property `symmetry`."
            )
        draw = _source(module, declared, inputs, found, layer)
        found = dict(inputs) if isinstance(inputs, Mapping) else found
        found = dict(draw(generator)) if found is None else found
        if symmetry is not None or not callable(getattr(module, "example", None)) or inputs is not None:
            module = Declared(module, declared, draw)
    # Numbers that float32 can hold, so that both precisions see the same point.
    return Case(module.eval(), cast(found, torch.float32), declared)


def _made(layer: Any, generator: torch.Generator, name: str) -> tuple[nn.Module, dict[str, Any] | None]:
    if isinstance(layer, nn.Module):
        return copy.deepcopy(layer), None
    maker: Any = layer
    if isinstance(layer, type):
        maker = getattr(layer, "example", None)
        if maker is None:
            return layer(), None
    if not callable(maker):
        raise InvalidInput(
            f"{name} = {layer!r}: expected a class with `example`, a module, or a function of a generator that "
            "returns (module, inputs)."
        )
    made: Any = maker(generator)
    return made[0], dict(made[1])


def _source(
    module: nn.Module, declared: Symmetry, inputs: Any, found: dict[str, Any] | None, layer: Any
) -> Callable[[torch.Generator], Any]:
    if callable(inputs):
        return inputs
    if inputs is not None:
        types, _ = infer_types(dict(inputs), declared.input_types())
        return jittered(dict(inputs), types)
    own: Any = getattr(module, "example_inputs", None)
    if own is not None:
        return own
    example: Any = getattr(module, "example", None)
    if example is not None:
        return lambda generator: example(generator)[1]
    if found is not None:  # a function made module and inputs: it can do so again
        return lambda generator: layer(generator)[1]
    return invented(declared.input_types())


def cast(inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return copies of the inputs, floats in ``dtype``."""
    return map_leaves(
        dict(inputs), lambda _, x: x.detach().clone().to(dtype if x.is_floating_point() else x.dtype)
    )


def round_off(case: Case, inputs: Mapping[str, Any]) -> dict[str, float]:
    """Return, per output, the relative difference that an exact float64 computation may show."""
    wide, narrow = case.outputs(inputs), case.outputs(inputs, torch.float32)
    return {
        name: tolerance(
            float((narrow[name].double() - x.double()).norm()) / max(float(x.double().norm()), 1e-300)
        )
        for name, x in wide.items()
        if x.is_floating_point()
    }


def difference(a: Tensor, b: Tensor) -> float:
    """Return the relative difference of two tensors; 0 where both are zero."""
    a, b = a.detach().double(), b.detach().double()
    error = float((a - b).norm())
    return 0.0 if error == 0.0 else error / max(float(a.norm()), float(b.norm()), 1e-300)
