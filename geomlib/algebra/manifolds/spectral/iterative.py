"""Square roots by products and solves only: the coupled Newton-Schulz iteration, and two published series.

All are normalised by the Frobenius norm of each matrix, so no matrix depends on the others of its batch.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false, reportConstantRedefinition=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import first_bad, named, require_spd, symmetrize, values_known
from geomlib.algebra.manifolds.spectral.transforms import fronted, total, variant
from geomlib.errors import InvalidInput

__all__ = ["ITERATIVE", "iterative_root", "sign_lyapunov"]

ITERATIVE = ("newton_schulz", "pade", "taylor")
#: Iterations until convergence of the smallest eigenvalue of a normalised matrix: one grows it by 9/4, so that 48 serve a
#: condition number of 1e14; the solution of Lyapunov equations, whose matrix is the root, grows its own by 3/2.
MOST = 48
#: Iterations of the published backward passes.
PUBLISHED = 8

_PADE_P = (1.0, -11 / 4, 11 / 4, -77 / 64, 55 / 256, -11 / 1024)
_PADE_Q = (1.0, -9 / 4, 7 / 4, -35 / 64, 15 / 256, -1 / 1024)
_TERMS = 10


def iterative_root(A: Tensor, f: str, method: str) -> Tensor:  # (..., n, n)
    r"""Return the square root, or its inverse, of SPD matrices without a decomposition.

    ``"newton_schulz"`` iterates

    .. math:: Y \leftarrow Y (3I - Z Y) / 2, \qquad Z \leftarrow (3I - Z Y) Z / 2, \qquad Y_0 = A / |A|_F, \quad Z_0 = I

    until \|I - ZY\| is of the order of rounding, for every matrix on its own: Y tends to the root and Z to its inverse. With
    condition number k it is exact to about eps sqrt(k), its inverse and the first derivatives to eps k; derivatives of every
    order are Lyapunov equations solved by the sign iteration.

    ``"taylor"`` sums 10 terms of the series of sqrt(1 - z) at z = I - A/\|A\|, ``"pade"`` solves Q(z) X = P(z) with its [5/5]
    approximant, and both differentiate by 8 sign iterations. They are kept as published, **not** as substitutes for the root:
    at the small eigenvalues of a matrix z is close to 1, where the approximant is 1/11 and not 0. Relative errors of the root
    and of its gradient (float64, n = 16, spectra spaced evenly in the logarithm):

    ========  ==============  ==============  ==============
    k         4               100             1000
    ========  ==============  ==============  ==============
    pade      3e-4, 4e-4      0.03, 0.14      0.09, 0.52
    taylor    1e-2, 1e-2      0.13, 0.34      0.24, 0.69
    ========  ==============  ==============  ==============

    Those of the inverse root are larger: 0.19 and 0.51 for pade at k = 100.

    **Shapes** A and the result (..., n, n).

    Args:
        A: SPD matrices; products are formed in their dtype.
        f: "sqrt" or "invsqrt".
        method: "newton_schulz", "pade" or "taylor".

    Raises:
        InvalidInput: another function; A is not SPD, or the iteration did not converge (in eager mode on the CPU; elsewhere
            such matrices give NaN).

    Source: Song, Sebe, Wang, Fast differentiable matrix square root (ICLR 2022, arXiv 2201.08663); Higham, Functions of
    Matrices (2008), for Newton-Schulz.

    >>> iterative_root(4 * torch.eye(2, dtype=torch.float64), "invsqrt", "newton_schulz").round(decimals=12).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    if f not in ("sqrt", "invsqrt"):
        raise InvalidInput(
            f"method {method!r} computes 'sqrt' and 'invsqrt' only, found {f!r}. Use method='eigh'."
        )
    root, inverse = variant(_Roots, _RootsJvp)(A, method)
    return root if f == "sqrt" else inverse


def sign_lyapunov(P: Tensor, V: Tensor, published: bool = False) -> Tensor:
    r"""Return the solution of P X + X P = V by the sign iteration, for P SPD.

    .. math:: B \leftarrow B (3I - B^2) / 2, \qquad C \leftarrow (C (3I - B^2) - B^2 C + B C B) / 2, \qquad X = C / 2

    from B = P/\|P\|, C = V/\|P\|. It converges as the sign of a block matrix does.

    Args:
        P: SPD matrices (..., n, n).
        V: right-hand sides (..., n, n).
        published: 8 iterations whatever the residual; else as many as each matrix needs.

    >>> P = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    >>> sign_lyapunov(P, torch.ones(2, 2, dtype=torch.float64)).round(decimals=12).tolist()
    [[0.5, 0.25], [0.25, 0.166666666667]]
    """
    return variant(_Sign, _SignJvp)(P, V, published)


