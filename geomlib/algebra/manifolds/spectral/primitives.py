"""The three operations of spectral functions that a fast backend replaces; everything else is written with them.

A module registered as the fast path ``"spectral"`` (:mod:`geomlib.kernels.spectral`) has functions of the same names and
arguments, and ``backend`` besides, or some of them; it serves every call by whichever backend it chooses, and calls those
written here with torch, which are the specification, where torch shall do the work:

* ``eigh(A, eig_dtype) -> (w, v)``: eigenvalues, ascending (..., n), and eigenvectors (..., n, n) of ``symmetrize(A)``, both of
  dtype ``eig_dtype``;
* ``forward(A, f, t, eig_dtype) -> (F, w, v)``: the same and F = v diag(f(w)) v^T, symmetric, of the dtype of A;
* ``derivative(w, v, f, t, E) -> D``: v (K o (v^T sym(E) v)) v^T, K the first divided differences of f at w, computed in the
  dtype of w and returned in the dtype of E; (w, v) and E have the same batch dimensions.

The fast path may have ``symfun(A, f, t, eig_dtype, backend) -> F | None`` too, the function with its derivatives.

``f`` is a name of :data:`~geomlib.algebra.manifolds.spectral.scalar.FUNCTIONS`, or ``"top"`` with t = p for the projector on
the p largest eigenvalues; ``t`` is a float, 0.0 where f takes none. ``eigh`` refuses what :func:`require_symmetric` refuses;
``forward`` does too, and ends with :func:`check` (neither reads values where they are not known), or with a cheaper test that
calls it when something is wrong: it raises the typed error. None of them is differentiated through: they are called inside
``autograd.Function`` with rules for vmap.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import (
    first_bad,
    named,
    not_positive,
    require_symmetric,
    symmetrize,
    values_known,
)
from geomlib.algebra.manifolds.fast import spectral_kernels
from geomlib.algebra.manifolds.spectral.scalar import POSITIVE, loewner, value
from geomlib.errors import InvalidInput

__all__ = [
    "check",
    "derivative",
    "eigh",
    "forward",
    "torch_derivative",
    "torch_eigh",
    "torch_forward",
    "whole",
]


def eigh(A: Tensor, eig_dtype: torch.dtype, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors by the backend that serves the call.

    >>> eigh(torch.eye(2), torch.float64)[0].tolist()
    [1.0, 1.0]
    """
    fast = _fast("eigh")
    return torch_eigh(A, eig_dtype) if fast is None else fast(A, eig_dtype, backend)


def forward(
    A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), eigenvalues and eigenvectors by the backend that serves the call.

    >>> forward(torch.eye(2), "log", 0.0, torch.float64)[0].tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    fast = _fast("forward")
    return torch_forward(A, f, t, eig_dtype) if fast is None else fast(A, f, t, eig_dtype, backend)


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str | None = None) -> Tensor:
    """Return the derivative of f in direction E by the backend that serves the call.

    >>> derivative(torch.ones(2), torch.eye(2), "log", 0.0, torch.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    fast = _fast("derivative")
    return torch_derivative(w, v, f, t, E) if fast is None else fast(w, v, f, t, E, backend)


def whole(A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None = None) -> Tensor | None:
    """Return f(A), with derivatives, by a fast path that does all of it at once; None where there is none for the call.

    >>> found = whole(torch.eye(2), "log", 0.0, torch.float64, "torch")
    >>> found is None
    True
    """
    fast = _fast("symfun")
    return None if fast is None else fast(A, f, t, eig_dtype, backend)


def _fast(name: str) -> Callable[..., Any] | None:
    """The function of the fast path, if it has this one."""
    return getattr(spectral_kernels(), name, None)


def torch_eigh(A: Tensor, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors by torch.

    Raises:
        InvalidInput: for NaN, infinity and asymmetry, where values are known.

    >>> torch_eigh(2 * torch.eye(2), torch.float64)[0].tolist()
    [2.0, 2.0]
    """
    require_symmetric("A", A)
    w, v = torch.linalg.eigh(symmetrize(A.to(eig_dtype)))
    return w, v


def torch_forward(A: Tensor, f: str, t: float, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), eigenvalues and eigenvectors by torch.

    Raises:
        InvalidInput: as :func:`check`.

    >>> torch_forward(4 * torch.eye(1), "sqrt", 0.0, torch.float64)[0].tolist()
    [[2.0]]
    """
    w, v = torch_eigh(A, eig_dtype)
    check(A, w, f, t)
    F = (v * value(f, w, t).unsqueeze(-2)) @ v.mT
    return symmetrize(F).to(A.dtype), w, v


def torch_derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor) -> Tensor:
    """Return the derivative of f in direction E by torch.

    >>> torch_derivative(torch.zeros(1), torch.eye(1), "exp", 0.0, torch.ones(1, 1)).tolist()
    [[1.0]]
    """
    inner = v.mT @ symmetrize(E.to(w.dtype)) @ v
    return (v @ (loewner(f, w, t) * inner) @ v.mT).to(E.dtype)


def check(A: Tensor, w: Tensor, f: str, t: float, name: str = "A") -> None:
    """Refuse eigenvalues for which f is not defined, where values are known.

    Raises:
        InvalidInput: NaN, infinity or an asymmetric matrix; an eigenvalue that is not positive to working precision, n eps
            times the largest, for log, sqrt, invsqrt and pow; a singular matrix for inv; overflow of exp; no gap for a
            projector.

    >>> check(torch.eye(2), torch.ones(2), "log", 0.0)
    """
    if not values_known(A, w) or w.numel() == 0:
        return
    n, eps = w.shape[-1], torch.finfo(w.dtype).eps
    least, most = w[..., 0], w[..., -1]
    if f in POSITIVE:
        good = least > n * eps * most
    elif f == "inv":
        size = w.abs()
        good = size.amin(-1) > n * eps * size.amax(-1)
    elif f == "exp":
        good = most < math.log(torch.finfo(A.dtype).max)
    elif f == "top":
        p = int(t)
        gap = w[..., n - p] - w[..., n - p - 1] if 0 < p < n else torch.ones_like(least)
        good = gap > n * eps * w.abs().amax(-1) if 0 < p < n else gap > 0
    else:
        good = most < math.inf
    if bool(good.all()):
        return
    require_symmetric(name, A)  # words NaN, infinity and asymmetry
    where = first_bad(good)
    found = w[where]
    if f in POSITIVE:
        raise not_positive(name, where, found)
    if f == "inv":
        raise InvalidInput(
            f"{named(name, where)} is singular to working precision: eigenvalues {found.tolist()}."
        )
    if f == "exp":
        raise InvalidInput(
            f"the exponential of {named(name, where)} overflows {A.dtype}: its largest eigenvalue is {found[-1]:.6g}. "
            "Scale the matrix, or subtract a multiple of the identity."
        )
    if f == "top":
        raise InvalidInput(
            f"{named(name, where)}: its {int(t)} largest eigenvalues are not separated from the others, so they span no "
            f"definite subspace; eigenvalues {found.tolist()}."
        )
    raise InvalidInput(f"{named(name, where)} has eigenvalues {found.tolist()}, expected finite numbers.")
