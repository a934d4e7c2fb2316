r"""Mixing a feature with itself by a product on the sphere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers.gaunt import GauntTensorProduct
from geomlib.layers.linear import Linear

__all__ = ["GauntSelfInteraction"]


class GauntSelfInteraction(nn.Module):
    r"""The product of signals of two linear images of one feature.

    .. math:: z = w \odot G\,(A x \otimes B x)

    The first image may have other channels than x; those of the product are the channels of the output.

    **Group** O(3). **Shapes** ``x`` (..., dim in) to (..., dim out).

    Args:
        irreps_in: of x, any multiplicities.
        irreps_out: of the result, all multiplicities alike; those of x if absent.
        irreps_inside: of the two images; the irreps of x, with the channels of the result, if absent.
        options: of :class:`GauntTensorProduct`, such as ``method`` and ``antisymmetric``.

    Raises:
        InvalidInput: irreps or options that do not fit; wrong shapes or types at the call.

    Source: the "Selfmix" layer of Luo, Chen, Krishnapriyan, arXiv 2401.10216; its exact place in their network is not ours
    to reproduce.

    >>> GauntSelfInteraction("8x0e+4x1o", "6x0e+6x1o+6x2e")(torch.randn(5, 20)).shape
    torch.Size([5, 54])
    """

    def __init__(
        self, irreps_in: Any, irreps_out: Any = None, irreps_inside: Any = None, **options: Any
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = self.irreps_in if irreps_out is None else Irreps(irreps_out)
        if irreps_inside is None:
            channels = max((b.mul for b in self.irreps_out), default=1)
            kinds = dict.fromkeys(b.ir for b in self.irreps_in)
            inside = Irreps([(channels, ir) for ir in kinds])
        else:
            inside = Irreps(irreps_inside)
        self.left, self.right = Linear(self.irreps_in, inside), Linear(self.irreps_in, inside)
        self.product = GauntTensorProduct(inside, inside, self.irreps_out, **options)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., dim in) -> (..., dim out)
        """Return the mixed feature."""
        return self.product(self.left(x), self.right(x))

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GauntSelfInteraction, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+3x1o+2x2e", "4x0e+4x1o+4x2e+4x1e", antisymmetric="bracket")
        return layer, {"x": torch.randn(5, layer.irreps_in.dim, generator=generator)}
