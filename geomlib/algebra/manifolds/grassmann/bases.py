r"""Frames of subspaces that are given otherwise: as projectors, as leading eigenvectors, as means of subspaces.

A frame is no function of a subspace; these are, around the point where they are taken: :math:`Y (Y^\top Y)^{-1/2}` with Y the
projection of a fixed frame. So derivatives of whatever depends on the subspace alone are right, of any order, and only the
gap between kept and dropped eigenvalues enters them.
"""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.manifolds.spectral import apply_spectrum, decompose, symfun

__all__ = ["dominant_frame", "mean_subspace", "projector"]


def projector(U: Tensor) -> Tensor:  # (..., n, p) -> (..., n, n)
    r"""Return :math:`U U^\top`.

    **Shapes** ``U`` (..., n, p) to (..., n, n).

    >>> import torch
    >>> projector(torch.eye(2)[:, :1]).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return U @ U.mT


def dominant_frame(A: Tensor, p: int) -> Tensor:  # (..., n, n) -> (..., n, p)
    """Return a frame of the p leading eigenvectors of a symmetric matrix, ascending.

    **Shapes** ``A`` (..., n, n) to (..., n, p).

    >>> import torch
    >>> dominant_frame(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 1).abs().flatten()
    tensor([0., 1., 0.])
    """
    kept, fixed = _dominant(A, p)
    return _orthonormal(kept @ fixed)


def mean_subspace(U: Tensor, p: int | None = None) -> Tensor:  # (..., k, n, q) -> (..., n, p)
    """Return a frame of the dominant subspace of the mean projector of k subspaces, the extrinsic mean.

    Where k q < n, it is computed from the (k q, k q) matrix of products of the frames.

    **Shapes** ``U`` (..., k, n, q) to (..., n, p).

    Args:
        U: frames.
        p: dimension; q by default.

    >>> import torch
    >>> U = torch.linalg.qr(torch.randn(3, 6, 2, dtype=torch.float64))[0]
    >>> mean = projector(U).mean(0)
    >>> torch.allclose(projector(mean_subspace(U)), projector(dominant_frame(mean, 2)))
    True
    """
    k, n, q = U.shape[-3:]
    p = q if p is None else p
    if k * q >= n or k * q < p:
        return dominant_frame(projector(U).mean(-3), p)
    columns = U.transpose(-3, -2).flatten(-2) / k**0.5  # (..., n, k q)
    kept, fixed = _dominant(columns.mT @ columns, p)
    return _orthonormal(columns @ (kept @ fixed))


def _dominant(A: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """Return the projector on the leading eigenvectors, and these as constants."""
    w, v = decompose(A)
    return apply_spectrum(A, w, v, "top", p), v[..., -p:].to(A.dtype)


def _orthonormal(Y: Tensor) -> Tensor:
    return Y @ symfun(Y.mT @ Y, "invsqrt")
