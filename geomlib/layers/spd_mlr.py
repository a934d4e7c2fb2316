"""Multinomial logistic regression on SPD matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import checked_matrices, positive
from geomlib.layers._spd_hyperplanes import SPDHyperplanes

__all__ = ["SPDMLR"]


class SPDMLR(SPDHyperplanes):
    r"""Logits of SPD matrices from learned hyperplanes, under one of five metrics.

    .. math:: v_k(X) = \langle \ominus P_k \oplus X,\; A_k \rangle, \qquad P_k = \exp_I(\gamma_k\, A_k / |A_k|)

    In closed form, with K = chol X^θ and L = chol P^θ:

    - ``"le"``: :math:`\langle \log X - \log P, A\rangle^{(\alpha,\beta)}`
    - ``"ai"``: :math:`\tfrac1\theta \langle \log(P^{-\theta/2} X^\theta P^{-\theta/2}), A\rangle^{(\alpha,\beta)}`
    - ``"lc"``: :math:`\tfrac1\theta \langle [K] - [L] + \log D(K) - \log D(L),\; [A] + D(A)/2\rangle`
    - ``"euclidean"``: :math:`\tfrac1\theta \langle X^\theta - P^\theta, A\rangle^{(\alpha,\beta)}`
    - ``"bw"``: :math:`\tfrac1{2\theta} \langle \log_{P^\theta} X^\theta,\; \mathcal L_{P^\theta}(L A L^\top)\rangle` with the
      logarithm of Bures and Wasserstein; θ = 1 is the metric itself (the θ of RMLR is half of this one)

    and :math:`\langle V, W\rangle^{(\alpha,\beta)} = \alpha \operatorname{tr} VW + \beta \operatorname{tr} V
    \operatorname{tr} W`. A class has n(n+1)/2 + 1 numbers: the coordinates of A in an orthonormal basis at the identity and
    γ. They are free, so every optimiser trains them. For ``"le"``, ``"lc"`` and ``"euclidean"`` the layer is linear in the
    chart: one logarithm, Cholesky factor or power per matrix whatever the number of classes. ``"ai"`` and ``"bw"`` decompose
    one matrix per sample and class. Points of ``"bw"`` are :math:`\exp(\gamma A/|A|)`, since the metric is not complete.

    **Group** permutations of rows only: the hyperplanes are learned templates. **Shapes** ``x`` (..., n, n) to
    (..., classes).

    Args:
        n: size of the matrices.
        classes: number of logits.
        metric: ``"le"``, ``"ai"``, ``"lc"``, ``"bw"`` or ``"euclidean"``.
        theta: power of the deformation; without effect for ``"le"``.
        alpha: of the trace form (``"le"``, ``"ai"``, ``"euclidean"``).
        beta: of the product of traces (the same).
        in_chart: x is in the chart of a flat metric, as layers with ``out_chart=True`` return it.

    Raises:
        InvalidInput: an unknown metric, parameters that are no metric, sizes that are not positive; at the call wrong shapes
            or types, a matrix that is not positive definite.

    Source: X. S. Nguyen and S. Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*,
    arXiv 2305.04560; Z. Chen et al., *RMLR: extending multinomial logistic regression into general geometries*,
    arXiv 2409.19433.

    >>> layer = SPDMLR(4, 3, metric="ai")
    >>> layer(torch.eye(4).expand(5, 4, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n: int,
        classes: int,
        metric: str = "le",
        *,
        theta: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.0,
        in_chart: bool = False,
    ) -> None:
        positive("SPDMLR", classes=classes)
        super().__init__("SPDMLR", n, classes, metric, theta, alpha, beta, in_chart=in_chart)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n) -> (..., classes)
        """Return the logits.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("SPDMLR", x, self.n, self.weight)
        return self.values(x[..., None, :, :])

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": self.example_matrices(generator)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDMLR, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3, 4, metric="ai", theta=0.5, beta=0.1)
        with torch.no_grad():
            layer.shift.normal_(generator=generator)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the size, the classes and the metric."""
        return f"spd({self.n}) -> {self.units} scalars, {self.metric_text}"
