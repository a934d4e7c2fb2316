"""Square roots in pairs, Lyapunov equations and polar factors, with derivatives of every order."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import (
    first_bad,
    named,
    require_square,
    symmetrize,
    values_known,
)
from geomlib.algebra.manifolds.spectral import primitives
from geomlib.algebra.manifolds.spectral.symfun import apply_spectrum, decompose
from geomlib.algebra.manifolds.spectral.transforms import fronted, total, variant
from geomlib.errors import InvalidInput

__all__ = ["lyapunov", "polar", "sym_sqrt_pair"]


def sym_sqrt_pair(
    A: Tensor,  # (..., n, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the square root and the inverse square root of SPD matrices by one decomposition.

    **Shapes** A and the results (..., n, n).

    Args:
        A: SPD matrices.
        eig_dtype: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.
        backend: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.

    Raises:
        InvalidInput: as :func:`~geomlib.algebra.manifolds.spectral.symfun`.

    >>> root, inverse = sym_sqrt_pair(4 * torch.eye(2))
    >>> root.tolist(), inverse.tolist()
    ([[2.0, 0.0], [0.0, 2.0]], [[0.5, 0.0], [0.0, 0.5]])
    """
    require_square("A", A)
    w, v = decompose(A, eig_dtype=eig_dtype, backend=backend)
    return apply_spectrum(A, w, v, "sqrt", backend=backend), apply_spectrum(
        A, w, v, "invsqrt", backend=backend
    )


