"""What the suites measure: outputs and gradients of a case, and how far two of them are apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput
from geomlib.testing.asserting import require, skip
from geomlib.testing.case import Case, cast, difference, round_off
from geomlib.testing.rearranged import pair
from geomlib.verify.statistic import tolerance
from geomlib.verify.values import Leaves, leaves, outputs_of

__all__ = [
    "agree",
    "detached",
    "finite",
    "gradients",
    "jumps",
    "narrowed",
    "paired",
    "plain",
    "same",
    "variables",
]


def plain(suite: Any, name: str) -> Any:
    """Return an attribute of a suite as it was written: a function stays a function."""
    found = inspect.getattr_static(type(suite), name)
    return found.__func__ if isinstance(found, staticmethod) else found


def same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal bit for bit, NaN included."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def detached(result: Any) -> Leaves:
    """Return copies of the outputs."""
    return {name: x.detach().clone() for name, x in outputs_of(result).items()}


def agree(case: Case, found: Mapping[str, Tensor], want: Mapping[str, Tensor], what: str) -> None:
    """Fail where two results differ by more than the case's own round-off explains."""
    __tracebackhide__ = True
    allowed = round_off(case, case.inputs)
    for name, x in want.items():
        require(
            found[name].shape == x.shape,
            f"{what}: `{name}` has shape {tuple(found[name].shape)}, not {tuple(x.shape)}",
        )
        if x.is_floating_point():
            error, most = difference(found[name], x), allowed.get(name, tolerance(0.0))
            require(error <= most, f"{what}: `{name}` differs by {error:.1e}, round-off allows {most:.1e}")
        else:
            require(torch.equal(found[name], x), f"{what}: `{name}` differs")


def variables(module: nn.Module, inputs: dict[str, Any], case: Case) -> dict[str, Tensor]:
    """Return parameters and float inputs by name, all of them requiring gradients."""
    found: dict[str, Tensor] = {n: p for n, p in module.named_parameters() if p.requires_grad}
    for name, x in leaves(inputs).items():
        if x.is_floating_point() and name in case.types:
            found[f"input {name}"] = x.requires_grad_()
    return found


def paired(result: Any, seed: int, without: tuple[str, ...] = ()) -> Tensor | None:
    """Return the sum of differentiable outputs times fixed random numbers, or None where none is attached."""
    terms: list[Tensor] = []
    for k, (name, x) in enumerate(sorted(outputs_of(result).items())):
        if x.requires_grad and name not in without:
            generator = torch.Generator().manual_seed(1000 * seed + k)
            c = torch.randn(x.shape, dtype=torch.float64, generator=generator)
            terms.append((x.double() * c).sum())
    return torch.stack(terms).sum() if terms else None


def gradients(
    case: Case, dtype: torch.dtype = torch.float64, wrap: Callable[[nn.Module], Any] | None = None
) -> tuple[Leaves, dict[str, Tensor | None]]:
    """Return outputs and the gradients of their random pairing with respect to parameters and inputs.

    Args:
        case: module and inputs.
        dtype: of both.
        wrap: what is called instead of the module, such as ``torch.compile``.
    """
    module, inputs = case.at(dtype), cast(case.inputs, dtype)
    wanted = variables(module, inputs, case)
    result = (module if wrap is None else wrap(module))(**inputs)
    loss = paired(result, 0)
    if loss is None:
        return detached(result), {}
    grads = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return detached(result), dict(zip(wanted, grads, strict=True))


def finite(case: Case, inputs: Mapping[str, Any], what: str) -> None:
    """Fail unless outputs and gradients at these inputs are finite; a typed refusal is an answer too."""
    __tracebackhide__ = True
    other = Case(case.module, dict(inputs), case.symmetry)
    for dtype in (torch.float64, torch.float32):
        try:
            outputs, grads = gradients(other, dtype)
        except InvalidInput as refusal:
            skip(f"{what} is refused: {refusal}")
            return
        for name, x in outputs.items():
            require(bool(torch.isfinite(x).all()), f"{what}: output `{name}` holds NaN or infinity")
        for name, g in grads.items():
            require(
                g is None or bool(torch.isfinite(g).all()), f"{what}: the gradient of `{name}` is not finite"
            )


def narrowed(case: Case) -> list[str]:
    """Return what is made or used in a narrower type while float64 weights meet float64 inputs."""
    from geomlib.verify.leak import watched
    from geomlib.verify.target import Target

    target = Target(case.module, case.types, gradients=False)
    return [str(leak) for leak in watched(target, cast(case.inputs, torch.float64))[0]]


_DIRECTION = (0.48, 0.6, 0.64)


def jumps(case: Case, cutoff: float) -> list[tuple[str, float, float, float, float]] | None:
    """Return, per output and slope, the jump very near the cutoff, near it, the size, and what is round-off.

    None where no input says how far two nodes are apart.
    """
    module, direction = case.at(torch.float64), torch.tensor(_DIRECTION, dtype=torch.float64)
    wide = cast(case.inputs, torch.float64)

    def at(distance: float, dtype: torch.dtype = torch.float64) -> Leaves | None:
        r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        inputs = pair(wide, case.types, r, direction, bonded=distance < cutoff)
        if inputs is None:
            return None
        if dtype == torch.float32:
            return {n: x.detach().double() for n, x in case.outputs(inputs, dtype).items()}
        found = {n: x for n, x in outputs_of(module(**inputs)).items() if x.is_floating_point()}
        result: Leaves = {n: x.detach() for n, x in found.items()}
        for name, x in found.items():
            slope = None
            if x.requires_grad:
                c = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
                (slope,) = torch.autograd.grad((x * c).sum(), r, retain_graph=True, allow_unused=True)
            result[f"slope of {name}"] = torch.zeros(1) if slope is None else slope.detach().reshape(1)
        return result

    beyond = at(1.0001 * cutoff)
    if beyond is None:
        return None
    steps = [(at((1.0 - h) * cutoff) or {}, at((1.0 + h) * cutoff) or {}) for h in (1e-6, 1e-3)]
    scan = [at(f * cutoff) or {} for f in torch.linspace(0.3, 0.95, 12).tolist()]
    narrow, middle = at(0.7 * cutoff, torch.float32) or {}, at(0.7 * cutoff) or {}
    found: list[tuple[str, float, float, float, float]] = []
    for name, last in beyond.items():
        near, far = (float((below[name] - above[name]).norm()) for below, above in steps)
        size = max(float((x[name] - last).norm()) for x in scan)
        most = max(float(x[name].norm()) for x in scan)
        d32 = difference(narrow[name], middle[name]) if name in narrow else 0.0
        found.append((name, near, far, size, tolerance(d32) * most))
    return found
