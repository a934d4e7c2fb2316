"""Gyro scaling of subspaces, element by element of the tangent at the identity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.blocks import block, block_exp
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import checked_frames, example_frames, frame_symmetry, subspace_sizes
from geomlib.layers._spd import positive

__all__ = ["GrScale"]


class GrScale(nn.Module):
    r"""Scale subspaces along the geodesics from the first coordinates, every entry of the tangent by a weight of its own.

    .. math:: y_c = \exp_{\tilde I}(A_c \circ \log_{\tilde I} x_c)

    With ``elementwise=False`` one number per channel, and this is :math:`t_c \otimes x_c`. The output is in the frame that
    belongs to its logarithm. On the cut locus of the first coordinates, an angle of 90 degrees, one of the possible logarithms
    is taken.

    **Group** O(p), the choice of frames, which the output does not see, and permutations of rows. **Shapes** ``x``
    (..., channels, n, p) to the same.

    Args:
        channels: subspaces of each row.
        n: dimension of the space.
        p: of the subspaces.
        elementwise: learn a weight for every entry of the tangent, or one per channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, or columns that are not orthonormal.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560.

    >>> layer = GrScale(4, 6, 2)  # weights begin with 1
    >>> x = torch.linalg.qr(torch.randn(5, 4, 6, 2))[0]
    >>> torch.allclose(layer(x) @ layer(x).mT, x @ x.mT, atol=1e-4)
    True
    """

    def __init__(self, channels: int, n: int, p: int, *, elementwise: bool = True) -> None:
        super().__init__()
        positive("GrScale", channels=channels)
        subspace_sizes("GrScale", n, p)
        self.channels, self.n, self.p, self.elementwise = channels, n, p, elementwise
        self.weight = nn.Parameter(torch.ones((channels, n - p, p) if elementwise else (channels, 1, 1)))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, n, p)
        """Return frames of the scaled subspaces.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_frames("GrScale", x, self.channels, self.n, self.p, self.weight)
        return block_exp(self.weight * block(x))

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, which is not seen, and permutations of rows."""
        return frame_symmetry(self.n, self.p)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrScale, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(2, 5, 3)
        with torch.no_grad():
            layer.weight.copy_(0.5 + 0.3 * torch.randn(layer.weight.shape, generator=generator))
        return layer, {"x": example_frames(generator, 4, 2, 5, 3)}

    def extra_repr(self) -> str:
        """Return the sizes."""
        sizes = f"{self.channels} channels, Gr({self.n}, {self.p}), frames up to O({self.p})"
        return f"{sizes}, elementwise={self.elementwise}"
