"""Convolutions of SPD matrices along time, over all channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import FLAT, checked_matrices, positive
from geomlib.layers._spd_hyperplanes import SPDHyperplanes
from geomlib.layers._spd_outputs import checked_output, from_coordinates

__all__ = ["SPDConv"]


class SPDConv(SPDHyperplanes):
    r"""A one-dimensional convolution of SPD matrices: a fully connected layer on the product of the receptive field.

    .. math:: Y_{ot} = \exp_I\Bigl(\sum_u v_{ou}(X_{\cdot,\, st}, \dots, X_{\cdot,\, st+k-1})\, B_u\Bigr), \qquad
              v(X) = \sum_{cj} \langle \ominus P_{cj} \oplus X_{cj},\; A_{cj}\rangle

    over c input channels and j < k steps of time; the outputs are those of :class:`~geomlib.layers.SPDFC`. A unit has one
    normal A on the whole product and one number γ, :math:`P = \exp_I(\gamma A/|A|)`. Padding is with the identity, the
    origin of every metric. With ``kernel_size=1`` it mixes channels only.

    A flat layer, ``"le"`` or ``"lc"``, is linear in the chart, and a stack of them with ``in_chart`` and ``out_chart`` never
    leaves it. ``"ai"`` decomposes one matrix per window, output unit and member of the receptive field.

    **Group** permutations of rows only: the hyperplanes are learned templates. **Shapes** ``x`` (..., in_channels, T, n, n) to
    (..., out_channels, T', m, m), :math:`T' = \lfloor (T + 2\,\mathrm{padding} - k)/\mathrm{stride} \rfloor + 1`.

    Args:
        n: size of the input matrices.
        m: size of the output matrices.
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: k, steps of time that an output sees.
        metric: ``"le"``, ``"ai"``, ``"lc"`` or ``"bw"``.
        stride: steps between outputs.
        padding: identities added at both ends.
        theta: power of the deformation; without effect for ``"le"``.
        alpha: of the trace form (``"le"``, ``"ai"``).
        beta: of the product of traces (the same).
        in_chart: x is in the chart of a flat metric.
        out_chart: return the chart.
        floor: as in :class:`~geomlib.layers.SPDFC`.

    Raises:
        InvalidInput: as :class:`~geomlib.layers.SPDFC`, and a sequence shorter than the kernel.

    Source: X. S. Nguyen, S. Yang and A. Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> layer = SPDConv(4, 3, 2, 5, kernel_size=3, padding=1)
    >>> layer(torch.eye(4).expand(8, 2, 10, 4, 4)).shape
    torch.Size([8, 5, 10, 3, 3])
    """

    def __init__(
        self,
        n: int,
        m: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        metric: str = "le",
        *,
        stride: int = 1,
        padding: int = 0,
        theta: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.0,
        in_chart: bool = False,
        out_chart: bool = False,
        floor: float = 1e-3,
    ) -> None:
        positive(
            "SPDConv",
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            **({"padding": padding} if padding else {}),
        )
        units = out_channels * checked_output("SPDConv", m, metric, alpha, beta, out_chart, floor)
        factors = in_channels * kernel_size
        super().__init__("SPDConv", n, units, metric, theta, alpha, beta, in_chart=in_chart, factors=factors)
        self.m, self.in_channels, self.out_channels = m, in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.out_chart, self.floor = out_chart, float(floor)

    def _windows(self, x: Tensor, axes: int) -> Tensor:
        """Return (..., T', c k, ...) from (..., c, T, ...) with this many axes after T."""
        time = -1 - axes
        if x.shape[time] + 2 * self.padding < self.kernel_size:
            raise InvalidInput(
                f"SPDConv: `x` has {x.shape[time]} steps of time, fewer than kernel_size = {self.kernel_size} with padding "
                f"{self.padding}. Pass longer sequences, or more padding."
            )
        seen = x.unfold(time, self.kernel_size, self.stride)  # (..., c, T', ..., k)
        return seen.movedim(-1, -1 - axes).transpose(-3 - axes, -2 - axes).flatten(-2 - axes, -1 - axes)

    def _padded(self, x: Tensor, origin: Tensor, axes: int) -> Tensor:
        if not self.padding:
            return x
        shape = [*x.shape]
        shape[-1 - axes] = self.padding
        ends = origin.to(x).expand(shape)
        return torch.cat([ends, x, ends], dim=-1 - axes)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, T, n, n) -> (..., out, T', m, m)
        """Return the sequences of images, or their charts.

        Raises:
            InvalidInput: shapes or types that do not fit, a sequence that is too short, a matrix that is not positive
                definite.
        """
        checked_matrices("SPDConv", x, self.n, self.weight, before=(self.in_channels, None))
        if self.metric in FLAT:  # the chart once per matrix, not once per window
            v = self.linear(self._windows(self._padded(self.features(x), x.new_zeros(()), 1), 1))
        else:
            one = torch.eye(self.n, dtype=x.dtype, device=x.device)
            v = self.curved(self._windows(self._padded(x, one, 2), 2))
        v = v.unflatten(-1, (self.out_channels, -1)).transpose(-3, -2)  # (..., out, T', units)
        return from_coordinates(v, self, self.out_chart, self.floor)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": self.example_matrices(generator, 4, self.in_channels, self.kernel_size + 1)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDConv, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3, 2, 2, 2, kernel_size=2, metric="lc", padding=1)
        with torch.no_grad():
            layer.shift.normal_(generator=generator)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the sizes, the channels and the metric."""
        channels = f"{self.in_channels} -> {self.out_channels} channels, kernel_size={self.kernel_size}"
        return f"spd({self.n}) -> spd({self.m}), {channels}, {self.metric_text}{', chart out' if self.out_chart else ''}"
