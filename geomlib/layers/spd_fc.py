"""Fully connected layers between SPD manifolds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import checked_matrices
from geomlib.layers._spd_hyperplanes import SPDHyperplanes
from geomlib.layers._spd_outputs import checked_output, from_coordinates

__all__ = ["SPDFC"]


class SPDFC(SPDHyperplanes):
    r"""A fully connected layer from n x n to m x m SPD matrices.

    .. math:: Y = \exp_I\Bigl(\sum_u v_u(X)\, B_u\Bigr), \qquad v_u(X) = \langle \ominus P_u \oplus X,\; A_u\rangle

    with the hyperplanes of :class:`~geomlib.layers.SPDMLR`, one for each of the m(m+1)/2 matrices of an orthonormal basis
    B of the symmetric matrices at the identity:

    - ``"le"``, ``"ai"``: exp V with :math:`V_{ii} = v_{ii}/\sqrt\alpha + \mu \sum_k v_{kk}`,
      :math:`V_{ij} = v_{ij}/\sqrt{2\alpha}`, :math:`\mu = (1/\sqrt{\alpha + m\beta} - 1/\sqrt\alpha)/m`
    - ``"lc"``: :math:`V V^\top` with V lower triangular, its diagonal exponentiated; to the power 1/θ
    - ``"bw"``: :math:`(I + \theta V/2)^{2/\theta}` with V twice the matrix of v; eigenvalues of I + θV/2 are raised to
      ``floor``, because the exponential of this incomplete metric ends at 0

    A flat layer, ``"le"`` or ``"lc"``, is linear in the chart. With ``in_chart`` and ``out_chart`` a stack of them never
    leaves it: one logarithm in all.

    **Group** permutations of rows only: the hyperplanes are learned templates. **Shapes** ``x`` (..., n, n) to (..., m, m).

    Args:
        n: size of the input matrices.
        m: size of the output matrices.
        metric: ``"le"``, ``"ai"``, ``"lc"`` or ``"bw"``.
        theta: power of the deformation; without effect for ``"le"``.
        alpha: of the trace form (``"le"``, ``"ai"``).
        beta: of the product of traces (the same).
        in_chart: x is in the chart of a flat metric.
        out_chart: return the chart.
        floor: least eigenvalue of I + θV/2 for ``"bw"``.

    Raises:
        InvalidInput: an unknown metric, parameters that are no metric, sizes that are not positive, a chart of a metric that
            has none; at the call wrong shapes or types, a matrix that is not positive definite.

    Source: X. S. Nguyen, S. Yang and A. Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> layer = SPDFC(6, 3, metric="lc")
    >>> torch.linalg.eigvalsh(layer(torch.eye(6).expand(5, 6, 6))).min() > 0
    tensor(True)
    """

    def __init__(
        self,
        n: int,
        m: int,
        metric: str = "le",
        *,
        theta: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.0,
        in_chart: bool = False,
        out_chart: bool = False,
        floor: float = 1e-3,
    ) -> None:
        units = checked_output("SPDFC", m, metric, alpha, beta, out_chart, floor)
        super().__init__("SPDFC", n, units, metric, theta, alpha, beta, in_chart=in_chart)
        self.m, self.out_chart, self.floor = m, out_chart, float(floor)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n) -> (..., m, m)
        """Return the images, or their charts.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("SPDFC", x, self.n, self.weight)
        return from_coordinates(self.values(x[..., None, :, :]), self, self.out_chart, self.floor)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": self.example_matrices(generator)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDFC, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3, 2, metric="ai", beta=0.1)
        with torch.no_grad():
            layer.shift.normal_(generator=generator)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the sizes and the metric."""
        return f"spd({self.n}) -> spd({self.m}), {self.metric_text}{', chart out' if self.out_chart else ''}"
