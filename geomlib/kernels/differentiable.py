"""Turn three hand-written kernels into one operation of any differentiation order.

Training on forces differentiates twice, so a fused operation brings its value, its gradient and the gradient of its
gradient as kernels. Anything beyond (Hessians of a force loss) is computed by differentiating the torch reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["FusedOperation"]

Maybe = Tensor | None


@dataclass(frozen=True)
class FusedOperation:
    """An operation ``y = f(static, *tensors)`` with one output and its derivatives.

    Args:
        reference: ``(static, tensors) -> y`` in differentiable torch.
        forward: ``(static, tensors) -> y``.
        backward: ``(static, grad, tensors, needs) -> gradients`` of ``<grad, y>``, None where ``needs`` is False.
        double_backward: ``(static, tangents, grad, tensors, needs) -> gradients`` with respect to ``(grad, *tensors)``
            of the sum over inputs of ``<tangent, gradient>``; tangents may be None.
    """

    reference: Callable[[Any, tuple[Tensor, ...]], Tensor]
    forward: Callable[[Any, tuple[Tensor, ...]], Tensor]
    backward: Callable[[Any, Tensor, tuple[Tensor, ...], tuple[bool, ...]], tuple[Maybe, ...]]
    double_backward: Callable[
        [Any, tuple[Maybe, ...], Tensor, tuple[Tensor, ...], tuple[bool, ...]], tuple[Maybe, ...]
    ]

    def __call__(self, static: Any, *tensors: Tensor, constant: tuple[int, ...] = ()) -> Tensor:
        """Evaluate; tensors whose index is in ``constant`` get first derivatives but no second ones."""
        return _Value.apply(self, static, constant, *tensors)


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, op: FusedOperation, static: Any, constant: tuple[int, ...], *tensors: Tensor) -> Tensor:
        ctx.op, ctx.static, ctx.constant = op, static, constant
        ctx.save_for_backward(*tensors)
        return op.forward(static, tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        if ctx.constant:
            tensors = tuple(t.detach() if k in ctx.constant else t for k, t in enumerate(tensors))
        return None, None, None, *_Gradient.apply(ctx.op, ctx.static, ctx.needs_input_grad[3:], grad, *tensors)


class _Gradient(Function):
    @staticmethod
    def forward(
        ctx: Any, op: FusedOperation, static: Any, needs: tuple[bool, ...], grad: Tensor, *tensors: Tensor
    ) -> tuple[Maybe, ...]:
        ctx.op, ctx.static, ctx.needs = op, static, needs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, *tensors)
        return op.backward(static, grad, tensors, needs)

    @staticmethod
    def backward(ctx: Any, *tangents: Maybe) -> tuple[Any, ...]:
        grad, *tensors = ctx.saved_tensors
        given = tuple(t is not None for t in tangents)
        if not any(given):
            return (None,) * (4 + len(tensors))
        present = [t for t in tangents if t is not None]
        needs = ctx.needs_input_grad[3:]
        return None, None, None, *_Curvature.apply(ctx.op, ctx.static, given, needs, *present, grad, *tensors)


class _Curvature(Function):
    @staticmethod
    def forward(
        ctx: Any, op: FusedOperation, static: Any, given: tuple[bool, ...], needs: tuple[bool, ...], *args: Tensor
    ) -> tuple[Maybe, ...]:
        ctx.op, ctx.static, ctx.given, ctx.needs = op, static, given, needs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*args)
        tangents, grad, tensors = _split(given, args)
        return op.double_backward(static, tangents, grad, tensors, needs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Maybe) -> tuple[Any, ...]:
        op, given, again = ctx.op, ctx.given, torch.is_grad_enabled()
        with torch.enable_grad():
            args = tuple(a if a.requires_grad else a.detach().requires_grad_() for a in ctx.saved_tensors)
            tangents, grad, tensors = _split(given, args)
            y = op.reference(ctx.static, tensors)
            wanted = [t for t, g in zip(tensors, given, strict=True) if g]
            first = torch.autograd.grad(y, wanted, grad, create_graph=True)
            pairing = sum((g * t).sum() for g, t in zip(first, (t for t in tangents if t is not None), strict=True))
            inputs = (grad, *tensors)
            asked = [k for k, (n, c) in enumerate(zip(ctx.needs, cotangents, strict=True)) if n and c is not None]
            second = torch.autograd.grad(
                pairing, [inputs[k] for k in asked], create_graph=True, materialize_grads=True
            )
            total = sum((s * cotangents[k]).sum() for s, k in zip(second, asked, strict=True))
            third = torch.autograd.grad(total, args, create_graph=again, materialize_grads=True, allow_unused=True)
        return None, None, None, None, *third


def _split(given: tuple[bool, ...], args: tuple[Tensor, ...]) -> tuple[tuple[Maybe, ...], Tensor, tuple[Tensor, ...]]:
    """Separate ``(present tangents, grad, tensors)`` and put None where a tangent is absent."""
    stream = iter(args[: sum(given)])
    tangents = tuple(next(stream) if g else None for g in given)
    return tangents, args[sum(given)], args[sum(given) + 1 :]
