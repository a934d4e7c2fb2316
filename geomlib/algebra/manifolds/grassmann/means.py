r"""The Karcher mean of subspaces, by steps along the mean logarithm from the extrinsic mean."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.manifolds.grassmann.bases import mean_subspace
from geomlib.algebra.manifolds.grassmann.frames import frame_exp, frame_log
from geomlib.algebra.manifolds.plain import plain_reverse

__all__ = ["karcher_mean"]


def karcher_mean(
    U: Tensor,  # (..., k, n, p)
    weights: Tensor,  # (..., k)
    iters: int = 16,
    tol: float | None = None,
) -> Tensor:  # (..., n, p)
    r"""Return the minimiser of :math:`\sum_i w_i\, d^2(M, U_i)`.

    .. math:: M \leftarrow \exp_M\Big(\sum_i w_i \log_M U_i\Big)

    The steps converge for subspaces within a ball of radius :math:`\pi/4`, quicker the smaller it is. Derivatives are those of
    the steps; with them, all are taken.

    **Shapes** ``U`` (..., k, n, p), ``weights`` (..., k) to (..., n, p).

    Args:
        U: frames.
        weights: that sum to one.
        iters: steps at most; 0 for the extrinsic mean.
        tol: where values are known and nothing is differentiated, steps shorter than this end the search; by default 8 times
            rounding.

    >>> U = torch.linalg.qr(torch.eye(5, 2, dtype=torch.float64) + 0.2 * torch.randn(7, 5, 2, dtype=torch.float64))[0]
    >>> M = karcher_mean(U, torch.full((7,), 1 / 7, dtype=torch.float64))
    >>> bool(frame_log(M.expand_as(U), U).mean(0).norm() < 1e-12)
    True
    """
    k = U.shape[-3]
    root = (k * weights.detach()).sqrt()[..., None, None]
    mean = mean_subspace(root * U)
    tol = 8 * torch.finfo(U.dtype).eps if tol is None else tol
    may_stop = (
        values_known(U)
        and U.numel() > 0
        and plain_reverse()
        and not (torch.is_grad_enabled() and (U.requires_grad or weights.requires_grad))
    )
    for _ in range(iters):
        step = (weights[..., None, None] * frame_log(mean.unsqueeze(-3), U)).sum(-3)
        mean = frame_exp(mean, step)
        if may_stop and float(step.abs().amax()) <= tol:
            break
    return mean
