r"""Gyro operations on frames, written with the block of the rotation that carries the first coordinates to a subspace.

The rotation is :math:`e^\Omega` with :math:`\Omega = \begin{pmatrix} 0 & -B^\top \\ B & 0 \end{pmatrix}`, B of shape (n-p, p);
it is never written out.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.manifolds.grassmann.series import angle_over_sine, trigonometric
from geomlib.algebra.manifolds.spectral import polar, symmetrize

__all__ = ["block", "block_add", "block_exp", "block_rotate"]


def block_exp(B: Tensor) -> Tensor:  # (..., n-p, p) -> (..., n, p)
    r"""Return the frame :math:`e^\Omega I_{n,p}`, whose columns are orthonormal.

    .. math:: \begin{pmatrix} \cos\sqrt C \\ B\, \sin\sqrt C/\sqrt C \end{pmatrix}, \qquad C = B^\top B

    **Shapes** ``B`` (..., n-p, p) to (..., n, p).

    >>> U = block_exp(torch.randn(5, 4, 2, dtype=torch.float64))
    >>> torch.allclose(U.mT @ U, torch.eye(2, dtype=torch.float64))
    True
    """
    c, s, _ = trigonometric(B.mT @ B)
    return torch.cat([c, B @ s], -2)


def block_rotate(
    B: Tensor, U: Tensor, inverse: bool = False
) -> Tensor:  # (..., n-p, p), (..., n, q) -> (..., n, q)
    r"""Return :math:`e^\Omega U`, or :math:`e^{-\Omega} U`, by products with B alone.

    .. math:: y_1 = c\,u_1 - s B^\top u_2, \qquad y_2 = u_2 + B\,(s\,u_1 - k B^\top u_2)

    with the functions :math:`c, s, k` of :math:`C = B^\top B` of
    :func:`~geomlib.algebra.manifolds.grassmann.series.trigonometric`.

    **Shapes** ``B`` (..., n-p, p), ``U`` (..., n, q) to (..., n, q).

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560,
    for the operation; the low-rank form is ours.

    >>> B, U = torch.randn(4, 2, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    >>> torch.allclose(block_rotate(B, block_rotate(B, U), inverse=True), U)
    True
    """
    p = B.shape[-1]
    c, s, k = trigonometric(B.mT @ B)
    first, rest = U[..., :p, :], U[..., p:, :]
    crossing = B.mT @ rest
    if inverse:
        return torch.cat([c @ first + s @ crossing, rest - B @ (s @ first + k @ crossing)], -2)
    return torch.cat([c @ first - s @ crossing, rest + B @ (s @ first - k @ crossing)], -2)


def block(U: Tensor) -> Tensor:  # (..., n, p) -> (..., n-p, p)
    r"""Return B of the subspace: the logarithm at the first p coordinates, where :func:`block_exp` begins.

    .. math:: B = U_2\, O^\top g(S), \qquad U_1 = S\, O, \qquad g(\cos\theta) = \theta / \sin\theta

    It does not depend on the frame of the subspace. A subspace with a direction orthogonal to the first p coordinates lies on
    their cut locus: the norm of B is right, one of the possible directions is returned.

    **Shapes** ``U`` (..., n, p) to (..., n-p, p).

    >>> B = 0.3 * torch.randn(4, 2, dtype=torch.float64)
    >>> torch.allclose(block(block_exp(B)), B)
    True
    """
    p = U.shape[-1]
    turn, angles = aligned(U[..., :p, :])
    return U[..., p:, :] @ (turn.mT @ angles)


def block_add(U: Tensor, V: Tensor) -> Tensor:  # (..., n, p), (..., n, q) -> (..., n, q)
    r"""Return the gyrosum :math:`U \oplus V = e^{\bar U} V`, with the block of U.

    **Shapes** ``U`` (..., n, p), ``V`` (..., n, q) to (..., n, q).

    >>> U, V = torch.linalg.qr(torch.randn(2, 5, 2, dtype=torch.float64))[0]
    >>> W = block_rotate(block(U), block_add(U, V), inverse=True)  # left cancellation
    >>> torch.allclose(W, V)
    True
    """
    return block_rotate(block(U), V)


def aligned(M: Tensor) -> tuple[Tensor, Tensor]:  # (..., p, p)
    """Return an orthogonal polar factor O of the products M = S O of two frames, and the angles over sines g(S).

    Where cosines are lost in rounding, on the cut locus, O is not unique: one is taken, and derivatives are those of a matrix
    whose lost cosines are 1, which are finite.
    """
    turn = polar(M + _lost(M))
    return turn, angle_over_sine(symmetrize(M @ turn.mT))


def _lost(M: Tensor) -> Tensor | float:
    """Return what raises singular values below rounding to 1; 0 if there are none."""
    x = M.detach()
    tol = 4 * M.shape[-1] * torch.finfo(M.dtype).eps
    # Singular values are cosines, at most 1: a determinant above the bound says that all are.
    if values_known(x) and (
        bool((torch.linalg.det(x).abs() > 2 * tol).all()) or not bool(x.isfinite().all())
    ):
        return 0.0
    left, cosines, right = torch.linalg.svd(x.double())
    return ((left * (cosines <= tol).unsqueeze(-2)) @ right).to(M.dtype)
