"""Derivatives by autograd beside central differences, variable by variable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomlib.testing.case import Case, cast
from geomlib.testing.measures import paired, variables
from geomlib.verify.values import outputs_of

__all__ = ["TOLERANCE", "Slope", "first_order_error", "force_error", "second_order_error"]

#: Allowed relative difference between autograd and a central difference; a wrong derivative shows as 1e-3 to 1.
TOLERANCE = 1e-7
_STEPS = (1e-4, 1e-5, 1e-3)
_REFUSALS = (
    "not implemented",
    "differentiate twice",
    "once_differentiable",
    "does not require grad",
    "second time",
)


@dataclass(frozen=True)
class Slope:
    """The worst difference found.

    Args:
        error: relative difference.
        variable: with respect to what.
        tested: number of variables.
    """

    error: float
    variable: str
    tested: int

    @property
    def ok(self) -> bool:
        """Whether autograd and differences agree, and something was compared."""
        return self.tested > 0 and self.error <= TOLERANCE

    def says(self, what: str) -> str:
        """Return the message of a failed test."""
        if not self.tested:
            return f"{what}: nothing is differentiable"
        return f"{what} with respect to `{self.variable}` differ from central differences by {self.error:.1e}"


class _Function:
    """A scalar of all variables, with its gradient."""

    def __init__(self, case: Case, seed: int, without: tuple[str, ...] = ()) -> None:
        self.without = without
        self.module, self.inputs, self.seed = case.at(torch.float64), cast(case.inputs, torch.float64), seed
        self.variables = variables(self.module, self.inputs, case)
        generator = torch.Generator().manual_seed(seed + 7)
        self.directions = {
            name: _unit(torch.randn(x.shape, dtype=torch.float64, generator=generator)) * _length(x)
            for name, x in self.variables.items()
        }

    def loss(self) -> Tensor | None:
        return paired(self.module(**self.inputs), self.seed, self.without)

    def value(self) -> float:
        found = self.loss()
        return 0.0 if found is None else float(found.detach())

    def gradient(self, *, again: bool = False) -> dict[str, Tensor]:
        loss = self.loss()
        if loss is None:
            return {}
        grads = torch.autograd.grad(
            loss, list(self.variables.values()), create_graph=again, allow_unused=True
        )
        return {n: g for n, g in zip(self.variables, grads, strict=True) if g is not None}

    def slope(self) -> Tensor | None:
        """Return the derivative of the scalar along the directions of all variables at once."""
        terms = [(g * self.directions[n]).sum() for n, g in self.gradient(again=True).items()]
        return torch.stack(terms).sum() if terms else None

    def numeric(self, name: str, step: float, value: Callable[[], float]) -> float:
        """Return the derivative along one variable's direction, from four values (error of order step^4)."""
        x, v = self.variables[name], self.directions[name]
        start = x.detach().clone()
        found: dict[float, float] = {}
        for k in (1.0, -1.0, 2.0, -2.0):
            with torch.no_grad():
                x.copy_(start + k * step * v)
            found[k] = value()
        with torch.no_grad():
            x.copy_(start)
        return (8.0 * (found[1.0] - found[-1.0]) - (found[2.0] - found[-2.0])) / (12.0 * step)


def first_order_error(case: Case, seed: int = 0) -> Slope:
    """Return the worst difference of the first derivatives, over all parameters and float inputs."""
    f = _Function(case, seed)
    return _worst(f, f.gradient(), f.value)


def second_order_error(case: Case, seed: int = 0, without: tuple[str, ...] = ()) -> Slope | None:
    """Return the worst difference of the derivatives of a slope, or None where there are none.

    Args:
        case: module and inputs.
        seed: of the directions.
        without: outputs left out, because they are derivatives themselves.
    """
    f = _Function(case, seed, without)
    try:
        slope = f.slope()
        if slope is None or not slope.requires_grad:
            return None
        grads = torch.autograd.grad(slope, list(f.variables.values()), allow_unused=True)
    except RuntimeError as error:
        if any(text in str(error) for text in _REFUSALS):
            return None
        raise
    found = {n: g for n, g in zip(f.variables, grads, strict=True) if g is not None and bool(g.any())}
    if not found:
        return None

    def value() -> float:
        terms = [float((g * f.directions[n]).sum()) for n, g in f.gradient().items()]
        return sum(terms)

    return _worst(f, found, value)


def force_error(case: Case, energy: str, forces: str, points: str, seed: int = 0) -> float:
    """Return the relative difference between forces and differences of the energy, along three directions."""
    module, inputs = case.at(torch.float64), cast(case.inputs, torch.float64)
    start = inputs[points]
    pull = outputs_of(module(**inputs))[forces].detach()
    errors: list[float] = []
    for k in range(3):
        v = torch.randn(start.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + k))
        best = float("inf")
        for step in _STEPS:
            found = {
                m: _total(module, {**inputs, points: start + m * step * v}, energy) for m in (1, -1, 2, -2)
            }
            numeric = -(8.0 * (found[1] - found[-1]) - (found[2] - found[-2])) / (12.0 * step)
            excess = abs(numeric - float((pull * v).sum())) - 2.0**-48 * abs(found[1]) / step
            best = min(best, max(excess, 0.0) / max(float(pull.norm() * v.norm()), 1e-300))
        errors.append(best)
    return max(errors)


def _total(module: Any, inputs: dict[str, Any], energy: str) -> float:
    return float(outputs_of(module(**inputs))[energy].detach().sum())


def _worst(f: _Function, grads: dict[str, Tensor], value: Callable[[], float]) -> Slope:
    worst, where, level = -1.0, "", abs(value())
    for name, g in grads.items():
        analytic = float((g * f.directions[name]).sum())
        size = float(g.norm() * f.directions[name].norm())
        errors: list[float] = []
        for (
            step
        ) in _STEPS:  # the best counts: neither truncation nor cancellation is taken for a wrong derivative
            excess = abs(f.numeric(name, step, value) - analytic) - 2.0**-48 * (level + size) / step
            errors.append(max(excess, 0.0) / max(size, 1e-300))
            if errors[-1] <= TOLERANCE:
                break
        if min(errors) > worst:
            worst, where = min(errors), name
    return Slope(max(worst, 0.0), where, len(grads))


def _unit(x: Tensor) -> Tensor:
    return x / x.norm().clamp_min(1e-300)


def _length(x: Tensor) -> float:
    return float(x.detach().norm()) or 1.0
