r"""Whether backward passes are derivatives: first order for inputs and weights, second order for force training.

A backward pass that is equivariant and wrong passes every test of symmetry. With random cotangents c, L(x) = <c, f(x)>,
and a random direction u, central differences must agree with what backward gives:

.. math::
    \langle\nabla L(x), u\rangle &= \frac{L(x + hu) - L(x - hu)}{2h} \\
    \nabla\langle\nabla L(x), u\rangle &= \frac{\nabla L(x + hu) - \nabla L(x - hu)}{2h}
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import cast

import torch
from torch import Tensor

from geomlib.verify.target import COTANGENT, Target
from geomlib.verify.values import Leaves, Tree, leaves, replaced

__all__ = ["STEPS", "TOLERANCE", "derivative_error", "second_derivative_error"]

#: Allowed relative difference between a backward pass and a central difference.
TOLERANCE = 1e-7
#: Steps in units of the size of the input; the best counts, so that neither truncation nor cancellation is blamed.
STEPS = (1e-5, 1e-6, 1e-4)
#: Round-off that a step divides: a few units of float64.
_ROUNDING = 2.0**-50
#: Second derivatives below this part of the gradient are judged as if they had that size: zero is known to round-off only.
_SMALL = 1e-2
WEIGHTS = "the weights"


def _weights(target: Target) -> list[Tensor]:
    found = (p for module in target.modules.values() for p in module.parameters())
    return list({id(p): p for p in found if p.requires_grad}.values())


def _gradients(
    target: Target, total: Tensor, wrt: list[Tensor], *, create_graph: bool = False
) -> list[Tensor]:
    with target.watch():
        found = torch.autograd.grad(total, wrt, create_graph=create_graph, allow_unused=True)
    maybe = cast("Sequence[Tensor | None]", found)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wrt, maybe, strict=True)]


def _norm(found: list[Tensor]) -> float:
    return float(sum((x.detach().double().square().sum() for x in found), torch.zeros(())).sqrt())


def _pairing(target: Target, tree: Tree, names: list[str]) -> tuple[float, float]:
    """Return the sum of outputs times cotangents and the size of its terms."""
    with torch.no_grad():
        found = target.raw(tree)
    pairs = [(found[n].double(), tree[COTANGENT + n]) for n in names]
    value = sum(float((x * c).sum()) for x, c in pairs)
    return value, sum(float(x.norm() * c.norm()) for x, c in pairs)


def derivative_error(target: Target, tree: Tree, generator: torch.Generator) -> tuple[float, str] | None:
    """Return the relative difference between gradients and central differences, and the worst variable.

    The variables are the inputs one by one, and all weights together. ``None`` where there is no gradient.

    Args:
        target: the callable; its gradients must be switched on.
        tree: float64 inputs with cotangents.
        generator: draws the directions.
    """
    wrt, found, total = target.graph(tree)
    if total is None:
        return None
    names = [n for n, x in found.items() if x.requires_grad and COTANGENT + n in tree]
    weights = _weights(target)
    try:
        gradients = _gradients(target, total, [*wrt.values(), *weights])
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        return None
    worst: tuple[float, str] | None = None
    for name, gradient in zip(wrt, gradients, strict=False):
        x = leaves(tree)[name]
        u = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)

        def moved(step: float, name: str = name, x: Tensor = x, u: Tensor = u) -> tuple[float, float]:
            return _pairing(target, replaced(tree, {name: x + step * u}), names)

        error = _best(moved, float((gradient * u).sum()), float(gradient.norm() * u.norm()), _scale([x]))
        worst = (error, f"`{name}`") if worst is None or error > worst[0] else worst
    if weights:
        inner = gradients[len(wrt) :]
        u = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p) for p in weights]

        def shifted(step: float) -> tuple[float, float]:
            with _at(weights, u, step):
                return _pairing(target, tree, names)

        analytic = float(sum((g * d).sum() for g, d in zip(inner, u, strict=True)))
        error = _best(shifted, analytic, _norm(inner) * _norm(u), _scale(weights))
        worst = (error, WEIGHTS) if worst is None or error > worst[0] else worst
    return worst


class _at:  # noqa: N801 - used like a function
    """Inside, the weights are moved along a direction."""

    def __init__(self, weights: list[Tensor], along: list[Tensor], step: float):
        self.weights, self.along, self.step = weights, along, step
        self.kept = [p.detach().clone() for p in weights]

    def __enter__(self) -> None:
        with torch.no_grad():
            for p, d in zip(self.weights, self.along, strict=True):
                p.add_(self.step * d)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for p, old in zip(self.weights, self.kept, strict=True):
                p.copy_(old)


def _scale(found: list[Tensor]) -> float:
    count = sum(x.numel() for x in found)
    return _norm(found) / count**0.5 if count and _norm(found) else 1.0


def _best(moved: Callable[[float], tuple[float, float]], analytic: float, size: float, scale: float) -> float:
    errors: list[float] = []
    for step in (s * scale for s in STEPS):
        plus, minus = moved(step), moved(-step)
        numeric, rounding = (plus[0] - minus[0]) / (2.0 * step), _ROUNDING * max(plus[1], minus[1]) / step
        errors.append(max(abs(numeric - analytic) - rounding, 0.0) / max(size, 1e-300))
        if errors[-1] <= TOLERANCE:
            break
    return min(errors)


def second_derivative_error(
    target: Target, tree: Tree, generator: torch.Generator, skip: Collection[str] = ()
) -> tuple[float, str] | str | None:
    """Return the error of the gradient of a gradient, as training on forces needs it.

    Args:
        target: the callable; its gradients must be switched on.
        tree: float64 inputs with cotangents.
        generator: draws the direction.
        skip: outputs that are derivatives already.

    Returns:
        The relative difference to central differences of gradients and the worst variable; a sentence where the
        backward pass cannot be differentiated; ``None`` where there is no gradient.
    """
    wrt, _, total = target.graph(tree, skip)
    weights = _weights(target)
    if total is None or not wrt:
        return None
    along = {n: torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for n, x in wrt.items()}
    scales = {n: _scale([x]) for n, x in wrt.items()}
    u = {n: scales[n] * d for n, d in along.items()}
    try:
        first = _gradients(target, total, list(wrt.values()), create_graph=True)
        slope = sum(((g * u[n]).sum() for n, g in zip(wrt, first, strict=True)), torch.zeros(()))
        if not slope.requires_grad:
            return _unattached(target, tree, u, first, skip)
        second = _gradients(target, slope, [*wrt.values(), *weights])
    except RuntimeError as error:
        return f"second derivatives not tested: {str(error).splitlines()[0]}"
    parts = {f"`{n}`": [i] for i, n in enumerate(wrt)}
    if weights:
        parts[WEIGHTS] = list(range(len(wrt), len(second)))
    best: dict[str, float] = {}
    for step in STEPS:
        numeric, size = _differences(target, tree, u, step, skip)
        for name, index in parts.items():
            a, b = [second[i].detach() for i in index], [numeric[i] for i in index]
            gradient = _norm([size[i] for i in index])
            apart = _norm([x - y for x, y in zip(a, b, strict=True)])
            error = max(apart - _ROUNDING * gradient / step, 0.0)
            scale = max(_norm(a), _norm(b), _SMALL * gradient, 1e-300)
            best[name] = min(best.get(name, float("inf")), error / scale)
        if max(best.values()) <= TOLERANCE:
            break
    name = max(best, key=lambda n: best[n])
    return best[name], name


def _differences(
    target: Target, tree: Tree, u: Leaves, step: float, skip: Collection[str]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return central differences of all gradients along ``u``, and the gradients themselves."""
    found: list[list[Tensor]] = []
    x = leaves(tree)
    for sign in (1.0, -1.0):
        wrt, _, total = target.graph(replaced(tree, {n: x[n] + sign * step * d for n, d in u.items()}), skip)
        value = torch.zeros((), requires_grad=True) if total is None else total
        found.append(_gradients(target, value, [*wrt.values(), *_weights(target)]))
    return [(a - b) / (2.0 * step) for a, b in zip(*found, strict=True)], found[0]


def _unattached(
    target: Target, tree: Tree, u: Leaves, first: list[Tensor], skip: Collection[str]
) -> str | None:
    """Return a sentence if gradients vary although backward says that they are constant."""
    numeric, _ = _differences(target, tree, u, STEPS[0], skip)
    changes = _norm(numeric[: len(first)])
    if changes <= 1e-6 * max(_norm(first), 1e-300):
        return None
    return (
        "second derivatives not tested: the backward pass is not differentiable, training on forces will fail"
    )
