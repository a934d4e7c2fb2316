"""Two equivariant linear layers as one, by composing their diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomlib.algebra.diagrams.orbit_category import compose_maps
from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams import Plan, tensor_plan
from geomlib.layers._diagram_rows import gram

if TYPE_CHECKING:
    from geomlib.layers.equivariant_linear import EquivariantLinear

__all__ = ["fused"]


def fused(first: EquivariantLinear, then: EquivariantLinear, n: int | None) -> EquivariantLinear:
    """Return one layer for ``then(first(x))``; see :meth:`EquivariantLinear.fuse`."""
    from geomlib.layers.equivariant_linear import EquivariantLinear

    if then.group != first.group or then.k != first.l or then.in_channels != first.out_channels:
        raise InvalidInput(
            f"fuse: {first!r} gives order {first.l} with {first.out_channels} channels of {first.group}; {then!r} takes order "
            f"{then.k} with {then.in_channels} of {then.group}. They must be equal."
        )
    size = n if n is not None else first.group.n
    if size is None:
        raise InvalidInput(
            "fuse: a composition of diagrams has a factor n for every loop. Pass n=..., the size."
        )
    group = first.group.sized(size)
    upper = then.maps.maps.plan.diagrams, then.diagram_weights(size)[1]
    lower = first.maps.maps.plan.diagrams, first.diagram_weights(size)[1]
    whole = tensor_plan(group, first.k, then.l)
    shifted = tensor_plan(group, 0, then.l)
    bias = _zeros(shifted, then, 1)
    if first.shifts is not None and first.bias is not None:
        small = first.shifts.maps.plan.diagrams, first.shifts(first.bias, size)[..., None]
        bias = _composed(upper, small, shifted)
    if then.shifts is not None and then.bias is not None:
        added = then.shifts.maps.plan.diagrams, then.shifts(then.bias, size)[..., None].double()
        bias = bias + _expanded(dict(zip(*added, strict=True)), shifted, bias)
    layer = EquivariantLinear(
        group, first.k, then.l, first.in_channels, then.out_channels, bool(len(shifted.diagrams)),
        normalization="sum", backend=then.backend,
    ).to(then.weight)  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(_composed(upper, lower, whole))
        if layer.bias is not None:
            layer.bias.copy_(bias[..., 0])
    return layer


def _zeros(plan: Plan, layer: EquivariantLinear, c_in: int) -> Tensor:
    shape = (len(plan.diagrams), layer.out_channels, c_in)
    return torch.zeros(shape, dtype=torch.float64, device=layer.weight.device)


@torch.no_grad()
def _composed(upper: tuple[Any, Tensor], lower: tuple[Any, Tensor], plan: Plan) -> Tensor:  # (D, out, in)
    """Return the weights of all products of two diagrams."""
    w2, w1 = upper[1].double(), lower[1].double()
    terms: dict[Any, Tensor] = {}
    for b, d2 in enumerate(upper[0]):
        products = torch.matmul(w2[b], w1)  # (lower, out, in)
        for a, d1 in enumerate(lower[0]):
            for d, factor in _product(d2, d1, plan.group).items():
                value = factor * products[a]
                terms[d] = terms[d] + value if d in terms else value
    like = torch.zeros(len(plan.diagrams), w2.shape[1], w1.shape[2], dtype=torch.float64, device=w1.device)
    return _expanded(terms, plan, like)


def _product(second: Any, first: Any, group: Any) -> dict[Any, float]:
    return {d: float(c) for d, c in compose_maps(second, first, group).items()}


@torch.no_grad()
def _expanded(terms: dict[Any, Tensor], plan: Plan, like: Tensor) -> Tensor:  # (D, out, in)
    """Return weights of the basis for weights of any diagrams; where n is small, these depend on the basis."""
    where = {d: i for i, d in enumerate(plan.diagrams)}
    found = torch.zeros_like(like)
    others = [d for d in terms if d not in where]
    for d, value in terms.items():
        if d in where:
            found[where[d]] += value
    if others and where:
        listed = list(plan.diagrams)
        products = gram([*listed, *others], plan.group).to(like.device)
        size = len(listed)
        coefficients = torch.linalg.solve(products[:size, :size], products[:size, size:])
        found += torch.einsum("pq,qoi->poi", coefficients, torch.stack([terms[d] for d in others]))
    return found
