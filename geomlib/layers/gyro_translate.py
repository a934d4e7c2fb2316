"""Gyro translation: adding a learned SPD matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import require_spd, symmetrize
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.vech import from_triangle, unvech
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._gyro_layer import GyroLayer
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import checked_matrices

__all__ = ["GyroTranslate"]


class GyroTranslate(GyroLayer):
    r"""Left gyro translation by a learned SPD matrix.

    .. math:: Y = P \oplus X, \qquad P = \exp_I Z

    - ``"ai"``: :math:`P^{1/2} X P^{1/2}`, computed as :math:`e^{Z/2} X e^{Z/2}`
    - ``"le"``: :math:`\exp(\log X + Z)`
    - ``"lc"``: the sum of the charts

    Z, in coordinates of an orthonormal basis at the identity, is free: every optimiser trains the layer. It starts at 0, where
    the layer is the identity. In a flat metric it is an addition in the chart, and with ``in_chart`` and ``out_chart`` nothing
    else.

    **Group** permutations of rows only: the point is a learned template. **Shapes** ``x`` (..., n, n), or
    (..., channels, n, n), to the same.

    Args:
        n: size of the matrices.
        metric: ``"ai"``, ``"le"`` or ``"lc"``.
        channels: number of points, one per channel; None for one point and no axis of channels.
        in_chart: x is in the chart of a flat metric.
        out_chart: return the chart.

    Raises:
        InvalidInput: an unknown metric, a chart of a metric that has none; at the call wrong shapes or types, a matrix that
            is not positive definite.

    Source: X. S. Nguyen and S. Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*,
    arXiv 2305.04560.

    >>> layer = GyroTranslate(3, "ai")
    >>> layer(torch.eye(3)).equal(torch.eye(3))
    True
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
        super().__init__("GyroTranslate", n, metric, channels, in_chart, out_chart)
        nn.init.zeros_(self.weight)

    def point(self) -> Tensor:  # (n, n) or (channels, n, n)
        """Return P."""
        return self.left(self.step())

    def step(self) -> Tensor:
        """Return the chart of P; for "ai" its logarithm Z."""
        return from_triangle(self.weight).tril() if self.metric == "lc" else unvech(self.weight)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., [channels], n, n)
        """Return the translated matrices, or their charts.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("GyroTranslate", x, self.n, self.weight, before=self.lead)
        if self.metric == "ai":
            require_spd("x", x)
            root = symfun(0.5 * self.step(), "exp")
            return symmetrize(root @ symmetrize(x) @ root)
        return self.returned(self.entered(x) + self.step())

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GyroTranslate, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3, "ai", channels=2)
        with torch.no_grad():
            layer.weight.copy_(0.3 * torch.randn(layer.weight.shape, generator=generator))
        return layer, layer.example_inputs(generator)
