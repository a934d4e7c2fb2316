r"""Message passing by tensor products, without making the messages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.tensor_product import tensor_product_conv
from geomlib.layers.tensor_product import ChannelwiseTensorProduct, TensorProduct

__all__ = ["TensorProductConv"]


class TensorProductConv(nn.Module):
    r"""Sum over neighbours of a tensor product of their features with a filter of the edge.

    .. math:: z_n = \sum_{e:\, \mathrm{target}(e) = n} T(x_{\mathrm{source}(e)},\, y_e,\, w_e)

    Gather, product and sum are one operation with its own first and second derivatives; messages are never stored. Sums
    run in a fixed order, so results repeat bitwise.

    **Group** O(3), permutations of nodes and of edges. **Shapes** ``x`` (N, dim 1), ``y`` (E, dim 2), ``edge_index`` (2, E)
    with sources in row 0, ``weight`` (E, n) or (n,), to (N, dim out).

    Args:
        product: the tensor product; the Numba loops serve :class:`ChannelwiseTensorProduct` and others whose paths all
            have the mode ``uvu``.

    Raises:
        InvalidInput: shapes, types or indices that do not fit.

    Source: the fused form of Batzner et al., arXiv 2101.03164, and Batatia et al., arXiv 2206.07697.

    >>> conv = TensorProductConv(ChannelwiseTensorProduct("4x0e", "0e+1o"))
    >>> edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
    >>> conv(torch.randn(3, 4), torch.randn(3, 4), edge_index).shape
    torch.Size([3, 16])
    """

    def __init__(self, product: TensorProduct) -> None:
        super().__init__()
        self.product = product

    def forward(
        self,
        x: Tensor,  # (N, dim 1)
        y: Tensor,  # (E, dim 2)
        edge_index: Tensor,  # (2, E)
        weight: Tensor | None = None,  # (E, n) or (n,)
        num_nodes: int | None = None,
    ) -> Tensor:  # (num_nodes or N, dim out)
        """Return the sums; ``num_nodes`` is the number of receiving nodes if it is not that of ``x``."""
        w = self.product.row_weights(weight, (y.shape[0],))
        return tensor_product_conv(
            self.product.spec, x, y, w, edge_index, num_nodes, backend=self.product.backend
        )

    @property
    def symmetry(self) -> Symmetry:
        """O(3), permutations of nodes and edges."""
        tp = self.product
        inputs = {
            "x": f"node:{tp.irreps_in1}",
            "y": f"edge:{tp.irreps_in2}",
            "edge_index": "edge:index",
            "weight": "edge:inv",
        }
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{tp.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProductConv, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        product = ChannelwiseTensorProduct("4x0e+4x1o", "1x0e+1x1o+1x2e", "0e+1o+1e+2e", shared_weights=False)
        inputs = {
            "x": torch.randn(5, product.irreps_in1.dim, generator=generator),
            "y": torch.randn(9, product.irreps_in2.dim, generator=generator),
            "edge_index": torch.randint(0, 5, (2, 9), generator=generator),
            "weight": torch.randn(9, product.weight_numel, generator=generator),
        }
        return cls(product), inputs
