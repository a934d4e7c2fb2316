"""Covariances of time series and of their delays, as a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.covariance import covariance
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision

__all__ = ["AugmentedCovariance"]


class AugmentedCovariance(nn.Module):
    r"""Turn time series into covariances of the series and its delays, positive definite.

    .. math:: z_t = (x_t, x_{t-\tau}, \dots, x_{t-(p-1)\tau}), \qquad
              S = \frac{1}{T'} \sum_t (z_t - \bar z)(z_t - \bar z)^\top, \qquad
              C = S + \epsilon\, \frac{\operatorname{tr} S}{n}\, 1

    with n = p · channels. Order 1 is the plain covariance; higher orders see the spectrum of the signals, as an autoregressive
    model of that order does. The mean is that of the whole series. The layer has no weights and is differentiable, so that
    filters before it can be trained. Sums are in float64; a rotation or reflection of the channels acts on every block.

    **Group** O(channels), on every block; rows are independent. **Shapes** ``x`` (..., channels, time) to (..., n, n).

    Args:
        order: p, the number of blocks.
        lag: :math:`\tau`, in samples.
        shrink: :math:`\epsilon`, the part of the mean variance that is added to the diagonal.
        center: take the mean of the series away; otherwise second moments.

    Raises:
        InvalidInput: sizes that are not positive, series too short, values that are not finite, series that are constant.

    Source: Carrara and Papadopoulo, *Classification of BCI-EEG based on augmented covariance matrix*, arXiv 2302.04508.

    >>> AugmentedCovariance(order=4, lag=2)(torch.randn(10, 8, 125)).shape
    torch.Size([10, 32, 32])
    """

    def __init__(self, order: int = 1, lag: int = 1, shrink: float = 1e-3, center: bool = True) -> None:
        super().__init__()
        if min(order, lag) < 1 or not shrink >= 0:
            raise InvalidInput(
                f"AugmentedCovariance: order={order}, lag={lag}, shrink={shrink}, expected whole numbers from 1 and a "
                "shrinkage of 0 or more."
            )
        self.order, self.lag, self.shrink, self.center = order, lag, float(shrink), center

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, time) -> (..., n, n)
        """Return the covariances.

        Raises:
            InvalidInput: not series of floats, too short, constant or not finite.
        """
        return covariance(x, self.shrink, order=self.order, lag=self.lag, center=self.center)

    @property
    def symmetry(self) -> Symmetry:
        """Orthogonal maps of the channels; the example has three, and the verifier takes their number from the group."""
        return Symmetry("O(3)*S_n", inputs={"x": "node:columns"}, outputs=f"node:blocks({self.order})")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[AugmentedCovariance, dict[str, Any]]:
        """Return an instance and five series of three channels."""
        return cls(order=2, lag=2), {"x": torch.randn(5, 3, 20, generator=generator)}

    def extra_repr(self) -> str:
        """Return the options."""
        return f"columns -> blocks({self.order}), order={self.order}, lag={self.lag}, shrink={self.shrink}"
