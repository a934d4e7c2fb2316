r"""Covariances of time series, plain and of several delays, positive definite by a part of their trace."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, values_known
from geomlib.errors import InvalidInput

__all__ = ["covariance", "delayed"]


def delayed(x: Tensor, order: int, lag: int) -> Tensor:  # (..., C, T) -> (..., order C, T - (order - 1) lag)
    r"""Return a series stacked with its delays: rows :math:`x_t, x_{t-\tau}, \dots, x_{t-(p-1)\tau}`, block by block.

    Args:
        x: series, time last.
        order: p, the number of blocks.
        lag: :math:`\tau`, in samples.

    Raises:
        InvalidInput: orders or lags below 1, or series too short for them.

    >>> delayed(torch.arange(5.0)[None], 2, 1)
    tensor([[1., 2., 3., 4.],
            [0., 1., 2., 3.]])
    """
    if order < 1 or lag < 1:
        raise InvalidInput(f"delayed: order={order}, lag={lag}, expected whole numbers, 1 or more.")
    if x.dim() < 2:
        raise InvalidInput(f"delayed: `x` has shape {tuple(x.shape)}, expected (..., channels, time).")
    past = (order - 1) * lag
    length = x.shape[-1] - past
    if length < 1:
        raise InvalidInput(
            f"delayed: `x` has {x.shape[-1]} samples in time; order {order} with lag {lag} needs more than {past}. "
            "Choose a smaller order or lag."
        )
    if order == 1:
        return x
    return torch.cat([x.narrow(-1, past - k * lag, length) for k in range(order)], -2)


def covariance(
    x: Tensor,  # (..., C, T)
    shrink: float = 1e-3,
    *,
    order: int = 1,
    lag: int = 1,
    center: bool = True,
    check: bool = True,
) -> Tensor:  # (..., order C, order C)
    r"""Return covariances over time, with a part of their mean variance added to the diagonal.

    .. math:: S = \frac{1}{T'} Z Z^\top, \qquad C = S + \epsilon\, \frac{\operatorname{tr} S}{n}\, 1

    where Z holds the series, its mean over time taken away, and its delays. Sums are in float64 whatever the type of x. The
    jitter is relative: C(a x) = a² C(x), and the condition number is at most :math:`1 + n / \epsilon`.

    Args:
        x: series, time last.
        shrink: :math:`\epsilon`.
        order: p, see :func:`delayed`.
        lag: likewise.
        center: take the mean away; otherwise second moments.
        check: whether values are checked, where that costs no synchronisation: on the CPU, outside of ``torch.compile``.

    Raises:
        InvalidInput: not series of floats, too short; a negative ``shrink``; values that are not finite, or series without any
            variance, whose covariance is singular whatever the shrinkage.

    Source: Carrara and Papadopoulo, *Classification of BCI-EEG based on augmented covariance matrix*, arXiv 2302.04508.

    >>> x = torch.randn(5, 3, 200, dtype=torch.float64)
    >>> torch.allclose(covariance(x, 0.0), torch.stack([torch.cov(a, correction=0) for a in x]))
    True
    >>> covariance(x, order=4, lag=2).shape
    torch.Size([5, 12, 12])
    """
    if not x.is_floating_point() or x.dim() < 2 or 0 in x.shape[-2:]:
        raise InvalidInput(
            f"covariance: `x` is {x.dtype} of shape {tuple(x.shape)}, expected floats (..., channels, time)."
        )
    if not shrink >= 0:
        raise InvalidInput(f"covariance: shrink={shrink}, expected 0 or more.")
    z = x.double()
    mean = z.mean(-1, keepdim=True)
    if center:
        z = z - mean
    z = delayed(z, order, lag)
    s = z @ z.mT / z.shape[-1]
    variance = s.diagonal(dim1=-2, dim2=-1).mean(-1)
    if check and values_known(variance):
        # The mean of a constant is rounded, and leaves noise in place of zero.
        noise = 16 * torch.finfo(torch.float64).eps * mean.detach() if center else torch.zeros_like(mean)
        _require_variance(variance.detach(), noise.square().mean((-2, -1)))
    unit = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    return (s + shrink * variance[..., None, None] * unit).to(x.dtype)


def _require_variance(variance: Tensor, least: Tensor) -> None:
    good = (variance > least) & variance.isfinite()
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"covariance: series {where if len(where) > 1 else where[0] if where else 0} of `x` has mean variance "
            f"{float(variance[where])}, expected a positive number: it is constant, or holds values that are not finite. "
            "Leave it out."
        )
