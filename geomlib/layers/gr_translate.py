"""Gyro translation of subspaces: adding a learned subspace from the left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.blocks import block_exp, block_rotate
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

__all__ = ["GrTranslate"]


class GrTranslate(nn.Module):
    r"""Turn the subspaces of every channel by the rotation that carries the first coordinates to a learned subspace.

    .. math:: y_c = P_c \oplus x_c = e^{\Omega_c} x_c, \qquad
              \Omega_c = \begin{pmatrix} 0 & -B_c^\top \\ B_c & 0 \end{pmatrix}

    The exponential is exact and never written out: (p, p) functions and products with B. B is free, so every optimiser trains
    the layer; while its angles are below 90 degrees, it is the logarithm of the subspace, and this is the gyrosum.

    **Group** O(p), the choice of frames, which turn with those of the input, and permutations of rows; the subspace is a
    learned template. **Shapes** ``x`` (..., channels, n, p) to the same.

    Args:
        channels: subspaces of each row.
        n: dimension of the space.
        p: of the subspaces.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, or columns that are not orthonormal.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560.

    >>> layer = GrTranslate(4, 6, 2)
    >>> x = torch.linalg.qr(torch.randn(5, 4, 6, 2))[0]
    >>> layer(x).shape
    torch.Size([5, 4, 6, 2])
    """

    def __init__(self, channels: int, n: int, p: int) -> None:
        super().__init__()
        positive("GrTranslate", channels=channels)
        subspace_sizes("GrTranslate", n, p)
        self.channels, self.n, self.p = channels, n, p
        self.weight = nn.Parameter(torch.empty(channels, n - p, p))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the blocks uniformly."""
        init_block(self.weight)

    def points(self) -> Tensor:  # (channels, n, p)
        """Return frames of the learned subspaces."""
        return block_exp(self.weight)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, n, p)
        """Return the turned frames.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_frames("GrTranslate", x, self.channels, self.n, self.p, self.weight)
        return block_rotate(self.weight, x)

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, and permutations of rows."""
        return frame_symmetry(self.n, self.p, seen=True)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrTranslate, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(2, 5, 3)
        with torch.no_grad():
            layer.weight.normal_(generator=generator)
        return layer, {"x": example_frames(generator, 4, 2, 5, 3)}

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.channels} channels, Gr({self.n}, {self.p}), frames up to O({self.p})"
