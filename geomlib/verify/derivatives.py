"""Whether the backward pass is the derivative of the forward pass."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch

from geomlib.verify.target import GRADIENT, Target
from geomlib.verify.values import Leaves, Tree, leaves, replaced

__all__ = ["derivative_error"]

#: Allowed relative difference between the backward pass and a central difference.
TOLERANCE = 1e-7
_STEPS = (1e-5, 1e-6, 1e-4)


def derivative_error(target: Target, tree: Tree, generator: torch.Generator) -> tuple[float, str] | None:
    """Return the relative difference between gradients and central differences, and the worst input.

    The best of three steps counts: neither truncation nor cancellation is taken for a wrong derivative.

    Args:
        target: the callable; its gradients must be switched on.
        tree: float64 inputs with cotangents.
        generator: draws the direction.
    """
    gradients = {n.removeprefix(GRADIENT): g for n, g in target.wide(tree).items() if n.startswith(GRADIENT)}
    worst: tuple[float, str] | None = None
    for name, gradient in gradients.items():
        x = leaves(tree)[name]
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        scale = float(x.square().mean().sqrt()) or 1.0
        analytic = float((gradient * direction).sum())
        size = float(torch.linalg.vector_norm(gradient) * torch.linalg.vector_norm(direction))
        errors = [
            _difference(target, tree, {name: x}, {name: direction}, step * scale, analytic, size)
            for step in _STEPS
        ]
        if worst is None or min(errors) > worst[0]:
            worst = (min(errors), name)
    return worst


def _difference(
    target: Target, tree: Tree, at: Leaves, along: Leaves, step: float, analytic: float, size: float
) -> float:
    (name, x), direction = next(iter(at.items())), next(iter(along.values()))
    plus, minus = (target.pairing(replaced(tree, {name: x + s * step * direction})) for s in (1.0, -1.0))
    # The outputs carry a few units of round-off, which the division by the step magnifies.
    numeric, rounding = (plus[0] - minus[0]) / (2.0 * step), 2.0**-50 * max(plus[1], minus[1]) / step
    return max(abs(numeric - analytic) - rounding, 0.0) / max(size, 1e-300)
