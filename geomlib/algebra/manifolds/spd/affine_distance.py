r"""Squared affine-invariant distance with gradients in closed form.

With :math:`P = L L^T`, :math:`L^{-1} Q L^{-T} = v\, \mathrm{diag}(w)\, v^T` and :math:`S = L^{-T} v` the pencil is diagonal,
:math:`S^T P S = I` and :math:`S^T Q S = \mathrm{diag}(w)`, and for every function h

.. math::
    d(S\,h(w)\,S^T)[E, F] = S\,\bigl(h[w_i, w_j] \circ S^T F S - (x h)[w_i, w_j] \circ S^T E S\bigr)\,S^T ,

E a change of P and F one of Q. The gradients are the cases h = log and h = log w / w, so one eigendecomposition serves two
orders of derivative, whatever the eigenvalues repeat. Higher orders are derivatives of
:math:`L^{-T} h(L^{-1} Q L^{-T}) L^{-1}`, made of spectral functions.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import (
    first_bad,
    named,
    require_spd,
    require_square,
    require_symmetric,
    symmetrize,
    values_known,
)
from geomlib.algebra.manifolds.fast import spectral_kernels
from geomlib.algebra.manifolds.spd.cholesky import cholesky, half, unwhiten, whiten
from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun
from geomlib.algebra.manifolds.spectral.scalar import loewner
from geomlib.algebra.manifolds.spectral.transforms import variant
from geomlib.errors import InvalidInput

__all__ = ["ai_sqdist", "ai_sqdist_gradients", "ai_sqdist_reference", "refuse_pencil"]


def ai_sqdist(
    P: Tensor,  # (..., n, n)
    Q: Tensor,  # (..., n, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:  # (...)
    r"""Return the squared affine-invariant distance of SPD matrices, with exact derivatives of every order.

    .. math:: d^2(P, Q) = \|\log(P^{-1/2} Q P^{-1/2})\|_F^2 = \sum_i \log^2 \lambda_i(P^{-1} Q)

    It is smooth everywhere, P = Q included, and invariant under congruence by any invertible matrix and under inversion.
    Symmetric parts are taken, of the arguments and so of the gradients.

    **Shapes**: P and Q (..., n, n), whose leading dimensions broadcast; result (...).

    Args:
        P: points.
        Q: points.
        eig_dtype: least type to compute in.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: arguments that are not square matrices of one size and floating type; a matrix that is not positive
            definite, where values can be read (not on CUDA, and not while torch traces or transforms the call: there it
            gives NaN).

    >>> P = torch.eye(3).repeat(2, 1, 1)
    >>> (ai_sqdist(P, 2 * P) / torch.log(torch.tensor(2.0)) ** 2).round(decimals=4)
    tensor([3., 3.])
    """
    _check(P, Q)
    fast = spectral_kernels()
    found = None if fast is None else fast.ai_sqdist(P, Q, eig_dtype, backend)
    return ai_sqdist_reference(P, Q, eig_dtype=eig_dtype) if found is None else found


def ai_sqdist_reference(P: Tensor, Q: Tensor, *, eig_dtype: torch.dtype = torch.float64) -> Tensor:
    """Return :func:`ai_sqdist` by operations of torch: the specification of the faster ones.

    >>> ai_sqdist_reference(torch.eye(2), torch.eye(2))
    tensor(0.)
    """
    dtype = torch.promote_types(P.dtype, eig_dtype)
    require_symmetric("P", P)
    require_symmetric("Q", Q)
    p, q = torch.broadcast_tensors(symmetrize(P.to(dtype)), symmetrize(Q.to(dtype)))
    value, _, _ = _valued()(p, q)
    return value.to(P.dtype)


def ai_sqdist_gradients(
    g: Tensor,  # (...)
    P: Tensor,  # (..., n, n)
    Q: Tensor,  # (..., n, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of <g, squared distance>, themselves differentiable; g, P and Q have the same batch dimensions.

    >>> gP, gQ = ai_sqdist_gradients(torch.ones(()), torch.eye(1), torch.e * torch.eye(1))
    >>> gP.round(decimals=4).tolist(), gQ.mul(torch.e).round(decimals=4).tolist()
    ([[-2.0]], [[2.0]])
    """
    dtype = torch.promote_types(P.dtype, eig_dtype)
    p, q = symmetrize(P.to(dtype)), symmetrize(Q.to(dtype))
    w, S = _pencil(p.detach(), q.detach())
    gp, gq = _graded()(g.to(dtype), p, q, w, S)
    return gp.to(P.dtype), gq.to(P.dtype)


def _valued() -> Any:
    return variant(_Value, _ValueJvp)


def _graded() -> Any:
    return variant(_Gradient, _GradientJvp)


def _check(P: Tensor, Q: Tensor) -> None:
    require_square("P", P)
    require_square("Q", Q)
    if P.shape[-1] != Q.shape[-1] or P.dtype != Q.dtype or P.device != Q.device:
        raise InvalidInput(
            f"`P` of shape {tuple(P.shape)}, {P.dtype} on {P.device} and `Q` of shape {tuple(Q.shape)}, {Q.dtype} on "
            f"{Q.device}: expected one size, dtype and device."
        )


