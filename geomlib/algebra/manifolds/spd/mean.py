r"""Fréchet means that have no closed form, with derivatives of the mean itself.

The mean is the zero of a residual R of the points seen from :math:`G = L L^T`:

* affine-invariant: :math:`R = \sum_k w_k \log(L^{-1} X_k L^{-T})`,
* Bures-Wasserstein: :math:`R = \sum_k w_k (L^T X_k L)^{1/2} - L^T L`.

Nothing is differentiated through the iteration that finds it. At the zero, one more Newton step with its operator H held fixed
and R differentiable has the exact first derivative of the mean, and every further one the next order.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, whiten
from geomlib.algebra.manifolds.spd.newton import minimiser, operator_at, solved
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.spectral.transforms import variant

__all__ = ["karcher_mean", "wasserstein_mean"]


def karcher_mean(X: Tensor, w: Tensor, iters: int, tol: float, order: int) -> Tensor:
    """Return the affine-invariant mean of points (..., K, n, n) with weights (..., K) that sum to one.

    >>> X = torch.diag_embed(torch.tensor([[1.0, 4.0], [4.0, 1.0]], dtype=torch.float64))
    >>> karcher_mean(X, torch.tensor([0.5, 0.5], dtype=torch.float64), 20, 1e-9, 0)
    tensor([[2., 0.],
            [0., 2.]], dtype=torch.float64)
    """
    G = minimiser("ai", X, w, iters, tol)
    operator = operator_at("ai", G, X, w)
    for _ in range(order):
        L = cholesky(G)
        R = (w[..., None, None] * symfun(whiten(L[..., None, :, :], X), "log")).sum(-3)
        G = congruence(L, symfun(variant(_Solve, _SolveJvp)(R, *operator), "exp"))
    return G


def wasserstein_mean(X: Tensor, w: Tensor, iters: int, tol: float, order: int) -> Tensor:
    """Return the Bures-Wasserstein mean of points (..., K, n, n) with weights (..., K) that sum to one.

    >>> X = torch.tensor([[[1.0]], [[9.0]]], dtype=torch.float64)
    >>> wasserstein_mean(X, torch.tensor([0.5, 0.5], dtype=torch.float64), 20, 1e-9, 0)
    tensor([[4.0000]], dtype=torch.float64)
    """
    G = minimiser("bw", X, w, iters, tol)
    operator = operator_at("bw", G, X, w)
    eye = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
    for _ in range(order):
        L = cholesky(G)
        roots = symfun(congruence(L.mT[..., None, :, :], X), "sqrt")
        R = (w[..., None, None] * roots).sum(-3) - L.mT @ L
        G = congruence(L, eye + variant(_Solve, _SolveJvp)(R, *operator))
    return G


class _Solve(Function):
    """The solution of H[S] = R as a function of R; H is constant and its own transpose."""

    generate_vmap_rule = True

    @staticmethod
    def forward(R: Tensor, v: Tensor, C: Tensor, u: Tensor, D: Tensor) -> Tensor:
        return solved(R, (v, C, u, D))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        found = variant(_Solve, _SolveJvp)(symmetrize(grad), *ctx.saved_tensors)
        return found, None, None, None, None


class _SolveJvp(_Solve):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return variant(_Solve, _SolveJvp)(symmetrize(tangent), *ctx.saved_tensors)
