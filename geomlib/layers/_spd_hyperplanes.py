"""Learned hyperplanes on products of SPD manifolds, from which classifiers, dense layers and convolutions are made."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import require_spd
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.vech import from_triangle, triangle, unvech, vech
from geomlib.errors import InvalidInput
from geomlib.layers._spd import (
    chart_of,
    checked_chart,
    checked_metric,
    example_chart,
    example_spd,
    point_of,
    positive,
)

__all__ = ["METRICS", "SPDHyperplanes"]

METRICS = ("ai", "le", "lc", "bw", "euclidean")


class SPDHyperplanes(nn.Module):
    r"""Signed distances, times the length of the normal, to learned hyperplanes through points of r SPD matrices at once.

    .. math:: v_u(X) = \sum_{j \le r} \langle \ominus P_{uj} \oplus X_j,\; A_{uj} \rangle, \qquad
              P_u = \exp_I(\gamma_u\, A_u / |A_u|)

    A unit has the coordinates of A in an orthonormal basis at the identity, ``weight``, and the number γ, ``shift``. In flat
    metrics the result is linear in the chart, and computed so.

    Args:
        layer: name for messages.
        n: size of the matrices.
        units: number of hyperplanes.
        factors: r.
        metric: one of `METRICS`.
        theta: power of the deformation.
        alpha: of the trace form at the identity.
        beta: of the product of traces.
        in_chart: what comes in is in the chart of a flat metric.
    """

    def __init__(
        self,
        layer: str,
        n: int,
        units: int,
        metric: str,
        theta: float,
        alpha: float,
        beta: float,
        *,
        in_chart: bool,
        factors: int = 1,
    ) -> None:
        super().__init__()
        positive(layer, n=n)
        self.layer, self.n, self.units, self.factors = layer, n, units, factors
        self.metric = checked_metric(layer, metric, METRICS)
        checked_chart(layer, metric, in_chart=in_chart)
        self.in_chart = in_chart
        self.theta, self.alpha, self.beta = float(theta), float(alpha), float(beta)
        if not (math.isfinite(theta) and theta != 0.0):
            raise InvalidInput(f"{layer}: theta = {theta!r}, expected a finite number other than 0.")
        if metric in ("lc", "bw") and (alpha, beta) != (1.0, 0.0):
            raise InvalidInput(
                f"{layer}: (alpha, beta) = ({alpha}, {beta}), but metric={metric!r} has no such family; leave them at (1, 0)."
            )
        if not min(alpha, alpha + n * beta) > 0:
            raise InvalidInput(
                f"{layer}: (alpha, beta) = ({alpha}, {beta}) is no scalar product for n = {n}: alpha and alpha + n beta must "
                "be positive."
            )
        self.weight = nn.Parameter(torch.empty(units, factors, n * (n + 1) // 2))
        self.shift = nn.Parameter(torch.empty(units))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw normals as ``nn.Linear`` draws weights; all hyperplanes pass through the identity."""
        bound = 1.0 / math.sqrt(self.weight[0].numel())
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            self.shift.zero_()

    def directions(self) -> Tensor:  # (units, factors, d)
        """Return the normals at length one; 0 where the normal is 0."""
        square = self.weight.square().sum((-2, -1), keepdim=True)
        zero = square == 0
        return torch.where(zero, 0.0, self.weight * torch.rsqrt(torch.where(zero, 1.0, square)))

    def lowered(self, v: Tensor) -> Tensor:  # (units, factors, d)
        """Return the covectors of vectors: alpha V + beta tr(V) I."""
        out = v if self.alpha == 1.0 else self.alpha * v
        if self.beta == 0.0:
            return out
        one = triangle(torch.eye(self.n, dtype=v.dtype, device=v.device))
        return out + self.beta * (v @ one)[..., None] * one

    def values(self, x: Tensor) -> Tensor:  # (..., factors, n, n) -> (..., units)
        """Return v."""
        return self.curved(x) if self.metric in ("ai", "bw") else self.linear(self.features(x))

    def features(self, x: Tensor) -> Tensor:  # (..., n, n) -> (..., d)
        """Return the coordinates in which the layer is linear; those of matrices, or of points of the chart."""
        if self.metric == "euclidean":
            require_spd("x", x)
            return vech(x) if self.theta == 1.0 else vech(symfun(x, "pow", self.theta), symmetric=True)
        chart = x if self.in_chart else chart_of(self.metric, x, self.theta)
        return triangle(chart.mT) if self.metric == "lc" else vech(chart, symmetric=not self.in_chart)

    def linear(self, features: Tensor) -> Tensor:  # (..., factors, d) -> (..., units)
        """Return the scalar products with the normals, less those of the points."""
        normals = self.lowered(self.weight)
        if self.metric == "euclidean":
            powers = symfun(unvech(self.theta * self.shift[:, None, None] * self.directions()), "exp")
            offset = (vech(powers, symmetric=True) * normals).sum((-2, -1))
        elif self.beta == 0.0:
            offset = self.alpha * self.shift * torch.linalg.vector_norm(self.weight, dim=(-2, -1))
        else:
            offset = self.shift * (self.directions() * normals).sum((-2, -1))
        values = nn.functional.linear(features.flatten(-2), normals.flatten(1), -offset)
        return values / self.theta if self.metric == "euclidean" and self.theta != 1.0 else values

    def curved(self, x: Tensor) -> Tensor:  # (..., factors, n, n) -> (..., units)
        """Return v, with one decomposition per matrix and unit."""
        require_spd("x", x)
        space = SPD(self.metric, theta=self.theta, alpha=self.alpha, beta=self.beta, check=False)
        return space.logits(x[..., None, :, :, :], self.points(), unvech(self.weight)).sum(-1)

    def points(self) -> Tensor:  # (units, factors, n, n)
        """Return the points P through which the hyperplanes pass."""
        steps = self.shift[:, None, None] * self.directions()
        if self.metric == "lc":
            return point_of("lc", from_triangle(steps).tril(), self.theta)
        return symfun(unvech(steps), "exp")

    def example_matrices(self, generator: torch.Generator, *lead: int) -> Tensor:
        """Return matrices, or points of the chart, that this layer takes."""
        x = example_spd(generator, self.n, *lead)
        return example_chart(self.metric, x, self.theta) if self.in_chart else x

    @property
    def metric_text(self) -> str:
        """The metric as ``repr`` shows it."""
        options = {"theta": (self.theta, 1.0), "alpha": (self.alpha, 1.0), "beta": (self.beta, 0.0)}
        shown = [f"{name}={value:g}" for name, (value, usual) in options.items() if value != usual]
        return ", ".join([f"metric={self.metric!r}", *shown, *(["chart in"] if self.in_chart else [])])
