r"""Equivariant maps between tensor powers, multiplied by sharing the work of all their diagrams.

A diagram is cut at the waist into a bottom type, a permutation and a top type. Bottom types are contracted once each, all
types and channels are mixed by one matrix product for each number of crossing blocks, top types are embedded once each.
Everything is plain torch: it runs on a card as it is, and torch.compile and the transforms of torch.func see its operations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from geomlib.algebra.diagrams.orbit_groups import Product
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import no_autocast
from geomlib.kernels.diagrams.cost import best_backend, best_loops, loops_pay
from geomlib.kernels.diagrams.function import Way, differentiable_map
from geomlib.kernels.diagrams.grouped import grouped_map
from geomlib.kernels.diagrams.masks import kept
from geomlib.kernels.diagrams.orbits import orbit_map, product_map
from geomlib.kernels.diagrams.per_diagram import per_diagram_map
from geomlib.kernels.diagrams.plan import Plan, tensor_plan
from geomlib.kernels.diagrams.reference import dense_map
from geomlib.kernels.dispatch import choose, traced, transformed

__all__ = ["BACKENDS", "Plan", "tensor_map", "tensor_plan"]

BACKENDS = ("auto", "grouped", "dense", "per_diagram")
_HALF = (torch.float16, torch.bfloat16)
#: Groups whose diagrams do not depend on which nodes are there: padded nodes can be left out of the sums.
_MASKABLE = ("S", "B")


def tensor_map(
    x: Tensor,  # (B, C_in, n, ..., n)
    weights: Tensor,  # (D, C_out, C_in)
    plan: Plan,
    *,
    mask: Tensor | None = None,  # (B, n)
    n: int | None = None,
    backend: str = "auto",
) -> Tensor:  # (B, C_out, n, ..., n)
    r"""Apply a weighted sum of diagrams to tensors of order k.

    .. math:: y_o = \sum_d \sum_i W_{d o i}\, M_d\, x_i

    with plain matrices :math:`M_d` of zeros, ones and signs, unnormalised. All backends agree to round-off, and have
    derivatives of any order.

    **Group** that of the plan, on every axis but the first two. **Shapes** ``x`` (B, C_in, n, ..., n) with k axes of
    length n, ``weights`` (D, C_out, C_in) in the order of ``plan.diagrams``, to (B, C_out, n, ..., n) with l axes; the
    result may lie in memory with its channels last.

    Args:
        x: features.
        weights: one matrix for each diagram.
        plan: from :func:`tensor_plan`.
        mask: which nodes of each sample are real, for S_n and B(n): the result is that of the real nodes alone, and zero
            elsewhere. Numbers at other nodes of ``x``, even NaN, are not read.
        n: length of an axis, where neither the group nor ``x`` says it (S_n without a size, k = 0).
        backend: ``"grouped"``, ``"dense"`` (assembles the matrix), ``"per_diagram"`` (as published, to compare), or
            ``"auto"``, the quicker of the first two.

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    Source: E. Pearce-Crump and W. J. Knottenbelt, "A diagrammatic approach to improve computational efficiency in group
    equivariant neural networks", arXiv 2412.10837, for one diagram at a time; C. Godfrey et al., "Fast computation of
    permutation equivariant layers with the partition algebra", arXiv 2303.06208.

    >>> plan = tensor_plan("S_n", 2, 2)
    >>> tensor_map(torch.randn(3, 4, 6, 6), torch.randn(len(plan), 5, 4), plan).shape
    torch.Size([3, 5, 6, 6])
    """
    size = _check(x, weights, plan, mask, n, backend)
    if x.dtype in _HALF:
        y = tensor_map(x.float(), weights.float(), plan, mask=mask, n=n, backend=backend)
        return y.to(x.dtype)
    with no_autocast(x.device.type):
        if mask is not None:
            x = kept(x, mask)
        chosen = _chosen(x, weights, plan, size, backend)
        if chosen == "grouped":
            y = _shared(x, weights, plan, size)
        else:
            y = (dense_map if chosen == "dense" else per_diagram_map)(x, weights, plan, size)
        return y if mask is None else kept(y, mask)


def _chosen(x: Tensor, weights: Tensor, plan: Plan, n: int, backend: str) -> str:
    """Return a backend by name; orbits and products have one way that is theirs, a trace cannot hold new tables."""
    if backend != "auto":
        return backend
    own = plan.table is not None or plan.factors is not None
    return "grouped" if own or traced(x, weights) else best_backend(plan, x, weights, n)


def _shared(x: Tensor, weights: Tensor, plan: Plan, n: int) -> Tensor:
    """Return the map with the work of all diagrams, orbits or factors shared."""
    if plan.table is not None:
        return orbit_map(x, weights, plan.table, n, plan.l, complete=plan.complete)
    if plan.factors is None or not isinstance(plan.group, Product):
        return _grouped(x, weights, plan, n)
    if len(plan) != len(plan.factors[0]) * len(plan.factors[1]):  # some maps only
        return dense_map(x, weights, plan, n)

    def one(z: Tensor, w: Tensor, part: Plan, size: int) -> Tensor:
        chosen = _chosen(z, w, part, size, "auto")
        return _shared(z, w, part, size) if chosen == "grouped" else dense_map(z, w, part, size)

    return product_map(x, weights, plan.group, plan.factors, one)


def _grouped(x: Tensor, weights: Tensor, plan: Plan, n: int) -> Tensor:
    # Tracers and transforms see the operations themselves; they are differentiable, only not as sparing.
    plain = traced(x, weights) or transformed() or forward_ad._current_level >= 0
    if plain:
        return grouped_map(x.movedim(1, -1).contiguous(), weights, plan, n).movedim(-1, 1)
    served = choose("tensor_map", (x, weights), loops_pay=lambda: loops_pay(plan, x, weights, n))
    way: Way = "torch" if served != "cpu" else best_loops(plan, x, weights, n)
    if way == "planes":
        return differentiable_map(x.contiguous(), weights, plan, n, way)
    return differentiable_map(x.movedim(1, -1).contiguous(), weights, plan, n, way).movedim(-1, 1)


def _check(x: Tensor, weights: Tensor, plan: Plan, mask: Tensor | None, n: int | None, backend: str) -> int:
    """Return the length of an axis."""
    if backend not in BACKENDS:
        raise InvalidInput(
            f"tensor_map: backend={backend!r}, expected one of {', '.join(BACKENDS)}.{closest(backend, BACKENDS)}"
        )
    if x.dim() != 2 + plan.k:
        raise InvalidInput(
            f"tensor_map: `x` has shape {tuple(x.shape)}; {plan} takes (B, C_in{', n' * plan.k}), {plan.k + 2} axes."
        )
    axes = tuple(x.shape[2:])
    size = plan.n if plan.n is not None else axes[0] if axes else n
    if size is None and mask is not None:
        size = mask.shape[-1]
    if size is None:
        raise InvalidInput(
            f"tensor_map: {plan} has no size and `x` of order 0 shows none; expected `n`, the length of an axis."
        )
    if any(a != size for a in axes) or (n is not None and n != size):
        wanted = f"n = {n}" if n is not None and n != size else f"axes of length {size}"
        raise InvalidInput(
            f"tensor_map: `x` has shape {tuple(x.shape)}, expected {wanted} for {plan.group}: all axes after the first "
            "two have the length of the group's space."
        )
    if weights.dim() != 3 or weights.shape[0] != len(plan) or weights.shape[2] != x.shape[1]:
        raise InvalidInput(
            f"tensor_map: `weights` of shape {tuple(weights.shape)}, expected ({len(plan)}, C_out, {x.shape[1]}): one "
            f"matrix for each diagram of {plan}, from the channels of x."
        )
    if x.dtype != weights.dtype or x.device != weights.device or not x.is_floating_point():
        raise InvalidInput(
            f"tensor_map: `x` is {x.dtype} on {x.device} and `weights` are {weights.dtype} on {weights.device}; "
            "expected one floating type on one device. Cast or move one of them."
        )
    if mask is not None:
        _check_mask(x, plan, mask, size)
    return size


def _check_mask(x: Tensor, plan: Plan, mask: Tensor, size: int) -> None:
    if plan.group.kind not in _MASKABLE:
        raise InvalidInput(
            f"tensor_map: `mask` with {plan.group}: only maps of S_n and B(n) are the same for fewer nodes. Drop it."
        )
    if mask.dtype != torch.bool or tuple(mask.shape) != (x.shape[0], size) or mask.device != x.device:
        raise InvalidInput(
            f"tensor_map: `mask` is {mask.dtype} {tuple(mask.shape)} on {mask.device}, expected torch.bool "
            f"({x.shape[0]}, {size}) on {x.device}: which nodes of each sample are real."
        )
