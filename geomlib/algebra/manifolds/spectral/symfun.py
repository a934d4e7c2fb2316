"""Functions of symmetric matrices with exact derivatives of every order, forward and reverse."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import require_square, symmetrize
from geomlib.algebra.manifolds.spectral import primitives
from geomlib.algebra.manifolds.spectral.higher import directional
from geomlib.algebra.manifolds.spectral.iterative import ITERATIVE, iterative_root
from geomlib.algebra.manifolds.spectral.scalar import checked_function, value
from geomlib.algebra.manifolds.spectral.transforms import fronted, total, variant
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = ["METHODS", "apply_spectrum", "decompose", "derivative_symfun", "symfun"]

METHODS = ("eigh", *ITERATIVE)


def symfun(
    A: Tensor,  # (..., n, n)
    f: str,
    t: float | None = None,
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
    method: str = "eigh",
) -> Tensor:
    r"""Return a function of symmetric matrices.

    .. math:: f(A) = v\, \mathrm{diag}(f(w))\, v^T, \qquad A = v\, \mathrm{diag}(w)\, v^T

    Derivatives of any order are exact, at repeated eigenvalues too: they are sums over divided differences of f, never
    quotients of differences of close eigenvalues. Reverse and forward mode, ``torch.func`` and ``torch.compile`` are served.

    **Shapes** A and the result (..., n, n). A is symmetrised, and so is its gradient.

    Args:
        A: symmetric matrices.
        f: "log", "sqrt", "invsqrt", "inv", "exp", "pow" (the exponent is t) or "clamp" (eigenvalues below the floor t are
            raised to it; the derivative is 1 strictly above the floor and 0 below).
        t: parameter of "pow" and "clamp".
        eig_dtype: in which eigenvalues, functions and divided differences are computed; the result has the dtype of A.
        backend: "auto", "torch", "cpu" or "cuda"; None takes that of the context.
        method: "eigh"; for "sqrt" and "invsqrt" also "newton_schulz", "pade" and "taylor", which use products and solves in
            the dtype of A only: see :func:`~geomlib.algebra.manifolds.spectral.iterative_root` for what they are worth.

    Raises:
        InvalidInput: A is not square or not real. On the CPU, outside of transforms, too, naming the matrix of the batch: NaN,
            infinity, asymmetry; eigenvalues outside of the domain of f (log, roots and powers need them positive beyond n eps
            times the largest, the inverse not zero); overflow of "exp". Elsewhere such matrices give NaN or infinity.

    Source: Higham, Functions of Matrices (2008); Ionescu, Vantzos, Sminchisescu, Training deep networks with structured layers
    by matrix backpropagation (arXiv 1509.07838), here with exact divided differences.

    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> torch.allclose(symfun(symfun(A, "log"), "exp"), A)
    True
    """
    require_square("A", A)
    parameter = checked_function(f, t)
    if method not in METHODS:
        raise InvalidInput(f"unknown method {method!r}, expected one of {METHODS}.{closest(method, METHODS)}")
    if method != "eigh":
        return iterative_root(A, f, method)
    found = primitives.whole(A, f, parameter, eig_dtype, backend)
    return _valued()(A, f, parameter, eig_dtype, backend)[0] if found is None else found


def derivative_symfun(
    A: Tensor,  # (..., n, n)
    f: str,
    G: Tensor,  # (..., n, n)
    t: float | None = None,
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:
    r"""Return the derivative of a spectral function in a symmetric direction, itself differentiable.

    .. math:: Df(A)[G] = v\, (K \circ v^T G v)\, v^T, \qquad K_{ij} = f[w_i, w_j]

    It is its own transpose, so this is also the vector-Jacobian product with cotangent G. A and G broadcast against
    each other.

    **Shapes** A, G and the result (..., n, n).

    Args:
        A: symmetric matrices.
        f: as for :func:`symfun`.
        G: symmetric directions; symmetrised.
        t: parameter of f.
        eig_dtype: as for :func:`symfun`.
        backend: as for :func:`symfun`.

    Raises:
        InvalidInput: as :func:`symfun`; G does not fit.

    >>> A, G = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> derivative_symfun(A, "sqrt", G).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    require_square("A", A)
    require_square("G", G)
    parameter = checked_function(f, t)
    if A.shape[-1] != G.shape[-1]:
        raise InvalidInput(
            f"`G` has shape {tuple(G.shape)}, expected matrices of the size of `A`, {tuple(A.shape)}."
        )
    shape = torch.broadcast_shapes(A.shape, G.shape)
    base, direction = A.expand(shape), G.expand(shape)
    w, v = decompose(base, eig_dtype=eig_dtype, backend=backend)
    if not torch.compiler.is_compiling():
        primitives.check(base, w, f, parameter)
    return _derive(base, w, v, (direction,), f, parameter, backend)


