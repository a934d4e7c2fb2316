r"""Newton's method for Fréchet means: the values, without derivatives.

At :math:`G = L L^T` the residual R and its derivative H, a sum over :math:`C_k \circ` in the eigenbases :math:`v_k`, are

* affine-invariant: :math:`L^{-1} X_k L^{-T} = v_k \mathrm{diag}(a) v_k^T`, :math:`R = \sum_k w_k v_k \log(a) v_k^T`,
  :math:`C = w_k \frac{x}{\tanh x}` with :math:`x = \frac12 \log(a_i / a_j)`,
* Bures-Wasserstein: :math:`L^T X_k L = v_k \mathrm{diag}(t^2) v_k^T`, :math:`R = \sum_k w_k v_k t v_k^T - L^T L`,
  :math:`C = w_k \frac{t_i t_j}{t_i + t_j}`.

H is positive, and close to a multiple of the identity or to what it is when all points are equal, with which the conjugate
gradients are preconditioned.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportUntypedFunctionDecorator=false
from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, named, values_known
from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, unwhiten, whiten
from geomlib.algebra.manifolds.spd.metric import trace_pair
from geomlib.errors import InvalidInput

__all__ = ["Operator", "minimiser", "operator_at", "solved"]

#: v_k, C_k, u and D: H as above, and the preconditioner R -> u (D ∘ u^T R u) u^T.
Operator: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
#: Conjugate gradients stop there at the latest.
_MOST = 100
#: A step as long as this is still Newton's; beyond it, Bures-Wasserstein means take the fixed point iteration, which never
#: leaves the cone.
_NEAR = 0.5
_LAST = 1e-4


def minimiser(kind: str, X: Tensor, w: Tensor, iters: int, tol: float) -> Tensor:
    """Return the mean of points (..., K, n, n) with weights (..., K) that sum to one, as a constant.

    >>> X = torch.tensor([[[1.0]], [[9.0]]], dtype=torch.float64)
    >>> minimiser("bw", X, torch.tensor([0.5, 0.5], dtype=torch.float64), 20, 1e-9)
    tensor([[4.0000]], dtype=torch.float64)
    """
    X, w = X.detach(), w.detach()
    if torch.compiler.is_compiling():
        return _minimiser_operator(kind, X, w, iters, tol)
    with torch.no_grad():
        return _minimised(kind, X, w, iters, tol)


def operator_at(kind: str, G: Tensor, X: Tensor, w: Tensor) -> Operator:
    """Return H at G as a constant."""
    with torch.no_grad():
        return _look(kind, G.detach(), X.detach(), w.detach())[2]


def solved(R: Tensor, operator: Operator, tol: float = 1e-15) -> Tensor:
    """Return S with H[S] = R to a relative residual, every matrix for itself.

    >>> one = torch.ones(1, 1)
    >>> solved(one, (one[None], 2 * one[None], one, one))
    tensor([[0.5000]])
    """
    if torch.compiler.is_compiling():
        return _solved_operator(R, *operator, tol)
    return _solved(R, operator, tol)


def _minimised(kind: str, X: Tensor, w: Tensor, iters: int, tol: float) -> Tensor:
    G = (w[..., None, None] * X).sum(-3)
    done = torch.zeros(G.shape[:-2], dtype=torch.bool, device=G.device)
    before = torch.full_like(G[..., 0, 0], torch.inf)
    watched = values_known(X, w)
    for _ in range(iters):
        L, R, operator = _look(kind, G, X, w)
        S = _solved(R, operator, min(tol, 1e-3))
        G = torch.where(done[..., None, None], G, _moved(kind, L, R, S))
        step = trace_pair(S, S).sqrt()
        # Near the end steps are squared; those that do not even halve are rounding.
        done = done | (step <= tol) | ((step < _LAST) & (step > before / 2))
        before = step
        if watched and bool(done.all()):  # elsewhere all the steps are taken, and change nothing
            break
    return G


def _look(kind: str, G: Tensor, X: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Operator]:
    """Return L, R and H."""
    L = cholesky(G)
    if values_known(L) and not bool((good := L.isfinite().flatten(-2).all(-1)).all()):
        raise InvalidInput(
            f"mean: {named('points', first_bad(good))} has no mean to working precision: the points are too ill-conditioned. "
            "Add jitter relative to their traces, such as 1e-6 * trace / n * I."
        )
    factor, weight = L[..., None, :, :], w[..., None, None]
    if kind == "ai":
        a, v = torch.linalg.eigh(whiten(factor, X))
        value = a.log()
        x = (value[..., :, None] - value[..., None, :]) / 2
        slope = torch.where(x.abs() < 1e-4, 1 + x.square() / 3, x / torch.where(x == 0, 1.0, x).tanh())
        u = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device).expand(G.shape)
        rest, D = torch.zeros_like(G), torch.ones_like(G)
    else:
        a, v = torch.linalg.eigh(congruence(factor.mT, X))
        value = a.clamp_min(0).sqrt()
        slope, rest = _half_harmonic(value), L.mT @ L
        b, u = torch.linalg.eigh(rest)
        D = 1 / _half_harmonic(b)
    R = (weight * congruence(v, torch.diag_embed(value))).sum(-3) - rest
    return L, R, (v, weight * slope, u, D)


def _half_harmonic(t: Tensor) -> Tensor:
    a, b = t[..., :, None], t[..., None, :]
    return a * b / (a + b)


def _moved(kind: str, L: Tensor, R: Tensor, S: Tensor) -> Tensor:
    if kind == "ai":
        w, v = torch.linalg.eigh(S)
        return congruence(L @ v, torch.diag_embed(w.exp()))
    newton = congruence(L, S + torch.eye(S.shape[-1], dtype=S.dtype, device=S.device))
    T = R + L.mT @ L
    near = trace_pair(S, S)[..., None, None] < _NEAR**2
    return torch.where(near, newton, unwhiten(L, T @ T))


def _solved(R: Tensor, operator: Operator, tol: float) -> Tensor:
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
    target, watched = tol * tol * size, values_known(R)
    for _ in range(_MOST):
        going = size > target
        if watched and not bool(going.any()):
            break
        q = apply(p)
        step = over(size, trace_pair(p, q), going)
        S, r = S + step * p, r - step * q
        z = guess(r)
        new = trace_pair(r, z)
        p = z + over(new, size, going) * p
        size = new
    # A residual that is not a number must not end as the zero it began with.
    return S + torch.where(size.isnan(), torch.nan, 0.0)[..., None, None]


# A traced graph holds the loops as one node each: unrolled they would be thousands.
@torch.library.custom_op("geomlib::frechet_minimiser", mutates_args=())
def _minimiser_operator(kind: str, X: Tensor, w: Tensor, iters: int, tol: float) -> Tensor:
    return _minimised(kind, X, w, iters, tol).contiguous()


@_minimiser_operator.register_fake
def _like_mean(kind: str, X: Tensor, w: Tensor, iters: int, tol: float) -> Tensor:
    return X.new_empty((*X.shape[:-3], *X.shape[-2:]))


@torch.library.custom_op("geomlib::frechet_solution", mutates_args=())
def _solved_operator(R: Tensor, v: Tensor, C: Tensor, u: Tensor, D: Tensor, tol: float) -> Tensor:
    return _solved(R, (v, C, u, D), tol).contiguous()


@_solved_operator.register_fake
def _like_solution(R: Tensor, v: Tensor, C: Tensor, u: Tensor, D: Tensor, tol: float) -> Tensor:
    return torch.empty_like(R, memory_format=torch.contiguous_format)
