"""Gyro scaling: an element-wise product in the tangent space at the identity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.vech import from_triangle
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._gyro_layer import GyroLayer
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import checked_matrices

__all__ = ["GyroScale"]


class GyroScale(GyroLayer):
    r"""Matrix scaling: every entry of the tangent at the identity has a learned factor.

    .. math:: Y = \exp_I(A \circ \log_I X), \qquad A = A^\top

    With all entries of A equal to t it is the gyro multiple :math:`t \otimes X`. The tangents of ``"ai"`` and ``"le"`` are the
    same, :math:`\log X`, and so are these layers; that of ``"lc"`` is the chart of Cholesky factors. A is free and starts at
    1, where the layer is the identity.

    **Group** permutations of rows only: the factors are learned templates. **Shapes** ``x`` (..., n, n), or
    (..., channels, n, n), to the same.

    Args:
        n: size of the matrices.
        metric: ``"ai"``, ``"le"`` or ``"lc"``.
        channels: number of matrices A, one per channel; None for one and no axis of channels.
        in_chart: x is in the chart of a flat metric.
        out_chart: return the chart.

    Raises:
        InvalidInput: an unknown metric, a chart of a metric that has none; at the call wrong shapes or types, a matrix that
            is not positive definite.

    Source: X. S. Nguyen and S. Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*,
    arXiv 2305.04560.

    >>> layer = GyroScale(2, "le")
    >>> torch.nn.init.constant_(layer.weight, 0.5)
    Parameter containing:
    tensor([0.5000, 0.5000, 0.5000], requires_grad=True)
    >>> layer(torch.diag(torch.tensor([4.0, 9.0]))).detach()
    tensor([[2., 0.],
            [0., 3.]])
    """

    def __init__(
        self,
        n: int,
        metric: str = "le",
        *,
        channels: int | None = None,
        in_chart: bool = False,
        out_chart: bool = False,
    ) -> None:
        super().__init__("GyroScale", n, metric, channels, in_chart, out_chart)
        nn.init.ones_(self.weight)

    def factors(self) -> Tensor:  # (n, n) or (channels, n, n)
        """Return A."""
        return from_triangle(self.weight)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., [channels], n, n)
        """Return the scaled matrices, or their charts.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("GyroScale", x, self.n, self.weight, before=self.lead)
        return self.returned(self.factors() * self.entered(x))

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GyroScale, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3, "le", channels=2)
        with torch.no_grad():
            layer.weight.copy_(1.0 + 0.3 * torch.randn(layer.weight.shape, generator=generator))
        return layer, layer.example_inputs(generator)
