"""The primitives of `geomlib.algebra.manifolds.spectral.primitives` by the backend that serves a call that is not traced."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spectral.primitives import torch_derivative, torch_eigh, torch_forward
from geomlib.kernels.dispatch import choose
from geomlib.kernels.spectral.groupwise import evaluate, pack, pull, unpack

__all__ = ["chosen", "derivative", "eigh", "forward", "loops_pay"]

#: Size of the matrices up to which the loops are faster for any number of them: a group costs as much for one matrix.
ALWAYS = 32
#: Size up to which they are for eight matrices or more.
LARGEST = 100


def loops_pay(A: Tensor) -> bool:
    """Return whether the loops are faster than LAPACK, as measured by ``benchmarks/spectral.py``.

    >>> loops_pay(torch.empty(8, 64, 64)), loops_pay(torch.empty(1, 93, 93))
    (True, False)
    """
    n = A.shape[-1]
    return n <= ALWAYS or (n <= LARGEST and A.numel() >= 8 * n * n)


def eigh(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    name = chosen(A, eig_dtype, backend)
    if name == "cuda":
        from geomlib.kernels.spectral import cuda

        return cuda.eigh(A, eig_dtype)
    if name == "torch":
        return torch_eigh(A, eig_dtype)
    return unpack(evaluate(A, "clamp", -math.inf, eig_dtype, keep=True)[1], A.shape)


def forward(
    A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    name = chosen(A, eig_dtype, backend)
    if name == "cuda":
        from geomlib.kernels.spectral import cuda

        return cuda.forward(A, f, t, eig_dtype)
    if name == "torch":
        return torch_forward(A, f, t, eig_dtype)
    F, saved = evaluate(A, f, t, eig_dtype, keep=True)
    return F, *unpack(saved, A.shape)


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str | None) -> Tensor:
    """Return the derivative of f in direction E."""
    name = chosen(E, w.dtype, backend)
    if name == "cuda":
        from geomlib.kernels.spectral import cuda

        return cuda.derivative(w, v, f, t, E)
    if name == "torch":
        return torch_derivative(w, v, f, t, E)
    return pull(pack(w, v, f, t), f, t, E)


def chosen(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> str:
    """Return the backend that serves a call."""
    return choose(
        "spectral functions", (A,), backend, cuda=lambda: _card(A, eig_dtype), loops_pay=lambda: loops_pay(A)
    )


def _card(A: Tensor, eig_dtype: torch.dtype) -> str | None:
    from geomlib.kernels.spectral.cuda import refusal

    return refusal(A.shape[-1], A.dtype, eig_dtype)
