"""Products of multivectors as one differentiable operation: value, gradients and their gradients from the same form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import rows, tiles
from geomlib.kernels.geometric_product.plan import Form

__all__ = ["OPERATION", "Served"]

Maybe = Tensor | None


@dataclass(frozen=True)
class Served:
    """A form and whether Numba loops sum it, or plain torch."""

    form: Form
    loops: bool

    def contract(self, order: str, given: dict[str, Tensor]) -> Tensor:
        """Return the partial derivative of F by the first role."""
        a, b, w = given[order[1]], given[order[2]], given.get("w")
        if self.loops:
            return tiles.contract(self.form, order, a, b, w)
        return rows.contract(self.form.plain or self.form, order, a, b, w)

    def pull(self, given: dict[str, Tensor]) -> Tensor:
        """Return the derivative of F by the weights."""
        return (tiles if self.loops else rows).pull(self.form, given["x"], given["y"], given["g"])

    def partial(self, role: str, given: dict[str, Tensor]) -> Tensor:
        """Return the derivative of F by one role."""
        order = {"g": "gxy", "x": "xgy", "y": "yxg"}
        return self.pull(given) if role == "w" else self.contract(order[role], given)


def _reference(static: Served, tensors: tuple[Tensor, ...]) -> Tensor:
    return rows.reference(static.form.plain or static.form, tensors)


def _forward(static: Served, tensors: tuple[Tensor, ...]) -> Tensor:
    return static.contract("gxy", dict(zip("xyw", tensors, strict=False)))


def _backward(
    static: Served, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    given = dict(zip("gxyw", (grad, *tensors), strict=False))
    if static.loops and needs[0] and needs[1]:
        want_w = len(needs) > 2 and needs[2]
        found = tiles.gradients(static.form, grad, given["x"], given["y"], given.get("w"), want_w)
        return found[: len(needs)]
    return tuple(static.partial(r, given) if n else None for r, n in zip("xyw", needs, strict=False))


def _double_backward(
    static: Served,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    given = dict(zip("gxyw", (grad, *tensors), strict=False))
    found: list[Maybe] = []
    for role, need in zip("gxyw", needs, strict=False):
        total: Maybe = None
        for other, tangent in zip("xyw", tangents, strict=False):
            if not need or tangent is None or other == role:
                continue
            part = static.partial(role, {**given, other: tangent})
            total = part if total is None else total + part
        found.append(torch.zeros_like(given[role]) if need and total is None else total)
    return tuple(found)


OPERATION = FusedOperation(_reference, _forward, _backward, _double_backward)