def refuse_pencil(P: Tensor, Q: Tensor) -> None:
    """Say which of two batches is at fault where the distance is not known to working precision.

    Raises:
        InvalidInput: always, for batches one of which the caller found at fault.

    >>> try:
    ...     refuse_pencil(torch.eye(2), -torch.eye(2))
    ... except InvalidInput as error:
    ...     print(str(error)[:45])
    `Q` is not positive definite to working preci
    """
    require_spd("P", P)
    require_spd("Q", Q)
    w = torch.linalg.eigvals(torch.linalg.solve(symmetrize(P.double()), symmetrize(Q.double()))).real.sort(
        -1
    )[0]
    where = first_bad(_separable(w))
    raise InvalidInput(
        f"{named('Q', where)} and that of `P` are too different for {w.dtype}: the eigenvalues of P^-1 Q run from "
        f"{w[where][0]:.3g} to {w[where][-1]:.3g}. Add jitter relative to the trace, Q + 1e-6 * trace(Q) / n * I."
    )


def _separable(w: Tensor) -> Tensor:
    """Return whether the least eigenvalue is more than rounding of the largest."""
    return w[..., 0] > w.shape[-1] * torch.finfo(w.dtype).eps * w[..., -1]


def _pencil(P: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Return w and S with S^T P S = I and S^T Q S = diag(w)."""
    L, failed = torch.linalg.cholesky_ex(P)
    M = whiten(L, Q)
    known = values_known(P, Q)
    if known and not bool(((failed == 0) & M.isfinite().flatten(-2).all(-1)).all()):
        refuse_pencil(P, Q)
    w, v = torch.linalg.eigh(M)
    if known and not bool(_separable(w).all()):
        refuse_pencil(P, Q)
    w = torch.where((failed == 0)[..., None], w, torch.nan)  # where nobody looks, no finite answer
    return w, torch.linalg.solve_triangular(L.mT, v, upper=True)


class _Value(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(P: Tensor, Q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w, S = _pencil(P, Q)
        return w.log().square().sum(-1), w, S

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.save_for_backward(*inputs, output[1], output[2])
        ctx.save_for_forward(*inputs, output[1], output[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return _graded()(grads[0], *ctx.saved_tensors)


class _ValueJvp(_Value):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None, None]:
        P, Q, w, S = ctx.saved_tensors
        grads = _graded()(torch.ones_like(w[..., 0]), P, Q, w, S)
        return _paired(grads, tangents), None, None


def _paired(grads: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> Tensor:
    """Return the sum of the inner products with the tangents that are there."""
    return torch.stack(
        [(g * t).sum((-2, -1)) for g, t in zip(grads, tangents, strict=True) if t is not None]
    ).sum(0)


class _Gradient(Function):
    """The gradients of <g, value>; w and S come along and are constants."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, P: Tensor, Q: Tensor, w: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        h = (2 * g)[..., None] * w.log()
        return -(S * h[..., None, :]) @ S.mT, (S * (h / w)[..., None, :]) @ S.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor) -> tuple[Any, ...]:
        g, P, Q, w, S = ctx.saved_tensors
        E, F = (symmetrize(t) for t in tangents)
        if torch.is_grad_enabled():
            unit = _graded()(torch.ones_like(g), P, Q, w, S)
            return _paired(unit, (E, F)), *_curvature(g, P, Q, E, F), None, None
        h = w.log()
        Ew, Fw = S.mT @ E @ S, S.mT @ F @ S
        diagonal = (Fw.diagonal(dim1=-2, dim2=-1) / w - Ew.diagonal(dim1=-2, dim2=-1)) * h
        return 2 * diagonal.sum(-1), *_curvature_known(g, w, S, Ew, Fw), None, None


class _GradientJvp(_Gradient):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        g, P, Q, w, S = ctx.saved_tensors
        dg, dP, dQ = tangents[:3]
        E = torch.zeros_like(P) if dP is None else symmetrize(dP)
        F = torch.zeros_like(Q) if dQ is None else symmetrize(dQ)
        a, b = _curvature(g, P, Q, E, F)
        if dg is None:
            return a, b
        c, d = _graded()(dg, P, Q, w, S)
        return a + c, b + d


def _curvature_known(g: Tensor, w: Tensor, S: Tensor, E: Tensor, F: Tensor) -> tuple[Tensor, Tensor]:
    """Return the second derivative along E and F, which are given in the frame S."""
    a, b = w[..., :, None], w[..., None, :]
    log = loewner("log", w)
    mean = (a.log() + b.log()) / 2
    x_log = (a + b) / 2 * log + mean  # of x log x
    log_over_x = ((a + b) / 2 * log - mean) / (a * b)
    twice = (2 * g)[..., None, None]
    return twice * (S @ (x_log * E - log * F) @ S.mT), twice * (S @ (log_over_x * F - log * E) @ S.mT)


def _curvature(g: Tensor, P: Tensor, Q: Tensor, E: Tensor, F: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same by operations that can be differentiated again: from L^-T h(L^-1 Q L^-T) L^-1, where dL = L H."""
    L = cholesky(P)
    M, dP, dQ = (whiten(L, X) for X in (Q, E, F))
    H = half(dP)
    dM = symmetrize(dQ - 2 * H @ M)
    log, inverse = symfun(M, "log"), symfun(M, "inv")
    d_log, d_inverse = derivative_symfun(M, "log", dM), derivative_symfun(M, "inv", dM)
    over, d_over = symmetrize(log @ inverse), symmetrize(d_log @ inverse + log @ d_inverse)
    twice = (2 * g)[..., None, None]
    first = d_log - 2 * symmetrize(log @ H)
    second = d_over - 2 * symmetrize(over @ H)
    return -twice * unwhiten(L, first), twice * unwhiten(L, second)
