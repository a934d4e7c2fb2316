"""What gyro translation and scaling share: one symmetric matrix of weights per channel, and the chart they act in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.layers._spd import (
    ROWS,
    chart_of,
    checked_chart,
    checked_metric,
    example_chart,
    example_spd,
    logarithm,
    point_of,
    positive,
)

__all__ = ["GyroLayer"]

#: Metrics with gyro operations.
METRICS = ("ai", "le", "lc")


class GyroLayer(nn.Module):
    """A layer that maps every SPD matrix to one of the same size, with weights in coordinates of the identity's tangents."""

    def __init__(
        self, layer: str, n: int, metric: str, channels: int | None, in_chart: bool, out_chart: bool
    ) -> None:
        super().__init__()
        positive(layer, n=n, **({} if channels is None else {"channels": channels}))
        self.n, self.channels = n, channels
        self.metric = checked_metric(layer, metric, METRICS)
        checked_chart(layer, metric, in_chart=in_chart, out_chart=out_chart)
        self.in_chart, self.out_chart = in_chart, out_chart
        self.lead = () if channels is None else (channels,)
        self.weight = nn.Parameter(torch.empty(*self.lead, n * (n + 1) // 2))

    def entered(self, x: Tensor) -> Tensor:
        """Return the chart of the input; for "ai" the logarithm."""
        if self.in_chart:
            return x.tril() if self.metric == "lc" else symmetrize(x)
        return chart_of("lc", x) if self.metric == "lc" else logarithm(x)

    def left(self, chart: Tensor) -> Tensor:
        """Return the point of a chart."""
        return point_of("lc", chart) if self.metric == "lc" else symfun(chart, "exp")

    def returned(self, chart: Tensor) -> Tensor:
        """Return the output: a point, or its chart where that was asked for."""
        return chart if self.out_chart else self.left(chart)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        x = example_spd(generator, self.n, ROWS, *self.lead)
        return {"x": example_chart(self.metric, x) if self.in_chart else x}

    def extra_repr(self) -> str:
        """Return the size, the channels and the metric."""
        charts = [text for flag, text in ((self.in_chart, "chart in"), (self.out_chart, "chart out")) if flag]
        channels = [] if self.channels is None else [f"{self.channels} channels"]
        return ", ".join([f"spd({self.n})", *channels, f"metric={self.metric!r}", *charts])
