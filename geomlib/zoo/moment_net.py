r"""Matrices from sets of vectors: second moments with learned weights, again and again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["MomentNet"]


@register_model("moment_net")
class MomentNet(nn.Module):
    r"""Predict a symmetric matrix from a set of vectors, whatever their order, by weighted second moments.

    .. math:: z_i = \left(|a_i|^2,\ a_i^\top M_1 a_i,\ \dots,\ a_i^\top M_C a_i\right), \qquad
              M_c \leftarrow \frac1N \sum_i w_c(z_i)\, a_i a_i^\top, \qquad
              \hat y = M_1 + \frac1N \sum_i \tau(z_i)\; 1

    with perceptrons w, :math:`\tau`, and no moments before the first block. One block with :math:`w = |a|^2 - d/N` is the
    spectral method for sparse vectors; the next ones look along what the ones before have found.

    **Group** O(dim), and permutations of the vectors of a sample. **Shapes** ``vectors`` (B, N, dim) to (B, dim, dim).

    Args:
        dim: of the vectors.
        gain: factor of the vectors; rows of an orthonormal basis have squares of dim / N, which sqrt(N / dim) brings to 1.
        channels: C, moments of a block.
        hidden: width of the perceptrons.
        blocks: number of blocks.

    Raises:
        InvalidInput: sizes that are not positive; wrong shapes or types at the call.

    Source: the problem and the idea of learned weights are those of Gregory, Tonelli-Cueto, Marshall, Lee and Villar, *Tensor
    learning with orthogonal, Lorentz, and symplectic symmetries*, arXiv 2406.01552.

    >>> MomentNet(5)(torch.randn(3, 100, 5)).shape
    torch.Size([3, 5, 5])
    """

    def __init__(
        self, dim: int = 5, gain: float = 1.0, channels: int = 8, hidden: int = 32, blocks: int = 3
    ) -> None:
        super().__init__()
        if min(dim, channels, hidden, blocks) < 1:
            raise InvalidInput(
                f"MomentNet: dim={dim}, channels={channels}, hidden={hidden}, blocks={blocks}: expected positive sizes."
            )
        self._options: dict[str, Any] = {
            "dim": dim, "gain": float(gain), "channels": channels, "hidden": hidden, "blocks": blocks,
        }  # fmt: skip
        self.dim, self.gain = dim, float(gain)
        sizes = [(1 if k == 0 else 1 + channels, 2 if k == blocks - 1 else channels) for k in range(blocks)]
        self.weights = nn.ModuleList(
            nn.Sequential(nn.Linear(a, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, b))
            for a, b in sizes
        )  # fmt: skip

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "moment_net", **self._options}

    @full_precision
    def forward(self, vectors: Tensor) -> Tensor:  # (B, N, dim) -> (B, dim, dim)
        """Return the matrices.

        Raises:
            InvalidInput: shapes or types that do not fit, or no vectors.
        """
        check_samples("MomentNet", "vectors", vectors, (None, None, self.dim), next(self.parameters()))
        count = vectors.shape[1]
        if count == 0:
            raise InvalidInput("MomentNet: `vectors` has samples without any vector.")
        a = self.gain * vectors
        z = squares = a.square().sum(-1, keepdim=True)
        *inner, last = self.weights
        for net in inner:
            moments = self._moments(a, net(torch.asinh(z)))
            along = torch.einsum("bni,bcij,bnj->bnc", a, moments, a)
            z = torch.cat([squares, along], -1)
        weight, shift = last(torch.asinh(z)).split(1, -1)
        unit = torch.eye(self.dim, dtype=a.dtype, device=a.device)
        return self._moments(a, weight)[:, 0] + shift.mean(1)[..., None] * unit

    def _moments(self, a: Tensor, weight: Tensor) -> Tensor:  # (B, N, dim), (B, N, C) -> (B, C, dim, dim)
        weighted = weight.mT[..., None] * a[:, None] / a.shape[1]
        return weighted.mT @ a[:, None]

    @property
    def symmetry(self) -> Symmetry:
        """O(dim); the rows that S_n permutes are samples."""
        return Symmetry(f"O({self.dim})*S_n", inputs={"vectors": "node:vector"}, outputs="node:tensor(2)")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MomentNet, dict[str, Any]]:
        """Return a small instance and three samples."""
        return cls(3, channels=3, hidden=8, blocks=2), {"vectors": torch.randn(3, 6, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of weights and the group."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights, {self.symmetry.group}"