def decompose(
    A: Tensor, *, eig_dtype: torch.dtype = torch.float64, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors, as constants that :func:`apply_spectrum` takes.

    >>> w, v = decompose(torch.eye(2))
    >>> w.tolist()
    [1.0, 1.0]
    """
    if torch.compiler.is_compiling():
        return primitives.eigh(A.detach(), eig_dtype, backend)
    return _Decompose.apply(A, eig_dtype, backend)


def apply_spectrum(
    A: Tensor, w: Tensor, v: Tensor, f: str, t: float | None = None, *, backend: str | None = None
) -> Tensor:
    """Return f(A) from the decomposition of A: several functions, one decomposition.

    >>> A = 4 * torch.eye(2)
    >>> apply_spectrum(A, *decompose(A), "sqrt").tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    parameter = float(t or 0) if f == "top" else checked_function(f, t)
    if not torch.compiler.is_compiling():
        primitives.check(A, w, f, parameter)
    return _derive(A, w, v, (), f, parameter, backend)


def _valued() -> Any:
    return variant(_Value, _ValueJvp)


def _derived() -> Any:
    return variant(_Derivative, _DerivativeJvp)


def _derive(
    A: Tensor, w: Tensor, v: Tensor, E: tuple[Tensor, ...], f: str, t: float, backend: str | None
) -> Tensor:
    """The derivative of order len(E), differentiable."""
    return _derived()(A, w, v, torch.stack(E, -3) if E else None, f, t, backend)


def _directions(E: Tensor | None) -> tuple[Tensor, ...]:
    return () if E is None else E.unbind(-3)


def _evaluate(
    w: Tensor, v: Tensor, f: str, t: float, backend: str | None, E: tuple[Tensor, ...], dtype: torch.dtype
) -> Tensor:
    """The derivative of order len(E), 0 included, from the decomposition."""
    if len(E) == 1:
        return primitives.derivative(w, v, f, t, E[0], backend)
    if not E:
        return symmetrize((v * value(f, w, t).unsqueeze(-2)) @ v.mT).to(dtype)
    inner = [v.mT @ symmetrize(e.to(w.dtype)) @ v for e in E]
    return (v @ directional(w, f, t, inner) @ v.mT).to(dtype)


class _Decompose(Function):
    @staticmethod
    def forward(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> tuple[Tensor, Tensor]:
        return primitives.eigh(A, eig_dtype, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], A: Tensor, *rest: Any) -> tuple[Any, Any]:
        return _Decompose.apply(A.movedim(in_dims[0], 0), *rest), (0, 0)


class _Value(Function):
    """f(A), with eigenvalues and eigenvectors for the derivatives."""

    @staticmethod
    def forward(
        A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return primitives.forward(A, f, t, eig_dtype, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        A, ctx.f, ctx.t, _, ctx.backend = inputs
        _, w, v = output
        ctx.mark_non_differentiable(w, v)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(A, w, v)
        ctx.save_for_forward(A, w, v)

    @staticmethod
    def backward(ctx: Any, G: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if G is None:
            return (None,) * 5
        A, w, v = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return primitives.derivative(w, v, ctx.f, ctx.t, G, ctx.backend), None, None, None, None
        return _derive(A, w, v, (G,), ctx.f, ctx.t, ctx.backend), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], A: Tensor, *rest: Any) -> tuple[Any, Any]:
        return _valued()(A.movedim(in_dims[0], 0), *rest), (0, 0, 0)


class _ValueJvp(_Value):
    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *_: Any) -> tuple[Tensor | None, None, None]:
        A, w, v = ctx.saved_tensors
        dF = None if dA is None else _derive(A, w, v, (dA,), ctx.f, ctx.t, ctx.backend)
        return dF, None, None


class _Derivative(Function):
    """The derivative of order k of f at A in k directions; its derivatives are those of the next order and of its own.

    tr(H D^k f(A)[E1..Ek]) is symmetric in all its directions, H included: so the gradient with respect to A is the derivative
    of order k + 1 in the directions E and H. The directions are one tensor (..., k, n, n), None for the value.
    """

    @staticmethod
    def forward(
        A: Tensor, w: Tensor, v: Tensor, E: Tensor | None, f: str, t: float, backend: str | None
    ) -> Tensor:
        return _evaluate(w, v, f, t, backend, _directions(E), A.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        A, w, v, E, ctx.f, ctx.t, ctx.backend = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(A, w, v, E)
        ctx.save_for_forward(A, w, v, E)

    @staticmethod
    def backward(ctx: Any, H: Tensor | None) -> tuple[Any, ...]:
        if H is None:
            return (None,) * 7
        A, w, v, directions = ctx.saved_tensors
        E = _directions(directions)

        def again(*chosen: Tensor) -> Tensor:
            return _derive(A, w, v, chosen, ctx.f, ctx.t, ctx.backend)

        grad = again(*E, H) if ctx.needs_input_grad[0] else None
        others = None
        if E and ctx.needs_input_grad[3]:
            others = torch.stack([again(*E[:i], *E[i + 1 :], H) for i in range(len(E))], -3)
        return grad, None, None, others, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, int]:
        return _derived()(*fronted(info, in_dims, args)), 0


class _DerivativeJvp(_Derivative):
    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, dw: Any, dv: Any, dE: Tensor | None, *_: Any) -> Tensor | None:
        A, w, v, directions = ctx.saved_tensors
        E = _directions(directions)
        parts = [] if dA is None else [_derive(A, w, v, (*E, dA), ctx.f, ctx.t, ctx.backend)]
        for i, change in enumerate(_directions(dE)):
            changed = (*E[:i], *E[i + 1 :], change)
            parts.append(_derive(A, w, v, changed, ctx.f, ctx.t, ctx.backend))
        return total(parts)
