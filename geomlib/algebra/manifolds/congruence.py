"""Congruence of symmetric matrices by one rectangular matrix, with gradients that use the symmetry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.plain import plain_reverse

__all__ = ["congruence_by"]


def congruence_by(
    W: Tensor,  # (m, n)
    X: Tensor,  # (..., n, n)
) -> Tensor:  # (..., m, m)
    r"""Return the symmetric matrices :math:`Y = W X W^\top` of symmetric X, which is symmetrised.

    The gradient for W with cotangent G is :math:`2 \sum G W X`: the product W X of the forward pass serves it too, so a step
    has half of the products that general rules need. Derivatives of every order.

    Args:
        W: one matrix for the whole batch.
        X: symmetric matrices.

    >>> W, X = torch.tensor([[1.0, 2.0]]), torch.eye(2).expand(3, 2, 2)
    >>> congruence_by(W, X).flatten().tolist()
    [5.0, 5.0, 5.0]
    """
    apply: Any = _Congruence.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return apply(W, X) if plain_reverse() else _evaluated(W, X)[0]


def _evaluated(W: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    half = _half(W, X)
    return symmetrize(half.mT @ W.mT), half


def _half(W: Tensor, X: Tensor) -> Tensor:  # (..., n, m)
    return (X + X.mT) @ (0.5 * W.mT)  # one product for the batch


class _Congruence(Function):
    @staticmethod
    def forward(ctx: Any, W: Tensor, X: Tensor) -> Tensor:
        # torch.matmul folds the batch or not by whether gradients are asked for; the bits shall not depend on that.
        out, half = _evaluated(W.detach(), X.detach())
        ctx.save_for_backward(W, X, half)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        W, X, half = ctx.saved_tensors
        G = symmetrize(grads[0])
        if torch.is_grad_enabled():  # a gradient of the gradient will be asked for: W X must depend on both
            half = _half(W, X)
        m, n = W.shape
        to_w = to_x = None
        if ctx.needs_input_grad[0]:
            # sum over the batch of G (W X), as one product
            left = G.reshape(-1, m, m).transpose(0, 1).reshape(m, -1)
            to_w = 2 * left @ half.mT.reshape(-1, n)
        if ctx.needs_input_grad[1]:
            to_x = symmetrize((G @ W).mT @ W)
        return to_w, to_x
