"""The primitives as operators of torch, for code that is compiled, exported or traced; plain calls do not pass through here.

They have no derivatives of their own: the autograd functions of `geomlib.algebra.manifolds.spectral` call them, and bring
those of every order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.kernels.spectral import served

__all__ = ["derivative", "eigh", "forward"]


@torch.library.custom_op("geomlib::spectral_eigh", mutates_args=())
def eigh(A: Tensor, eig_dtype: torch.dtype, backend: str) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    w, v = served.eigh(A, eig_dtype, backend or None)
    return w, v.contiguous()


@eigh.register_fake
def _(A: Tensor, eig_dtype: torch.dtype, backend: str) -> tuple[Tensor, Tensor]:
    return A.new_empty(A.shape[:-1], dtype=eig_dtype), A.new_empty(A.shape, dtype=eig_dtype)


@torch.library.custom_op("geomlib::spectral_forward", mutates_args=())
def forward(
    A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    F, w, v = served.forward(A, f, t, eig_dtype, backend or None)
    return F.contiguous(), w, v.contiguous()


@forward.register_fake
def _(A: Tensor, f: str, t: float, eig_dtype: torch.dtype, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    w, v = A.new_empty(A.shape[:-1], dtype=eig_dtype), A.new_empty(A.shape, dtype=eig_dtype)
    return A.new_empty(A.shape), w, v


@torch.library.custom_op("geomlib::spectral_derivative", mutates_args=())
def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str) -> Tensor:
    """Return the derivative of f in direction E."""
    return served.derivative(w, v, f, t, E, backend or None).contiguous()


@derivative.register_fake
def _(w: Tensor, v: Tensor, f: str, t: float, E: Tensor, backend: str) -> Tensor:
    return E.new_empty(E.shape)


def _leading(info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    """Bring the axis of vmap to the front of every tensor: matrices have any number of leading dimensions."""
    size = info.batch_size
    return [
        (a.expand(size, *a.shape) if d is None else a.movedim(d, 0)) if isinstance(a, Tensor) else a
        for a, d in zip(args, in_dims, strict=True)
    ]


@eigh.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    return eigh(*_leading(info, in_dims, args)), (0, 0)


@forward.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    return forward(*_leading(info, in_dims, args)), (0, 0, 0)


@derivative.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    return derivative(*_leading(info, in_dims, args)), 0
