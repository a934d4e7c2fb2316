"""The multilayer perceptron of multivectors."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import checked, checked_sizes, example_of, label, symmetry_of
from geomlib.layers.geometric_product import MVGeometricProduct
from geomlib.layers.multivector_activation import MVSiLU
from geomlib.layers.multivector_linear import MVLinear
from geomlib.layers.multivector_norms import MVLayerNorm

__all__ = ["CEMLP"]


class CEMLP(nn.Module):
    r"""Blocks of ``MVLinear``, ``MVSiLU``, ``MVGeometricProduct`` and ``MVLayerNorm``.

    .. math:: x \leftarrow \mathrm{LayerNorm}(\mathrm{Product}(\mathrm{SiLU}(W x + \beta)))

    Names and shapes of the weights are those of the authors' code, whose checkpoints load; they reproduce its numbers with
    ``safe=False``.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., in, 2^n) to (..., out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the input.
        hidden_channels: between blocks.
        out_channels: of the output.
        n_layers: number of blocks.
        normalization_init: of the product layers.
        safe: of the layer norms; see :class:`MVLayerNorm`.

    Raises:
        InvalidInput: sizes that are not positive; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = CEMLP(CliffordAlgebra(3), 4, 16, 2)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        n_layers: int = 2,
        normalization_init: float | None = 0.0,
        *,
        safe: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels}
        checked_sizes("CEMLP", algebra, **sizes, n_layers=n_layers)
        self.algebra, self.in_channels, self.out_channels = algebra, in_channels, out_channels
        widths = [in_channels, *[hidden_channels] * (n_layers - 1), out_channels]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    MVLinear(algebra, a, b),
                    MVSiLU(algebra, b),
                    MVGeometricProduct(algebra, b, normalization_init=normalization_init),
                    MVLayerNorm(algebra, b, safe=safe),
                )
                for a, b in itertools.pairwise(widths)
            )
        )

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, 2^n) -> (..., out, 2^n)
        """Return the output of the last block.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        weight = next(self.parameters())
        return self.layers(checked("CEMLP", x, self.algebra, self.in_channels, weight))

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CEMLP, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3)
        return example_of(lambda: cls(algebra, 3, 4, 2), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group and the channels."""
        return f"{label(self.algebra)}, {self.in_channels} -> {self.out_channels}"
