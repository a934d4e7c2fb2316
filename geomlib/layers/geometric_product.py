"""Layers that multiply multivectors by a linear image of themselves."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.geometric_product import fc_gp
from geomlib.kernels.geometric_product.low_rank import low_rank_gp
from geomlib.kernels.geometric_product.steerable import steerable_product
from geomlib.layers._multivectors import checked, checked_sizes, example_of, label, symmetry_of
from geomlib.layers.multivector_linear import MVLinear
from geomlib.layers.multivector_norms import MVNormalization

__all__ = ["MVGeometricProduct", "MVGeometricProductFC"]


class MVGeometricProduct(nn.Module):
    r"""The steerable geometric product: every channel times a normalised image, with one weight per path of grades.

    .. math:: y = \mathrm{Norm}(W_R\, x), \qquad z_{cj} = \sum_{ik} w_{c,\,p(g_i, g_j, g_k)}\, S_{ijk}\, x_{ci}\, y_{ck},
              \qquad \mathrm{out} = (W_L\, x + z) / \sqrt 2

    Names and shapes of the weights are those of the authors' code, whose checkpoints load. One operation computes all of it
    from the weights of the submodules, which are not called: hooks on them do not fire.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of input and output.
        include_first_order: add :math:`W_L x`; without it the output is z.
        normalization_init: initial value of the normalisation; None leaves it out.
        path_rank: R, for algebras of many generators: weights of paths as sums of R products of one factor per grade,
            ``factors`` (3, R, channels, n + 1) in place of ``weight``. R plain products compute it, quicker from n = 7 on.

    Raises:
        InvalidInput: wrong sizes; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVGeometricProduct(CliffordAlgebra(3), 4)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 4, 8])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        channels: int,
        include_first_order: bool = True,
        normalization_init: float | None = 0.0,
        path_rank: int | None = None,
    ) -> None:
        super().__init__()
        checked_sizes("MVGeometricProduct", algebra, channels=channels, path_rank=path_rank or 1)
        self.algebra, self.channels = algebra, channels
        self.linear_right = MVLinear(algebra, channels, channels, bias=False)
        self.linear_left = MVLinear(algebra, channels, channels) if include_first_order else None
        has_norm = normalization_init is not None
        self.normalization = (
            MVNormalization(algebra, channels, normalization_init or 0.0) if has_norm else None
        )
        self.path_rank = path_rank
        if path_rank is None:
            self.weight = nn.Parameter(torch.randn(channels, len(algebra.paths)) / math.sqrt(algebra.n + 1))
        else:  # the weights of paths have the same variance
            deviation = (path_rank * (algebra.n + 1)) ** (-1 / 6)
            self.factors = nn.Parameter(deviation * torch.randn(3, path_rank, channels, algebra.n + 1))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, 2^n)
        """Return the product.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVGeometricProduct", x, self.algebra, self.channels, self.linear_right.weight)
        left = self.linear_left
        if self.path_rank is not None:
            y = self.linear_right(x)
            y = y if self.normalization is None else self.normalization(y)
            z = low_rank_gp(x, y, self.factors, self.algebra)
            return z if left is None else (left(x) + z) * math.sqrt(0.5)
        return steerable_product(
            x,
            self.weight,
            self.linear_right.weight,
            self.algebra,
            a=None if self.normalization is None else self.normalization.a,
            left=None if left is None else left.weight,
            bias=None if left is None else left.bias,
        )

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVGeometricProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group, the channels and the number of paths."""
        rank = "" if self.path_rank is None else f" of rank {self.path_rank}"
        return f"{label(self.algebra)}, {self.channels}, {len(self.algebra.paths)} paths{rank}"


class MVGeometricProductFC(nn.Module):
    r"""The fully connected steerable geometric product: all channels contribute to every output.

    .. math:: y = \mathrm{Norm}(W_R\, x), \qquad
              z_{oj} = \sum_{cik} w_{oc,\,p(g_i, g_j, g_k)}\, S_{ijk}\, x_{ci}\, y_{ck},
              \qquad \mathrm{out} = (W_L\, x + z) / \sqrt 2

    Names and shapes of the weights are those of the authors' code, whose checkpoints load.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., in, 2^n) to (..., out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the input.
        out_channels: of the output.
        include_first_order: add :math:`W_L x`; without it the output is z.
        normalization_init: initial value of the normalisation; None leaves it out.

    Raises:
        InvalidInput: wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVGeometricProductFC(CliffordAlgebra(3), 4, 16)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 16, 8])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        out_channels: int,
        include_first_order: bool = True,
        normalization_init: float | None = 0.0,
    ) -> None:
        super().__init__()
        checked_sizes("MVGeometricProductFC", algebra, in_channels=in_channels, out_channels=out_channels)
        self.algebra, self.in_channels, self.out_channels = algebra, in_channels, out_channels
        self.linear_right = MVLinear(algebra, in_channels, in_channels, bias=False)
        self.linear_left = MVLinear(algebra, in_channels, out_channels) if include_first_order else None
        has_norm = normalization_init is not None
        self.normalization = (
            MVNormalization(algebra, in_channels, normalization_init or 0.0) if has_norm else None
        )
        shape = (out_channels, in_channels, len(algebra.paths))
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(in_channels * (algebra.n + 1)))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, 2^n) -> (..., out, 2^n)
        """Return the product.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVGeometricProductFC", x, self.algebra, self.in_channels, self.weight)
        y = self.linear_right(x)
        if self.normalization is not None:
            y = self.normalization(y)
        z = fc_gp(x, y, self.weight, self.algebra)
        return z if self.linear_left is None else (self.linear_left(x) + z) * math.sqrt(0.5)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVGeometricProductFC, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(2, 0, 1)
        return example_of(lambda: cls(algebra, 3, 2), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group, the channels and the number of paths."""
        return f"{label(self.algebra)}, {self.in_channels} -> {self.out_channels}, {len(self.algebra.paths)} paths"
