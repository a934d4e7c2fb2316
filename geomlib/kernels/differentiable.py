"""Turn hand-written kernels into one operation of any differentiation order.

Training on forces differentiates twice, so a fused operation brings its value, its gradient and the gradient of its
gradient as kernels. Anything beyond (Hessians of a force loss) is computed by differentiating the torch reference.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.kernels.autocast import no_autocast

__all__ = ["FusedOperation", "parameters_skipped", "skip_parameter_gradients"]

Maybe = Tensor | None

_skipping: contextvars.ContextVar[bool] = contextvars.ContextVar("geomlib_skip_parameters", default=False)


@contextlib.contextmanager
def skip_parameter_gradients() -> Iterator[None]:
    """Promise that ``torch.autograd.grad`` inside the block asks for gradients with respect to geometry only.

    A Python autograd function is not told which of its gradients are wanted; without this, every force evaluation
    would also compute gradients of the weights and throw them away.
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def parameters_skipped() -> bool:
    """Return whether the code runs inside :func:`skip_parameter_gradients`."""
    return _skipping.get()


@dataclass(frozen=True)
class FusedOperation:
    """An operation ``y = f(static, *tensors)`` with one output and its derivatives.

    Args:
        reference: ``(static, tensors) -> y`` in differentiable torch.
        forward: ``(static, tensors) -> y``.
        backward: ``(static, grad, tensors, needs) -> gradients`` of ``<grad, y>``; they are dropped, and need not be
            computed, where ``needs`` is False.
        double_backward: ``(static, tangents, grad, tensors, needs) -> gradients`` with respect to ``(grad, *tensors)``
            of the sum over inputs of ``<tangent, gradient>``; tangents may be None. None derives it from the reference.
        parameters: indices of inputs that never depend on geometry.
    """

    reference: Callable[[Any, tuple[Tensor, ...]], Tensor]
    forward: Callable[[Any, tuple[Tensor, ...]], Tensor]
    backward: Callable[[Any, Tensor, tuple[Tensor, ...], tuple[bool, ...]], tuple[Maybe, ...]]
    double_backward: (
        Callable[[Any, tuple[Maybe, ...], Tensor, tuple[Tensor, ...], tuple[bool, ...]], tuple[Maybe, ...]]
        | None
    )
    parameters: tuple[int, ...] = ()

    def __call__(self, static: Any, *tensors: Tensor, constant: tuple[int, ...] = ()) -> Tensor:
        """Evaluate; tensors whose index is in ``constant`` get first derivatives but no second ones."""
        return _Value.apply(self, static, constant, *tensors)

    def gradient(
        self, static: Any, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> tuple[Maybe, ...]:
        """Evaluate the backward kernel and keep what is needed."""
        with no_autocast(grad.device.type):  # a backward pass may run inside autocast
            result = self.backward(static, grad, tensors, needs)
        return _needed(result, needs)

    def curvature(
        self,
        static: Any,
        tangents: tuple[Maybe, ...],
        grad: Tensor,
        tensors: tuple[Tensor, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Maybe, ...]:
        """Evaluate the double backward by its kernel or from the reference."""
        if self.double_backward is not None:
            with no_autocast(grad.device.type):
                result = self.double_backward(static, tangents, grad, tensors, needs)
            return _needed(result, needs)
        with torch.enable_grad(), no_autocast(grad.device.type):
            inputs = tuple(t.detach().requires_grad_() for t in (grad, *tensors))
            return _second(self, static, tangents, inputs, needs, create_graph=False)


def _needed(result: tuple[Maybe, ...], needs: tuple[bool, ...]) -> tuple[Maybe, ...]:
    if False not in needs:
        return result
    return tuple(r if n else None for r, n in zip(result, needs, strict=True))


def _second(
    op: FusedOperation,
    static: Any,
    tangents: tuple[Maybe, ...],
    inputs: tuple[Tensor, ...],
    needs: tuple[bool, ...],
    *,
    create_graph: bool,
) -> tuple[Maybe, ...]:
    """Differentiate ``sum <tangent, d<grad, y>/d tensor>`` with respect to the inputs ``(grad, *tensors)``."""
    y = op.reference(static, inputs[1:])
    wanted = [(x, t) for x, t in zip(inputs[1:], tangents, strict=True) if t is not None]
    first = torch.autograd.grad(
        y, [x for x, _ in wanted], inputs[0], create_graph=True, allow_unused=True, materialize_grads=True
    )
    pairing = torch.stack([(g * t).sum() for g, (_, t) in zip(first, wanted, strict=True)]).sum()
    asked = [x for x, n in zip(inputs, needs, strict=True) if n]
    found = iter(
        torch.autograd.grad(
            pairing, asked, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    )
    return tuple(next(found) if n else None for n in needs)


class _Value(Function):
    @staticmethod
    def forward(
        ctx: Any, op: FusedOperation, static: Any, constant: tuple[int, ...], *tensors: Tensor
    ) -> Tensor:
        ctx.op, ctx.static, ctx.constant = op, static, constant
        ctx.save_for_backward(*tensors)
        return op.forward(static, tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        op, tensors, needs = ctx.op, ctx.saved_tensors, ctx.needs_input_grad[3:]
        if ctx.constant:
            tensors = tuple(t.detach() if k in ctx.constant else t for k, t in enumerate(tensors))
        if op.parameters and parameters_skipped():
            needs = tuple(n and k not in op.parameters for k, n in enumerate(needs))
        if True not in needs:
            return (None,) * (3 + len(tensors))
        if torch.is_grad_enabled():
            return None, None, None, *_Gradient.apply(op, ctx.static, needs, grad, *tensors)
        return None, None, None, *op.gradient(ctx.static, grad, tensors, needs)


class _Gradient(Function):
    @staticmethod
    def forward(
        ctx: Any, op: FusedOperation, static: Any, needs: tuple[bool, ...], grad: Tensor, *tensors: Tensor
    ) -> tuple[Maybe, ...]:
        ctx.op, ctx.static, ctx.needs = op, static, needs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, *tensors)
        return op.gradient(static, grad, tensors, needs)

    @staticmethod
    def backward(ctx: Any, *tangents: Maybe) -> tuple[Any, ...]:
        grad, *tensors = ctx.saved_tensors
        given = tuple(t is not None for t in tangents)
        if not any(given):
            return (None,) * (4 + len(tensors))
        needs = ctx.needs_input_grad[3:]
        if not torch.is_grad_enabled():
            return None, None, None, *ctx.op.curvature(ctx.static, tangents, grad, tuple(tensors), needs)
        present = [t for t in tangents if t is not None]
        return None, None, None, *_Curvature.apply(ctx.op, ctx.static, given, needs, *present, grad, *tensors)


class _Curvature(Function):
    @staticmethod
    def forward(
        ctx: Any,
        op: FusedOperation,
        static: Any,
        given: tuple[bool, ...],
        needs: tuple[bool, ...],
        *args: Tensor,
    ) -> tuple[Maybe, ...]:
        ctx.op, ctx.static, ctx.given, ctx.needs = op, static, given, needs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*args)
        tangents, grad, tensors = _split(given, args)
        return op.curvature(static, tangents, grad, tensors, needs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Maybe) -> tuple[Any, ...]:
        op, given, again = ctx.op, ctx.given, torch.is_grad_enabled()
        needs = tuple(n and c is not None for n, c in zip(ctx.needs, cotangents, strict=True))
        if not any(needs):
            return (None,) * (4 + len(ctx.saved_tensors))
        with torch.enable_grad(), no_autocast(ctx.saved_tensors[-1].device.type):
            # Views, because the derivatives wanted are partial: one argument may be computed from another.
            args = tuple(
                a.view_as(a) if a.requires_grad else a.detach().requires_grad_() for a in ctx.saved_tensors
            )
            tangents, grad, tensors = _split(given, args)
            second = _second(op, ctx.static, tangents, (grad, *tensors), needs, create_graph=True)
            terms = [
                (s * c).sum()
                for s, c in zip(second, cotangents, strict=True)
                if s is not None and c is not None
            ]
            total = torch.stack(terms).sum()
            third = torch.autograd.grad(
                total, args, create_graph=again, materialize_grads=True, allow_unused=True
            )
        return None, None, None, None, *third


def _split(
    given: tuple[bool, ...], args: tuple[Tensor, ...]
) -> tuple[tuple[Maybe, ...], Tensor, tuple[Tensor, ...]]:
    """Separate ``(present tangents, grad, tensors)`` and put None where a tangent is absent."""
    stream = iter(args[: sum(given)])
    tangents = tuple(next(stream) if g else None for g in given)
    return tangents, args[sum(given)], args[sum(given) + 1 :]
