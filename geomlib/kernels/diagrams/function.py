"""The grouped multiplication as one autograd function, closed under differentiation.

The form <g, y(x, W)> is linear in g, x and W: each derivative, of any order, is the map itself, its transposed, or the
gradient of the weights. Channel-last, but for ``"planes"``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.kernels.autocast import no_autocast
from geomlib.kernels.diagrams.grouped import grouped_gradients, grouped_map
from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.differentiable import parameters_skipped

__all__ = ["Way", "differentiable_map"]

Maybe = Tensor | None
Way = Literal["torch", "loops", "planes"]


def differentiable_map(x: Tensor, weights: Tensor, plan: Plan, n: int, way: Way = "torch") -> Tensor:
    """Return the map of (B, n, .., n, C_in), with derivatives of any order in reverse mode.

    Args:
        x: features.
        weights: one matrix for each diagram.
        plan: the diagrams.
        n: length of an axis.
        way: torch's operators, compiled loops, or the loops of matrices, which take (B, C_in, n, n), contiguous.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weights.requires_grad):
        return _Map.apply(plan, n, way, x, weights)
    return _value(plan, n, way, x, weights)


def _value(plan: Plan, n: int, way: Way, x: Tensor, weights: Tensor) -> Tensor:
    if way == "planes":
        from geomlib.kernels.diagrams.planes import planes_map

        return planes_map(x, weights, plan, n)
    if way == "loops":
        from geomlib.kernels.diagrams.loops import looped_map

        return looped_map(x, weights, plan, n)
    return grouped_map(x, weights, plan, n, sparing=True)


def _slopes(
    plan: Plan, n: int, way: Way, needs: tuple[bool, bool], g: Tensor, x: Tensor, weights: Tensor
) -> tuple[Maybe, Maybe]:
    if way == "planes":
        from geomlib.kernels.diagrams.planes import planes_gradients

        return planes_gradients(g, x, weights, plan, n, needs)
    if way == "loops":
        from geomlib.kernels.diagrams.loops import looped_gradients

        return looped_gradients(g, x, weights, plan, n, needs)
    return grouped_gradients(g, x, weights, plan, n, needs)


class _Map(Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, n: int, way: Way, x: Tensor, weights: Tensor) -> Tensor:
        ctx.call = plan, n, way
        ctx.save_for_backward(x, weights)
        return _value(plan, n, way, x, weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weights = ctx.saved_tensors
        plan, n, way = ctx.call
        needs = ctx.needs_input_grad[3], ctx.needs_input_grad[4] and not parameters_skipped()
        return None, None, None, *_gradients(plan, n, way, needs, grad, x, weights)


def _gradients(
    plan: Plan, n: int, way: Way, needs: tuple[bool, bool], g: Tensor, x: Tensor, weights: Tensor
) -> tuple[Maybe, Maybe]:
    if not any(needs):
        return None, None
    with no_autocast(g.device.type):  # a backward pass may run inside autocast
        g = g.contiguous()
        if torch.is_grad_enabled():
            return _Gradients.apply(plan, n, way, needs, g, x, weights)
        return _slopes(plan, n, way, needs, g, x, weights)


class _Gradients(Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        n: int,
        way: Way,
        needs: tuple[bool, bool],
        g: Tensor,
        x: Tensor,
        weights: Tensor,
    ) -> tuple[Maybe, Maybe]:
        ctx.call = plan, n, way
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, weights)
        return _slopes(plan, n, way, needs, g, x, weights)

    @staticmethod
    def backward(ctx: Any, tx: Maybe, tw: Maybe) -> tuple[Any, ...]:
        # <tx, dF/dx> + <tw, dF/dW> for F = <g, y(x, W)>: derivatives of <g, y(tx, W)> + <g, y(x, tw)>.
        g, x, weights = ctx.saved_tensors
        plan, n, way = ctx.call
        to_g, to_x, to_w = ctx.needs_input_grad[4:]
        gg = gx = gw = None
        with no_autocast(g.device.type):
            if tx is not None:
                tx = tx.contiguous()
                gg = differentiable_map(tx, weights, plan, n, way) if to_g else None
                _, gw = _gradients(plan, n, way, (False, to_w), g, tx, weights)
            if tw is not None:
                other = differentiable_map(x, tw, plan, n, way) if to_g else None
                gg = other if gg is None else gg if other is None else gg + other
                gx, _ = _gradients(plan, n, way, (to_x, False), g, x, tw)
        return None, None, None, None, gg, gx, gw
