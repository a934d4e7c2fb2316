r"""Geodesics, logarithms, transport and angles of subspaces that are given by frames (orthonormal columns).

A tangent at the subspace of U is a matrix D of the same shape with :math:`U^\top D = 0`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.grassmann.blocks import aligned
from geomlib.algebra.manifolds.grassmann.series import trigonometric
from geomlib.algebra.manifolds.spectral import spectrum, symmetrize
from geomlib.algebra.manifolds.spectral.transforms import variant

__all__ = ["angles", "frame_exp", "frame_log", "frame_transport", "horizontal", "squared_angle"]


def horizontal(U: Tensor, D: Tensor) -> Tensor:  # (..., n, p)
    r"""Return the tangent part :math:`D - U U^\top D`.

    **Shapes** ``U``, ``D`` (..., n, p) to (..., n, p).

    >>> U = torch.eye(3)[:, :1]
    >>> horizontal(U, torch.ones(3, 1)).flatten()
    tensor([0., 1., 1.])
    """
    return D - U @ (U.mT @ D)


def frame_exp(U: Tensor, D: Tensor) -> Tensor:  # (..., n, p)
    r"""Return the frame at the end of the geodesic from U with velocity D.

    .. math:: U \cos\sqrt C + D\, \sin\sqrt C/\sqrt C, \qquad C = D^\top D

    **Shapes** ``U``, ``D`` (..., n, p) to (..., n, p).

    >>> U, D = torch.eye(2)[:, :1], torch.tensor([[0.0], [torch.pi / 2]])
    >>> frame_exp(U, D).abs().round(decimals=6).flatten()
    tensor([0., 1.])
    """
    c, s, _ = trigonometric(D.mT @ D)
    return U @ c + D @ s


def frame_log(U: Tensor, V: Tensor) -> Tensor:  # (..., n, p)
    r"""Return the velocity at U of the shortest geodesic to the subspace of V.

    .. math:: (V - U M)\, O^\top g(S), \qquad M = U^\top V = S\, O, \qquad g(\cos\theta) = \theta/\sin\theta

    O is the polar factor of M. Nothing is singular at equal subspaces, nor near angles of 90 degrees; there, on the cut locus,
    the norm is right and the direction is one of those possible.

    **Shapes** ``U``, ``V`` (..., n, p) to (..., n, p).

    Source: Bendokat, Zimmermann and Absil, *A Grassmann manifold handbook*, arXiv 2011.13699, for frames that are aligned
    before the logarithm is taken; the form with g is ours.

    >>> U, V = torch.linalg.qr(torch.randn(2, 6, 2, dtype=torch.float64))[0]
    >>> W = frame_exp(U, frame_log(U, V))
    >>> torch.allclose(W @ W.mT, V @ V.mT)
    True
    """
    M = U.mT @ V
    turn, ratio = aligned(M)
    return (V - U @ M) @ (turn.mT @ ratio)


def frame_transport(U: Tensor, V: Tensor, D: Tensor) -> Tensor:  # (..., n, p)
    r"""Return the parallel transport of the tangent D from U to V along the shortest geodesic.

    .. math:: (D - U s\, L^\top D - L\, k\, L^\top D)\, O, \qquad L = \log_U V

    with the functions :math:`s, k` of :math:`L^\top L`, and O the polar factor of :math:`U^\top V`, which turns to the frame
    V.

    **Shapes** ``U``, ``V``, ``D`` (..., n, p) to (..., n, p).

    >>> U, V = torch.linalg.qr(torch.randn(2, 6, 2, dtype=torch.float64))[0]
    >>> torch.allclose(frame_transport(U, V, frame_log(U, V)), -frame_log(V, U))
    True
    """
    M = U.mT @ V
    turn, ratio = aligned(M)
    L = (V - U @ M) @ (turn.mT @ ratio)
    _, s, k = trigonometric(L.mT @ L)
    crossing = L.mT @ D
    return (D - U @ (s @ crossing) - L @ (k @ crossing)) @ turn


class _SquaredAngle(torch.autograd.Function):
    """Sum of squared angles; the gradient is -2 log at each end, which stays bounded on the cut locus."""

    generate_vmap_rule = True

    @staticmethod
    def forward(U: Tensor, V: Tensor) -> Tensor:
        return frame_log(U, V).square().sum((-2, -1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        U, V = ctx.saved_tensors
        at_u, at_v = _both_logs(U, V)
        factor = -2 * grad[..., None, None]
        return factor * at_u, factor * at_v


class _SquaredAngleJvp(_SquaredAngle):
    @staticmethod
    def jvp(ctx: Any, dU: Tensor | None, dV: Tensor | None) -> Tensor:
        U, V = ctx.saved_tensors
        at_u, at_v = _both_logs(U, V)
        along = torch.zeros_like(U) if dU is None else at_u * dU
        return -2 * (along if dV is None else along + at_v * dV).sum((-2, -1))


def _both_logs(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms at U and at V with one polar factor: that of the transposed product is its transpose."""
    M = U.mT @ V
    turn, ratio = aligned(M)
    return (V - U @ M) @ (turn.mT @ ratio), (U - V @ M.mT) @ (ratio @ turn)


def squared_angle(U: Tensor, V: Tensor) -> Tensor:  # (..., n, p) -> (...)
    r"""Return :math:`\sum_i \theta_i^2` over the principal angles, the squared norm of the logarithm.

    Its gradient is horizontal, :math:`-2 \log_U V` at U; that of a frame that is not orthonormal is not told.

    **Shapes** ``U``, ``V`` (..., n, p) to (...).

    >>> U = torch.eye(3, dtype=torch.float64)
    >>> round(squared_angle(U[:, :1], U[:, 1:2]).sqrt().item(), 9)
    1.570796327
    """
    U, V = torch.broadcast_tensors(U, V)
    return variant(_SquaredAngle, _SquaredAngleJvp)(U, V)


def angles(U: Tensor, V: Tensor) -> Tensor:  # (..., n, p) -> (..., p)
    r"""Return the principal angles in increasing order, right to rounding from 0 to 90 degrees.

    The values are :math:`\operatorname{atan2}(\sin\theta_i, \cos\theta_i)` of singular values. Derivatives are those of the
    singular values of the logarithm; those of angles below rounding are 0, and where angles coincide they are right for
    symmetric functions of them.

    **Shapes** ``U``, ``V`` (..., n, p) to (..., p).

    >>> U = torch.eye(4)
    >>> angles(U[:, :2], U[:, 1:3]) * 2 / torch.pi
    tensor([0., 1.])
    """
    U, V = torch.broadcast_tensors(U, V)
    here, there = U.detach(), V.detach()
    M = here.mT @ there
    cosines = torch.linalg.svdvals(M.double())
    sines = torch.linalg.svdvals((there - here @ M).double()).flip(-1)
    found = torch.atan2(sines, cosines).to(U.dtype)
    L = frame_log(U, V)
    squares = spectrum(symmetrize(L.mT @ L))
    apart = (found > 8 * torch.finfo(U.dtype).eps) & (squares > 0)
    root = torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)
    return found + (root - root.detach())
