"""The primitives of `geomlib.algebra.manifolds.spectral.primitives`, as operators of torch where the call is traced.

:func:`symfun` is the whole function with its gradient, for plain calls: the loops keep decompositions in their own order, and
the function of autograd is one that torch calls fast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.kernels.dispatch import traced
from geomlib.kernels.spectral import operators, served
from geomlib.kernels.spectral.groupwise import evaluate, pull

__all__ = ["derivative", "eigh", "forward", "symfun"]


def symfun(A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None) -> Tensor | None:
    """Return f(A), or None where the loops do not serve the call."""
    if traced(A) or served.chosen(A, eig_dtype, backend) != "cpu":
        return None
    if A.requires_grad and torch.is_grad_enabled():
        return _Symfun.apply(A, f, t, eig_dtype, backend)
    return evaluate(A, f, t, eig_dtype, keep=False)[0]


def eigh(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    if traced(A):
        return operators.eigh(A, eig_dtype, backend or "")
    return served.eigh(A, eig_dtype, backend)


def forward(
    A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    if traced(A):
        return operators.forward(A, f, t, eig_dtype, backend or "")
    return served.forward(A, f, t, eig_dtype, backend)


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str | None) -> Tensor:
    """Return the derivative of f in direction E."""
    if traced(w, E):
        return operators.derivative(w, v, f, t, E, backend or "")
    return served.derivative(w, v, f, t, E, backend)


class _Symfun(Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None) -> Tensor:
        F, groups = evaluate(A, f, t, eig_dtype, keep=True)
        ctx.call = f, t, eig_dtype, backend
        ctx.save_for_backward(A, groups)
        return F

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        f, t, eig_dtype, backend = ctx.call
        A, groups = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return pull(groups, f, t, grads[0]), None, None, None, None
        from geomlib.algebra.manifolds.spectral import derivative_symfun

        parameter = t if f in ("pow", "clamp") else None
        G = derivative_symfun(A, f, grads[0], parameter, eig_dtype=eig_dtype, backend=backend)
        return G, None, None, None, None
