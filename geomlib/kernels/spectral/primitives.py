"""The primitives of `geomlib.algebra.manifolds.spectral.primitives` by the backend that serves a call.

:func:`symfun` is the whole function with its gradient, for plain calls: the loops keep decompositions in their own order, and
the function of autograd is one that torch calls fast.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.spectral.primitives import torch_derivative, torch_eigh, torch_forward
from geomlib.kernels.dispatch import choose
from geomlib.kernels.spectral.groupwise import evaluate, pack, pull, unpack

__all__ = ["LARGEST", "derivative", "eigh", "forward", "symfun"]

#: Size of the matrices up to which the loops serve; above, the blocks of LAPACK are faster.
LARGEST = 32


def symfun(A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None) -> Tensor | None:
    """Return f(A), or None where the loops do not serve the call."""
    if _choose(A, eig_dtype, backend) != "cpu":
        return None
    if A.requires_grad and torch.is_grad_enabled():
        return _Symfun.apply(A, f, t, eig_dtype, backend)
    return evaluate(A, f, t, eig_dtype, keep=False)[0]


def eigh(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    if _choose(A, eig_dtype, backend) == "torch":
        return torch_eigh(A, eig_dtype)
    return unpack(evaluate(A, "clamp", -math.inf, eig_dtype, keep=True)[1], A.shape)


def forward(
    A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    if _choose(A, eig_dtype, backend) == "torch":
        return torch_forward(A, f, t, eig_dtype)
    F, saved = evaluate(A, f, t, eig_dtype, keep=True)
    return F, *unpack(saved, A.shape)


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str | None) -> Tensor:
    """Return the derivative of f in direction E."""
    if _choose(E, w.dtype, backend) == "torch":
        return torch_derivative(w, v, f, t, E)
    return pull(pack(w, v, f, t), f, t, E)


def _choose(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> str:
    if torch.compiler.is_compiling():
        return "torch"
    n = A.shape[-1]
    return choose("spectral functions", (A,), backend, loops_pay=lambda: n <= LARGEST)


class _Symfun(Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None) -> Tensor:
        F, ctx.groups = evaluate(A, f, t, eig_dtype, keep=True)
        ctx.call = f, t, eig_dtype, backend
        ctx.save_for_backward(A)
        return F

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        f, t, eig_dtype, backend = ctx.call
        if not torch.is_grad_enabled():
            return pull(ctx.groups, f, t, grads[0]), None, None, None, None
        from geomlib.algebra.manifolds.spectral import derivative_symfun

        (A,) = ctx.saved_tensors
        parameter = t if f in ("pow", "clamp") else None
        G = derivative_symfun(A, f, grads[0], parameter, eig_dtype=eig_dtype, backend=backend)
        return G, None, None, None, None