def lyapunov(
    P: Tensor,  # (..., n, n)
    V: Tensor,  # (..., n, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:
    r"""Return the solution of a Lyapunov equation with an SPD matrix.

    .. math:: P X + X P = V, \qquad X_{ij} = V_{ij} / (w_i + w_j)\ \text{in the eigenbasis of } P

    V need not be symmetric; X is symmetric or skew if V is. P and V broadcast against each other.

    **Shapes** P, V and the result (..., n, n).

    Args:
        P: SPD matrices; symmetrised, and so is the gradient.
        V: right-hand sides.
        eig_dtype: in which the decomposition and the solution are computed.
        backend: of the decomposition.

    Raises:
        InvalidInput: shapes that do not fit; P is not SPD (in eager mode on the CPU).

    >>> lyapunov(torch.eye(2), torch.ones(2, 2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    require_square("P", P)
    require_square("V", V)
    if P.shape[-1] != V.shape[-1]:
        raise InvalidInput(
            f"`V` has shape {tuple(V.shape)}, expected matrices of the size of `P`, {tuple(P.shape)}."
        )
    w, v = decompose(P, eig_dtype=eig_dtype, backend=backend)
    if not torch.compiler.is_compiling():
        primitives.check(P, w, "sqrt", 0.0, "P")  # as the square root, whose derivative this is
    shape = torch.broadcast_shapes(P.shape, V.shape)
    return _solved()(P.expand(shape), w.expand(shape[:-1]), v.expand(shape), V.expand(shape))


def polar(
    A: Tensor,  # (..., m, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
) -> Tensor:
    r"""Return the orthogonal polar factor: the matrix with orthonormal columns that is nearest to A.

    .. math:: F = A (A^T A)^{-1/2}, \qquad dF = F\, L_H[F^T dA - dA^T F] + (I - F F^T)\, dA\, H^{-1}, \quad H = F^T A

    The value comes from a singular value decomposition, whose derivative is not used: that of F is a Lyapunov solve, without
    differences of singular values. A wide matrix has orthonormal rows.

    **Shapes** A and the result (..., m, n).

    Args:
        A: matrices of full rank.
        eig_dtype: in which it is computed; the result has the dtype of A.

    Raises:
        InvalidInput: A is no matrix; in eager mode on the CPU NaN, infinity or a rank that is not full to working precision,
            where the factor is not unique.

    >>> polar(torch.tensor([[0.0, -3.0], [2.0, 0.0]])).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    if A.ndim < 2 or 0 in A.shape[-2:] or not A.dtype.is_floating_point:
        raise InvalidInput(
            f"`A` has shape {tuple(A.shape)} and dtype {A.dtype}, expected real matrices (..., m, n)."
        )
    if A.shape[-2] < A.shape[-1]:
        return variant(_Polar, _PolarJvp)(A.mT, eig_dtype)[0].mT
    return variant(_Polar, _PolarJvp)(A, eig_dtype)[0]


def _solved() -> Any:
    return variant(_Lyapunov, _LyapunovJvp)


class _Lyapunov(Function):
    """The solution X of P X + X P = V from the decomposition of P."""

    @staticmethod
    def forward(P: Tensor, w: Tensor, v: Tensor, V: Tensor) -> Tensor:
        inner = v.mT @ V.to(w.dtype) @ v
        return (v @ (inner / (w[..., :, None] + w[..., None, :])) @ v.mT).to(V.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        P, w, v, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(P, w, v, output)
        ctx.save_for_forward(P, w, v, output)

    @staticmethod
    def backward(ctx: Any, G: Tensor | None) -> tuple[Tensor | None, ...]:
        if G is None:
            return None, None, None, None
        P, w, v, X = ctx.saved_tensors
        Y = _solved()(P, w, v, G)
        grad = -symmetrize(Y @ X.mT + X.mT @ Y) if ctx.needs_input_grad[0] else None
        return grad, None, None, Y

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, int]:
        return _solved()(*fronted(info, in_dims, args)), 0


class _LyapunovJvp(_Lyapunov):
    @staticmethod
    def jvp(ctx: Any, dP: Tensor | None, dw: Any, dv: Any, dV: Tensor | None) -> Tensor | None:
        P, w, v, X = ctx.saved_tensors
        parts = [] if dV is None else [dV]
        if dP is not None:
            E = symmetrize(dP)
            parts.append(-(E @ X + X @ E))
        source = total(parts)
        return None if source is None else _solved()(P, w, v, source)


class _Polar(Function):
    """The polar factor of a tall matrix, with the decomposition of A^T A's root, F^T A = v diag(s) v^T."""

    @staticmethod
    def forward(A: Tensor, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        _require_finite(A)
        U, s, Vh = torch.linalg.svd(A.to(eig_dtype), full_matrices=False)
        _require_full_rank(s, A.shape[-2])
        return (U @ Vh).to(A.dtype), s, Vh.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], *output)
        ctx.save_for_forward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, G: Tensor | None, *_: Any) -> tuple[Tensor | None, None]:
        return (None if G is None else _along(G, *ctx.saved_tensors)), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], A: Tensor, *rest: Any) -> tuple[Any, Any]:
        return variant(_Polar, _PolarJvp)(A.movedim(in_dims[0], 0), *rest), (0, 0, 0)


class _PolarJvp(_Polar):
    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *_: Any) -> tuple[Tensor | None, None, None]:
        return (None if dA is None else _along(dA, *ctx.saved_tensors)), None, None


def _along(D: Tensor, A: Tensor, F: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """Return the derivative of the polar factor in direction D, which is its own transpose."""
    change, factor = D.to(s.dtype), F.to(s.dtype)
    H, inner = symmetrize(factor.mT @ A.to(s.dtype)), factor.mT @ change
    found = factor @ _solved()(H, s, v, inner - inner.mT)
    if A.shape[-2] > A.shape[-1]:
        found = found + (change - factor @ inner) @ apply_spectrum(H, s, v, "inv")
    return found.to(A.dtype)


def _require_finite(A: Tensor) -> None:
    if values_known(A) and A.numel():
        good = A.isfinite().flatten(-2).all(-1)
        if not bool(good.all()):
            raise InvalidInput(
                f"{named('A', first_bad(good))} holds NaN or infinity, expected finite numbers."
            )


def _require_full_rank(s: Tensor, rows: int) -> None:
    if values_known(s) and s.numel():
        good = s[..., -1] > rows * torch.finfo(s.dtype).eps * s[..., 0]
        if not bool(good.all()):
            where = first_bad(good)
            raise InvalidInput(
                f"{named('A', where)} has no full rank to working precision, so its polar factor is not unique: singular "
                f"values {s[where].tolist()}."
            )
