r"""Signed distances, up to a factor, of subspaces from many hyperplanes at once."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.grassmann.blocks import aligned
from geomlib.algebra.manifolds.grassmann.series import trigonometric

__all__ = ["gyro_logits"]


def gyro_logits(
    U: Tensor, Z: Tensor, W: Tensor
) -> Tensor:  # (..., C, n, p), (K, C, n-p, p) x 2 -> (..., K, C)
    r"""Return :math:`\langle (\ominus P_{kc}) \oplus U_c, W_{kc} \rangle` for K hyperplanes of each of C channels.

    :math:`P_{kc} = \exp_{\tilde I} Z_{kc}` is a point of the hyperplane and :math:`W_{kc}` its normal, carried to the
    identity; the product is that of tangents there, :math:`\operatorname{tr} B^\top W` with the block B of the gyrosum. No
    frame is moved: all but one product with U is of (p, p) matrices.

    **Shapes** ``U`` (..., C, n, p), ``Z`` and ``W`` (K, C, n-p, p) to (..., K, C).

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560;
    Nguyen, Yang and Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> U = torch.linalg.qr(torch.randn(5, 2, 6, 3, dtype=torch.float64))[0]
    >>> Z, W = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64)
    >>> gyro_logits(U, Z, W).shape
    torch.Size([5, 4, 2])
    """
    hyperplanes, p = Z.shape[0], Z.shape[-1]
    first, rest = U[..., :p, :], U[..., p:, :]
    rows = torch.cat([Z, W]).mT.transpose(0, 1).flatten(1, 2)  # (C, 2 K p, n - p)
    crossing = (rows @ rest).unflatten(-2, (2, hyperplanes, p))  # (..., C, 2, K, p, p)
    across, normal = crossing.movedim(-5, -3).unbind(-5)  # (..., K, C, p, p)
    c, s, k = trigonometric(Z.mT @ Z)
    first = first.unsqueeze(-4)
    moved = s @ first + k @ across
    turn, ratio = aligned(c @ first + s @ across)
    return ((normal - (W.mT @ Z) @ moved) * (ratio @ turn)).sum((-2, -1))
