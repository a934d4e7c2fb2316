r"""Networks of one variable evaluated together with their derivative (forward mode).

A radial network is a function of a distance r only. Carrying :math:`(f, df/dr)` through it costs as much as one
backward pass, and then neither the forces nor the gradient of a force loss differentiates it twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.kernels.arrays import array
from geomlib.kernels.differentiable import FusedOperation, parameters_skipped
from geomlib.kernels.dispatch import choose
from geomlib.kernels.dual import reference

__all__ = ["attach_slope", "dual_gate"]

Maybe = Tensor | None


def dual_gate(
    h: Tensor,  # (2, P, K)
    bias: Tensor,  # (K,)
    envelope: Tensor,  # (2, P)
    *,
    activate: bool,
    backend: str | None = None,
) -> Tensor:  # (2, P, K)
    r"""Add a bias, apply SiLU (or nothing) and multiply by an envelope, on values and derivatives.

    .. math:: (v, t) \mapsto \left(c\,\sigma(v+b),\; c'\sigma(v+b) + c\,\sigma'(v+b)\,t\right)

    Args:
        h: values and derivatives before the gate, (2, P, K).
        bias: (K,).
        envelope: :math:`c` and :math:`c'` of each row, (2, P); it gets no gradient on the ``cpu`` backend.
        activate: apply SiLU; otherwise the identity.
        backend: "auto", "torch" or "cpu".
    """
    if not envelope.requires_grad and choose("dual_gate", (h, bias, envelope), backend) == "cpu":
        return _GATE(activate, h, bias, envelope)
    return reference.dual_gate(activate, (h, bias, envelope))


def attach_slope(r: Tensor, value: Tensor, slope: Tensor) -> Tensor:  # (P,), (P, K), (P, K) -> (P, K)
    """Return ``value`` as a function of ``r`` whose derivative is ``slope``.

    The derivative is exact once; second derivatives with respect to ``r`` are not represented, so use it only where
    nobody can ask for them (``r`` comes from a leaf made inside the model).
    """
    return _AttachSlope.apply(r, value, slope)


class _AttachSlope(Function):
    @staticmethod
    def forward(ctx: Any, r: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Maybe, Maybe, None]:
        (slope,) = ctx.saved_tensors
        d_r = _RowDot.apply(grad, slope) if ctx.needs_input_grad[0] else None
        return d_r, (None if parameters_skipped() else grad), None


class _RowDot(Function):
    """Sum over columns of the product of two matrices; its backward avoids broadcasting through autograd."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.linalg.vecdot(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Maybe, Maybe]:
        a, b = ctx.saved_tensors
        column = grad[:, None]
        return (
            column * b if ctx.needs_input_grad[0] else None,
            column * a if ctx.needs_input_grad[1] else None,
        )


def _sigmoid(activate: bool, h: Tensor, bias: Tensor) -> Any:
    return (
        torch.sigmoid(h[0] + bias).numpy() if activate else torch.ones((1, h.shape[2]), dtype=h.dtype).numpy()
    )


def _one(h: Tensor) -> Any:
    return torch.ones((), dtype=h.dtype).numpy()[()]


def _forward(activate: bool, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.dual import cpu

    h, bias, envelope = (t.detach().contiguous() for t in tensors)
    out = torch.empty_like(h)
    sig = _sigmoid(activate, h, bias)
    cpu.gate(_one(h), h.numpy(), bias.numpy(), sig, envelope.numpy(), out.numpy())
    return out


def _backward(
    activate: bool, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.dual import cpu

    h, bias, envelope = (t.detach().contiguous() for t in tensors)
    d_h, d_bias = torch.empty_like(h), torch.zeros_like(bias)
    sig = _sigmoid(activate, h, bias)
    cpu.gate_backward(
        _one(h),
        h.numpy(),
        bias.numpy(),
        sig,
        envelope.numpy(),
        array(grad),
        d_h.numpy(),
        d_bias.numpy(),
    )
    return d_h, d_bias, None


_GATE = FusedOperation(reference.dual_gate, _forward, _backward, None)
