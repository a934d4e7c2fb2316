r"""Fréchet means that have no closed form, by Newton's method, with derivatives of the mean itself.

With :math:`G = L L^T` the mean is the zero of a residual R of the points seen from G:

* affine-invariant: :math:`R = \sum_k w_k \log(L^{-1} X_k L^{-T})`,
* Bures-Wasserstein: :math:`R = \sum_k w_k (L^T X_k L)^{1/2} - L^T L`.

Its derivative in G is in both cases a positive operator :math:`H[S] = \sum_k w_k v_k (C_k \circ v_k^T S v_k) v_k^T` in the
eigenbases :math:`v_k`, so a step solves H[S] = R by conjugate gradients. The square of the last step is the error left.

Nothing is differentiated through the iteration. At the zero, one more step with H held fixed and R differentiable has the
exact first derivative of the mean, and every further one the next order.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import symmetrize, values_known
from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, unwhiten, whiten
from geomlib.algebra.manifolds.spd.metric import trace_pair
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.spectral.transforms import variant

__all__ = ["karcher_mean", "wasserstein_mean"]

#: Matrices that describe H and the preconditioner: v_k, w_k C_k, u, D with H[S] as above and D ∘ u^T R u in the basis u.
Operator: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
#: Conjugate gradients stop there at the latest; the operators are close to multiples of the identity.
_MOST = 100


def karcher_mean(X: Tensor, w: Tensor, iters: int, tol: float, order: int) -> Tensor:
    """Return the affine-invariant mean of points (..., K, n, n) with weights (..., K) that sum to one.

    >>> X = torch.diag_embed(torch.tensor([[1.0, 4.0], [4.0, 1.0]], dtype=torch.float64))
    >>> karcher_mean(X, torch.tensor([0.5, 0.5], dtype=torch.float64), 20, 1e-9, 0)
    tensor([[2., 0.],
            [0., 2.]], dtype=torch.float64)
    """

    def look(G: Tensor) -> tuple[Tensor, Tensor, Operator]:
        L = cholesky(G)
        a, v = torch.linalg.eigh(whiten(L[..., None, :, :], X.detach()))
        log = a.log()
        x = (log[..., :, None] - log[..., None, :]) / 2
        slope = torch.where(x.abs() < 1e-4, 1 + x.square() / 3, x / torch.where(x == 0, 1.0, x).tanh())
        R = (w.detach()[..., None, None] * congruence(v, torch.diag_embed(log))).sum(-3)
        n = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device).expand(G.shape)
        return L, R, (v, w.detach()[..., None, None] * slope, n, torch.ones_like(n))

    def residual(L: Tensor) -> Tensor:
        return (w[..., None, None] * symfun(whiten(L[..., None, :, :], X), "log")).sum(-3)

    def move(L: Tensor, R: Tensor, S: Tensor, sure: bool) -> Tensor:
        return congruence(L, symfun(S, "exp"))

    return _mean(X, w, look, residual, move, iters, tol, order)


def wasserstein_mean(X: Tensor, w: Tensor, iters: int, tol: float, order: int) -> Tensor:
    """Return the Bures-Wasserstein mean of points (..., K, n, n) with weights (..., K) that sum to one.

    >>> X = torch.tensor([[[1.0]], [[9.0]]], dtype=torch.float64)
    >>> wasserstein_mean(X, torch.tensor([0.5, 0.5], dtype=torch.float64), 20, 1e-9, 0)
    tensor([[4.0000]], dtype=torch.float64)
    """

    def look(G: Tensor) -> tuple[Tensor, Tensor, Operator]:
        L = cholesky(G)
        a, v = torch.linalg.eigh(congruence(L.mT[..., None, :, :], X.detach()))
        t = a.clamp_min(0).sqrt()
        kernel = _half_harmonic(t)
        N = L.mT @ L
        R = (w.detach()[..., None, None] * congruence(v, torch.diag_embed(t))).sum(-3) - N
        b, u = torch.linalg.eigh(N)
        return L, R, (v, w.detach()[..., None, None] * kernel, u, 1 / _half_harmonic(b))

    def residual(L: Tensor) -> Tensor:
        roots = symfun(congruence(L.mT[..., None, :, :], X), "sqrt")
        return (w[..., None, None] * roots).sum(-3) - L.mT @ L

    def move(L: Tensor, R: Tensor, S: Tensor, sure: bool) -> Tensor:
        eye = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
        newton = congruence(L, eye + S)
        if sure:
            return newton
        # Far away Newton's step may leave the cone; the fixed point iteration never does.
        T = R + L.mT @ L
        near = trace_pair(S, S)[..., None, None] < 0.25
        return torch.where(near, newton, unwhiten(L, T @ T))

    return _mean(X, w, look, residual, move, iters, tol, order)


def _half_harmonic(t: Tensor) -> Tensor:
    a, b = t[..., :, None], t[..., None, :]
    return a * b / (a + b)


def _mean(
    X: Tensor,
    w: Tensor,
    look: Callable[[Tensor], tuple[Tensor, Tensor, Operator]],
    residual: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor, Tensor, bool], Tensor],
    iters: int,
    tol: float,
    order: int,
) -> Tensor:
    with torch.no_grad():
        G = (w[..., None, None] * X).sum(-3).detach()
        done = torch.zeros(G.shape[:-2], dtype=torch.bool, device=G.device)
        look_at = values_known(X, w)
        for _ in range(iters):
            L, R, operator = look(G)
            S = _solved(R, operator, min(tol, 1e-3))
            G = torch.where(done[..., None, None], G, move(L, R, S, False))
            done = done | (trace_pair(S, S) <= tol * tol)
            if look_at and bool(done.all()):  # elsewhere all the steps are taken, and change nothing
                break
        operator = look(G)[2]
    for _ in range(order):
        L = cholesky(G)
        S = _solve(residual(L), operator)
        G = move(L, S, S, True)
    return G


def _solved(R: Tensor, operator: Operator, tol: float) -> Tensor:
    """Return S with H[S] = R to a relative residual, every matrix for itself."""
    v, C, u, D = operator

    def apply(S: Tensor) -> Tensor:
        return congruence(v, C * (v.mT @ S[..., None, :, :] @ v)).sum(-3)

    def guess(S: Tensor) -> Tensor:
        return congruence(u, D * (u.mT @ S @ u))

    def over(a: Tensor, b: Tensor, going: Tensor) -> Tensor:
        return torch.where(going, a / torch.where(going, b, 1.0), 0.0)[..., None, None]

    S, r = torch.zeros_like(R), R
    p = z = guess(r)
    size = trace_pair(r, z)
    target, look_at = tol * tol * size, values_known(R)
    for _ in range(_MOST):
        going = size > target
        if look_at and not bool(going.any()):
            break
        q = apply(p)
        step = over(size, trace_pair(p, q), going)
        S, r = S + step * p, r - step * q
        z = guess(r)
        new = trace_pair(r, z)
        p = z + over(new, size, going) * p
        size = new
    return S


class _Solve(Function):
    """The solution of H[S] = R as a function of R; H is constant and its own transpose."""

    generate_vmap_rule = True

    @staticmethod
    def forward(R: Tensor, v: Tensor, C: Tensor, u: Tensor, D: Tensor) -> Tensor:
        return _solved(R, (v, C, u, D), 1e-15)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return _solve(symmetrize(grads[0]), ctx.saved_tensors), None, None, None, None


class _SolveJvp(_Solve):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _solve(symmetrize(tangents[0]), ctx.saved_tensors)


def _solve(R: Tensor, operator: Operator) -> Tensor:
    return variant(_Solve, _SolveJvp)(R, *operator)