def _norm(A: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(A, keepdim=True)


def _residual(M: Tensor) -> Tensor:  # distance from the identity, (..., 1, 1)
    return _norm(M - torch.eye(M.shape[-1], dtype=M.dtype, device=M.device))


def _near(M: Tensor) -> float:
    """The residual from which one more iteration, which squares it, reaches rounding."""
    return torch.finfo(M.dtype).eps ** 0.5


def _newton_schulz(A: Tensor) -> tuple[Tensor, Tensor]:
    """The root and its inverse; NaN for matrices that do not converge."""
    size = _norm(A)
    Y, Z = A / size, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    done = torch.zeros_like(size, dtype=torch.bool)
    watched = values_known(A)
    for _ in range(MOST):
        product = Z @ Y
        last = _residual(product) < _near(A)  # this iteration is the last one
        half = 1.5 * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - 0.5 * product
        Y, Z = torch.where(done, Y, Y @ half), torch.where(done, Z, half @ Z)
        done = done | last
        if watched and bool(done.all()):
            break
    scale = size.sqrt()
    missing = torch.where(done, 0.0, torch.nan)
    return symmetrize(Y) * scale + missing, symmetrize(Z) / scale + missing


@torch.library.custom_op("geomlib::newton_schulz_roots", mutates_args=())
def _newton_schulz_operator(A: Tensor) -> tuple[Tensor, Tensor]:
    root, inverse = _newton_schulz(A)
    return root.contiguous(), inverse.contiguous()


@_newton_schulz_operator.register_fake
def _like_roots(A: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(A, memory_format=torch.contiguous_format), torch.empty_like(
        A, memory_format=torch.contiguous_format
    )


@torch.library.custom_op("geomlib::sign_lyapunov", mutates_args=())
def _sign_operator(P: Tensor, V: Tensor, published: bool) -> Tensor:
    return _sign(P, V, published).contiguous()


@_sign_operator.register_fake
def _like_solution(P: Tensor, V: Tensor, published: bool) -> Tensor:
    return torch.empty_like(V, memory_format=torch.contiguous_format)


def _powers(A: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return the polynomial in Z = I - A/|A|, by Horner's rule."""
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    Z = eye - A / _norm(A)
    found = coefficients[-1] * eye.expand(A.shape)
    for c in reversed(coefficients[:-1]):
        found = Z @ found + c * eye
    return found


def _binomials(exponent: float) -> tuple[float, ...]:
    """Coefficients of (1 - z)^exponent to the tenth power of z."""
    found = [1.0]
    for k in range(1, _TERMS + 1):
        found.append(-found[-1] * (exponent - k + 1) / k)
    return tuple(found)


def _series(A: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """The root and the inverse root as published."""
    scale = _norm(A).sqrt()
    if method == "taylor":
        return _powers(A, _binomials(0.5)) * scale, _powers(A, _binomials(-0.5)) / scale
    P, Q = _powers(A, _PADE_P), _powers(A, _PADE_Q)
    return torch.linalg.solve(Q, P) * scale, torch.linalg.solve(P, Q) / scale


def _sign(P: Tensor, V: Tensor, published: bool) -> Tensor:
    size = _norm(P)
    eye = torch.eye(P.shape[-1], dtype=P.dtype, device=P.device)
    B, C = P / size, V / size
    done = torch.zeros_like(size, dtype=torch.bool)
    watched = values_known(P, V) and not published
    for _ in range(PUBLISHED if published else MOST):
        square = B @ B
        last = _residual(square) < _near(P)
        rest = 3 * eye - square
        new_C = 0.5 * (C @ rest - square @ C + B @ C @ B)
        C, B = torch.where(done, C, new_C), torch.where(done, B, 0.5 * (B @ rest))
        if not published:
            done = done | last
        if watched and bool(done.all()):
            break
    return 0.5 * C if published else 0.5 * C + torch.where(done, 0.0, torch.nan)


class _Sign(Function):
    @staticmethod
    def forward(P: Tensor, V: Tensor, published: bool) -> Tensor:
        return (_sign_operator if torch.compiler.is_compiling() else _sign)(P, V, published)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        P, _, ctx.published = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(P, output)
        ctx.save_for_forward(P, output)

    @staticmethod
    def backward(ctx: Any, G: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if G is None:
            return None, None, None
        P, X = ctx.saved_tensors
        Y = sign_lyapunov(P, G, ctx.published)
        return -symmetrize(Y @ X.mT + X.mT @ Y), Y, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, int]:
        return variant(_Sign, _SignJvp)(*fronted(info, in_dims, args)), 0


class _SignJvp(_Sign):
    @staticmethod
    def jvp(ctx: Any, dP: Tensor | None, dV: Tensor | None, *_: Any) -> Tensor | None:
        P, X = ctx.saved_tensors
        parts = [] if dV is None else [dV]
        if dP is not None:
            E = symmetrize(dP)
            parts.append(-(E @ X + X @ E))
        source = total(parts)
        return None if source is None else sign_lyapunov(P, source, ctx.published)


class _Roots(Function):
    """The root S and its inverse R; derivatives are Lyapunov equations with S."""

    @staticmethod
    def forward(A: Tensor, method: str) -> tuple[Tensor, Tensor]:
        require_spd("A", A)
        base = symmetrize(A)
        if method != "newton_schulz":
            return _series(base, method)
        if torch.compiler.is_compiling():  # one operator: a graph of all iterations takes a minute to compile
            return _newton_schulz_operator(base)
        root, inverse = _newton_schulz(base)
        if values_known(root) and root.numel():
            good = root.isfinite().flatten(-2).all(-1)
            if not bool(good.all()):
                raise InvalidInput(
                    f"{named('A', first_bad(good))}: the Newton-Schulz iteration did not converge in {A.dtype}; the matrix "
                    "is too close to a singular one. Use method='eigh', or float64."
                )
        return root, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, method = inputs
        ctx.published = method != "newton_schulz"
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, GS: Tensor | None, GR: Tensor | None) -> tuple[Tensor | None, None]:
        S, R = ctx.saved_tensors
        parts = [] if GS is None else [symmetrize(GS)]
        if GR is not None:
            parts.append(-(R @ symmetrize(GR) @ R))
        source = total(parts)
        return (None if source is None else sign_lyapunov(S, source, ctx.published)), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], A: Tensor, *rest: Any) -> tuple[Any, Any]:
        return variant(_Roots, _RootsJvp)(A.movedim(in_dims[0], 0), *rest), (0, 0)


class _RootsJvp(_Roots):
    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *_: Any) -> tuple[Tensor | None, Tensor | None]:
        if dA is None:
            return None, None
        S, R = ctx.saved_tensors
        dS = sign_lyapunov(S, symmetrize(dA), ctx.published)
        return dS, -(R @ dS @ R)
