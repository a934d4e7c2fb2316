"""Riemannian residual blocks on SPD matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.spectral import symfun, symmetrize
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import (
    checked_chart,
    checked_matrices,
    checked_metric,
    example_chart,
    example_spd,
    logarithm,
    positive,
    spd_symmetry,
)

__all__ = ["SPDResidual", "SpectralField"]


class SpectralField(nn.Module):
    r"""A learned function of symmetric matrices that commutes with orthogonal congruence.

    .. math:: U(H) = r \sum_{k=0}^{K} c_k\, \hat H^k, \qquad \hat H = H/r, \qquad r^2 = 1 + \tfrac1n \operatorname{tr} H^2

    The coefficients c come from a perceptron of :math:`\log r` and the traces of the powers of :math:`\hat H`. With
    :math:`K = n - 1` and traces up to n every O(n)-equivariant function has this form (Cayley and Hamilton). No eigenvector
    appears, so derivatives are exact at repeated eigenvalues. The last layer starts at 0, and so does U.

    **Group** O(n). **Shapes** ``h`` (..., n, n) to (..., n, n).

    >>> SpectralField()(torch.eye(3)).shape
    torch.Size([3, 3])
    """

    def __init__(self, degree: int = 2, hidden: int = 16) -> None:
        super().__init__()
        positive("SpectralField", degree=degree, hidden=hidden)
        self.degree, self.hidden = degree, hidden
        last = nn.Linear(hidden, degree + 1)
        self.mlp = nn.Sequential(nn.Linear(degree + 2, hidden), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, h: Tensor) -> Tensor:  # (..., n, n)
        """Return U."""
        r = (1.0 + h.square().sum((-2, -1)) / h.shape[-1]).sqrt()
        unit = h / r[..., None, None]
        powers = [torch.eye(h.shape[-1], dtype=h.dtype, device=h.device).expand_as(h)]
        for _ in range(self.degree + 1):
            powers.append(unit if len(powers) == 1 else powers[-1] @ unit)
        traces = [p.diagonal(dim1=-2, dim2=-1).mean(-1) for p in powers[1:]]
        c = r[..., None] * self.mlp(torch.stack([r.log(), *traces], -1))
        return torch.stack([c[..., k, None, None] * p for k, p in enumerate(powers[:-1])]).sum(0)


class SPDResidual(nn.Module):
    r"""A residual block: a step along the geodesic whose velocity is a learned vector field.

    .. math:: Y = \exp_X\bigl(\Gamma_{I\to X}\, U(\log X)\bigr) = X \oplus \exp U(\log X)

    - ``"ai"``: :math:`X^{1/2} \exp(U)\, X^{1/2}`
    - ``"le"``: :math:`\exp(\log X + U)`

    The field U takes symmetric matrices to symmetric matrices. By default it is :class:`SpectralField`, for which the block
    commutes with orthogonal congruence and both metrics give the same, because U commutes with X; at first U = 0 and the
    block is the identity. Any module that keeps the shape (..., n, n) can take its place; its result is symmetrised.

    **Group** O(n) with the default field; permutations of rows with another. **Shapes** ``x`` (..., n, n) to (..., n, n).

    Args:
        n: size of the matrices.
        metric: ``"le"`` or ``"ai"``.
        field: U; by default ``SpectralField(degree, hidden)``.
        degree: K of the default field.
        hidden: width of its perceptron.
        in_chart: x is log X (``"le"``).
        out_chart: return log Y (``"le"``).

    Raises:
        InvalidInput: an unknown metric, a chart of a metric that has none; at the call wrong shapes or types, a matrix that
            is not positive definite, a field that changes the shape.

    Source: I. Katsman et al., *Riemannian residual neural networks*, arXiv 2310.10013; the default field is ours.

    >>> block = SPDResidual(3)
    >>> block(torch.eye(3))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]], grad_fn=<...>)
    """

    def __init__(
        self,
        n: int,
        metric: str = "le",
        field: nn.Module | None = None,
        *,
        degree: int = 2,
        hidden: int = 16,
        in_chart: bool = False,
        out_chart: bool = False,
    ) -> None:
        super().__init__()
        positive("SPDResidual", n=n)
        self.n, self.metric = n, checked_metric("SPDResidual", metric, ("le", "ai"))
        checked_chart("SPDResidual", metric, in_chart=in_chart, out_chart=out_chart)
        self.in_chart, self.out_chart = in_chart, out_chart
        self.field = SpectralField(degree, hidden) if field is None else field

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n)
        """Return the images, or their charts.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("SPDResidual", x, self.n, next(self.field.parameters(), None))
        h = symmetrize(x) if self.in_chart else logarithm(x)
        u = self.field(h)
        if u.shape != h.shape:
            raise InvalidInput(
                f"SPDResidual: the field returned shape {tuple(u.shape)} for {tuple(h.shape)}; it must keep the shape."
            )
        u = symmetrize(u)
        if self.in_chart or self.out_chart or (self.metric == "le" and not self._commutes):
            y = h + u
            return y if self.out_chart else symfun(y, "exp")
        if self._commutes:  # the same as X^1/2 exp(U) X^1/2 and exp(log X + U), and exactly X where U = 0
            root = symfun(0.5 * u, "exp")
            return symmetrize(root @ symmetrize(x) @ root)
        root = symfun(0.5 * h, "exp")
        return symmetrize(root @ symfun(u, "exp") @ root)

    @property
    def _commutes(self) -> bool:
        return isinstance(self.field, SpectralField)

    @property
    def symmetry(self) -> Symmetry:
        """O(n) with the default field, permutations of rows with another."""
        if not self._commutes:
            return rows_symmetry()
        return spd_symmetry(self.n, "sym" if self.in_chart else "spd", "sym" if self.out_chart else "spd")

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        x = example_spd(generator, self.n)
        return {"x": example_chart("le", x) if self.in_chart else x}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDResidual, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3)
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the size and the metric."""
        charts = [text for flag, text in ((self.in_chart, "chart in"), (self.out_chart, "chart out")) if flag]
        return ", ".join([f"O({self.n})", f"metric={self.metric!r}", *charts])
