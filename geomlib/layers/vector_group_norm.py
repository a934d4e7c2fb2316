"""Group normalisation of fields of vectors or multivectors by their lengths."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._fields import checked_groups, shaken_field
from geomlib.layers._multivectors import checked_field, rows_symmetry

__all__ = ["MVGroupNorm"]


class MVGroupNorm(nn.Module):
    r"""Centre the vectors of a group of channels and divide them by their mean length.

    .. math:: y_c(p) = a_c\, \frac{x_c(p) - \mu_g}{\nu_g + \epsilon} + b_c, \qquad
              \mu_g = \langle x \rangle_g, \quad \nu_g = \langle |x - \mu_g| \rangle_g \text{ or } 1 - \epsilon

    with means over the channels of the group g of c, and over space; :math:`|\cdot|` is the Euclidean length.

    **Group** O(3) without bias (for three components), since means of vectors and lengths turn with the field; with the bias,
    which is a fixed vector per channel, permutations of the batch only.
    **Shapes** ``x`` (batch, channels, space, components) to the same.

    Args:
        channels: of the input.
        groups: of consecutive channels.
        scale_norm: divide by the mean length; otherwise only centre.
        components: of the vectors.
        dims: number of axes of space.
        bias: add a vector per channel.
        eps: added to the mean length; the authors' code adds none.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> y = MVGroupNorm(4, 2, scale_norm=True, bias=False)(torch.randn(2, 4, 8, 8, 3))
    >>> torch.allclose(y.norm(dim=-1).mean(), torch.tensor(1.0))
    True
    """

    def __init__(
        self,
        channels: int,
        groups: int = 1,
        scale_norm: bool = False,
        *,
        components: int = 3,
        dims: int = 2,
        bias: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        checked_groups("MVGroupNorm", groups, channels=channels)
        if components < 1 or dims < 0 or not eps >= 0:
            raise InvalidInput(
                f"MVGroupNorm: components={components}, dims={dims}, eps={eps}: expected 1 or more, 0 or more, 0 or more."
            )
        self.channels, self.groups, self.scale_norm = channels, groups, scale_norm
        self.components, self.dims, self.eps = components, dims, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels, components)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # (B, C, *space, components)
        """Return the normalised field.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_field("MVGroupNorm", x, self.channels, self.dims, self.components, self.weight)
        each = self.channels // self.groups
        points = math.prod(x.shape[2:-1])
        y = x.reshape(len(x), self.groups, each * points, self.components)
        y = y - y.mean(2, keepdim=True)
        scale = self.weight.view(self.groups, -1)
        if self.scale_norm:
            # The small number only keeps the root differentiable at zero.
            length = (y.square().sum(-1) + 1e-30).sqrt().mean(2) + self.eps
            scale = scale / length[..., None]
        y = y.view(len(x), self.groups, each, points, self.components)
        out = (y * scale[..., None, None]).view(x.shape)
        if self.bias is None:
            return out
        return out + self.bias.view(self.channels, *[1] * self.dims, self.components)

    @property
    def symmetry(self) -> Symmetry:
        """O(3) for vectors without bias, and permutations of the batch."""
        if self.bias is None and self.components == 3:
            return Symmetry("O(3)*S_n", inputs={"x": "node:vector"}, outputs="node:vector")
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVGroupNorm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return shaken_field(cls(4, 2, scale_norm=True, bias=False), generator, 4, 2, 3)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return (
            f"{self.channels}, groups={self.groups}, scale_norm={self.scale_norm}, components={self.components}, "
            f"bias={self.bias is not None}, eps={self.eps}"
        )
