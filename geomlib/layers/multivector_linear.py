"""The linear map of multivectors that mixes channels grade by grade."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.geometric_product.linear import grade_linear
from geomlib.layers._multivectors import checked, checked_sizes, example_of, label, symmetry_of

__all__ = ["MVLinear"]


class MVLinear(nn.Module):
    r"""Mix channels of multivectors with one matrix per grade, and shift the scalar.

    .. math:: y_{oj} = \sum_i W_{o,i,g(j)}\, x_{ij} + \beta_o\, [j = 0]

    Names and shapes of the weights are those of the authors' code, whose checkpoints load.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., in, 2^n) to (..., out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the input.
        out_channels: of the output.
        subspaces: one matrix per grade; otherwise one for all grades.
        bias: shift the scalars.

    Raises:
        InvalidInput: channels that are not positive; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVLinear(CliffordAlgebra(3), 4, 16)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 16, 8])
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        out_channels: int,
        subspaces: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        checked_sizes("MVLinear", algebra, in_channels=in_channels, out_channels=out_channels)
        self.algebra, self.in_channels, self.out_channels = algebra, in_channels, out_channels
        self.subspaces = subspaces
        shape = (out_channels, in_channels, algebra.n + 1) if subspaces else (out_channels, in_channels)
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(in_channels))
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # (..., in, 2^n) -> (..., out, 2^n)
        """Return the image.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVLinear", x, self.algebra, self.in_channels, self.weight)
        return grade_linear(x, self.weight, self.bias, self.algebra)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3, 0, 1)
        return example_of(lambda: cls(algebra, 3, 4), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group and the channels."""
        kind = "one matrix per grade" if self.subspaces else "one matrix"
        return f"{label(self.algebra)}, {self.in_channels} -> {self.out_channels}, {kind}, bias={self.bias is not None}"
