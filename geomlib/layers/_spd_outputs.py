"""From coordinates in an orthonormal basis at the identity to SPD matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.vech import from_triangle, triangle, unvech
from geomlib.errors import InvalidInput
from geomlib.layers._spd import checked_chart, checked_metric, point_of, positive
from geomlib.layers._spd_hyperplanes import SPDHyperplanes

__all__ = ["METRICS", "checked_output", "from_coordinates"]

#: Metrics whose exponential at the identity gives positive definite matrices.
METRICS = ("le", "ai", "lc", "bw")


def checked_output(
    layer: str, m: int, metric: str, alpha: float, beta: float, out_chart: bool, floor: float
) -> int:
    """Return the number of coordinates of the output.

    Raises:
        InvalidInput: a size, metric or floor that does not fit.
    """
    positive(layer, m=m)
    checked_metric(layer, metric, METRICS)
    checked_chart(layer, metric, out_chart=out_chart)
    if not min(alpha, alpha + m * beta) > 0:
        raise InvalidInput(
            f"{layer}: (alpha, beta) = ({alpha}, {beta}) is no scalar product for m = {m}: alpha and alpha + m beta must be "
            "positive."
        )
    if not 0 < floor < 1:
        raise InvalidInput(f"{layer}: floor = {floor!r}, expected a number between 0 and 1.")
    return m * (m + 1) // 2


def from_coordinates(v: Tensor, planes: SPDHyperplanes, out_chart: bool, floor: float) -> Tensor:
    """Return the SPD matrices (..., m, m), or their charts, of coordinates (..., m(m+1)/2)."""
    metric, theta = planes.metric, planes.theta
    if metric == "lc":
        chart = from_triangle(v).tril()
        return chart if out_chart else point_of("lc", chart, theta)
    if metric == "bw":
        step = unvech(theta * v)  # theta V / 2: the metric is a quarter of the trace form
        root = symfun(step + torch.eye(step.shape[-1], dtype=v.dtype, device=v.device), "clamp", floor)
        return root @ root if theta == 1.0 else symfun(root, "pow", 2.0 / theta)
    tangent = unvech(_orthonormal(v, planes.alpha, planes.beta))
    return tangent if out_chart else symfun(tangent, "exp")


def _orthonormal(v: Tensor, alpha: float, beta: float) -> Tensor:
    """Return coordinates for the trace form of coordinates for (alpha, beta)."""
    m = (math.isqrt(8 * v.shape[-1] + 1) - 1) // 2
    out = v if alpha == 1.0 else v / math.sqrt(alpha)
    if beta == 0.0:
        return out
    one = triangle(torch.eye(m, dtype=v.dtype, device=v.device))
    mu = (1.0 / math.sqrt(alpha + m * beta) - 1.0 / math.sqrt(alpha)) / m
    return out + mu * (v @ one)[..., None] * one
