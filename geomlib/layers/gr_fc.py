"""Fully connected layers between Grassmann manifolds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.blocks import block_exp
from geomlib.algebra.manifolds.grassmann.hyperplanes import gyro_logits
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import (
    checked_frames,
    example_frames,
    frame_symmetry,
    init_block,
    subspace_sizes,
)
from geomlib.layers._spd import positive

__all__ = ["GrFC"]


class GrFC(nn.Module):
    r"""Map subspaces of several channels to subspaces of another space.

    .. math:: y_o = \exp_{\tilde I} B_o, \qquad B_{o,ij} = \sum_c \langle \log_{P_{oijc}} x_c,\ T\, W_{oijc} \rangle

    Every entry of the tangent of an output is the logit of a hyperplane through :math:`P = \exp_{\tilde I} Z` with the normal
    W, which is carried there by the rotation of P; Z and W are free. Channels are a product manifold: with the subspaces of a
    receptive field as channels this is a convolution.

    **Group** O(p), the choice of frames, which is not seen, and permutations of rows. **Shapes** ``x`` (..., in_channels, n,
    p) to (..., out_channels, m, q).

    Args:
        in_channels: subspaces of each row.
        out_channels: of the output.
        n: dimension of the space.
        p: of its subspaces.
        m: dimension of the space of the output.
        q: of its subspaces.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, or columns that are not orthonormal.

    Source: Nguyen, Yang and Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> layer = GrFC(2, 3, 6, 2, 4, 1)
    >>> layer(torch.linalg.qr(torch.randn(5, 2, 6, 2))[0]).shape
    torch.Size([5, 3, 4, 1])
    """

    def __init__(self, in_channels: int, out_channels: int, n: int, p: int, m: int, q: int) -> None:
        super().__init__()
        positive("GrFC", in_channels=in_channels, out_channels=out_channels)
        subspace_sizes("GrFC", n, p)
        subspace_sizes("GrFC", m, q)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.n, self.p, self.m, self.q = n, p, m, q
        units = out_channels * (m - q) * q
        self.weight = nn.Parameter(torch.empty(units, in_channels, n - p, p))
        self.bias = nn.Parameter(torch.empty(units, in_channels, n - p, p))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the normals; points begin at the identity."""
        init_block(self.weight)
        nn.init.zeros_(self.bias)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in_channels, n, p) -> (..., out_channels, m, q)
        """Return frames of the images.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_frames("GrFC", x, self.in_channels, self.n, self.p, self.weight)
        entries = gyro_logits(x, self.bias, self.weight).sum(-1)
        return block_exp(entries.unflatten(-1, (self.out_channels, self.m - self.q, self.q)))

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, which is not seen, and permutations of rows."""
        return frame_symmetry(self.n, self.p)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrFC, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(2, 2, 5, 2, 4, 1)
        with torch.no_grad():
            layer.weight.copy_(0.5 * torch.randn(layer.weight.shape, generator=generator))
            layer.bias.copy_(0.2 * torch.randn(layer.bias.shape, generator=generator))
        return layer, {"x": example_frames(generator, 4, 2, 5, 2)}

    def extra_repr(self) -> str:
        """Return the sizes."""
        spaces = f"Gr({self.n}, {self.p}), frames up to O({self.p}) -> Gr({self.m}, {self.q})"
        return f"{self.in_channels} -> {self.out_channels} channels, {spaces}"
