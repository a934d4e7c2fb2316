"""The Bures-Wasserstein loss as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.bures_wasserstein_loss import bures_wasserstein_loss
from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._spd import example_spd

__all__ = ["BuresWassersteinLoss"]

REDUCTIONS = ("mean", "sum", "none")


class BuresWassersteinLoss(nn.Module):
    r"""The squared Bures-Wasserstein distance of a product of factors, W Wᵀ, to a covariance.

    .. math:: L(W) = |W|_F^2 + \operatorname{tr} \Sigma - 2\, \big|\Sigma^{1/2} W\big|_*

    It is right at every rank, see :func:`~geomlib.algebra.manifolds.bures_wasserstein_loss.bures_wasserstein_loss`: W is the
    end-to-end matrix of a linear generator of rank r, and the minimum keeps the r largest eigenvalues of :math:`\Sigma`.

    **Group** O(n); rows are independent. **Shapes** ``factor`` (..., n, r) and ``covariance`` (..., n, n) to (), or to (...)
    with ``reduction="none"``.

    Args:
        tau: smoothing of the kink where W has not full rank; 0 for none.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` over the batch.

    Raises:
        InvalidInput: unknown reduction, a negative ``tau``; what the function raises at the call.

    Source: Bréchet, Papagiannouli, An and Montúfar, *Critical points and convergence analysis of generative deep linear
    networks trained with Bures-Wasserstein loss*, arXiv 2303.03027.

    >>> W = torch.nn.Parameter(torch.randn(5, 2))
    >>> BuresWassersteinLoss()(W, torch.eye(5)).backward()
    >>> W.grad.shape
    torch.Size([5, 2])
    """

    def __init__(self, tau: float = 0.0, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise InvalidInput(
                f"BuresWassersteinLoss: reduction={reduction!r}, expected one of {', '.join(REDUCTIONS)}."
                f"{closest(reduction, REDUCTIONS)}"
            )
        if not tau >= 0:
            raise InvalidInput(f"BuresWassersteinLoss: tau={tau}, expected 0 or more.")
        self.tau, self.reduction = float(tau), reduction

    @full_precision
    def forward(
        self,
        factor: Tensor,  # (..., n, r)
        covariance: Tensor,  # (..., n, n)
    ) -> Tensor:
        """Return the loss.

        Raises:
            InvalidInput: shapes or types that do not fit, covariances that are not positive definite.
        """
        loss = bures_wasserstein_loss(factor, covariance, self.tau)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()

    @property
    def symmetry(self) -> Symmetry:
        """O(n), as in the example with n = 3; the order of samples does not matter."""
        out = "node:scalar" if self.reduction == "none" else "graph:scalar"
        return Symmetry(
            "O(3)*S_n", inputs={"factor": "node:columns", "covariance": "node:spd(3)"}, outputs=out
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[BuresWassersteinLoss, dict[str, Any]]:
        """Return an instance and four factors with their covariances."""
        inputs = {
            "factor": torch.eye(3, 2) + 0.3 * torch.randn(4, 3, 2, generator=generator),
            "covariance": torch.eye(3) + 0.2 * example_spd(generator, 3, 4),
        }
        return cls(reduction="none"), inputs

    def extra_repr(self) -> str:
        """Return the options."""
        return f"columns, spd -> scalar, tau={self.tau}, reduction={self.reduction}"
