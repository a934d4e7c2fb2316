r"""Tensor products of irreps, alone and fused with gather and scatter.

The product is linear in features x, filter y and weights w, so one table serves the value, the gradients and the
gradients of gradients: :math:`F(x, y, w, g) = \langle g, T(x, y, w)\rangle` has every derivative among its partial
contractions.
"""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.dispatch import traced
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.eager import convolution, product
from geomlib.kernels.tensor_product.operators import as_operator
from geomlib.kernels.tensor_product.plan import Rows

__all__ = ["tensor_product", "tensor_product_conv"]


def tensor_product(
    spec: ProductSpec,
    x: Tensor,  # (B, dim 1)
    y: Tensor,  # (B, dim 2)
    weight: Tensor | None = None,  # (B, n) or (n,)
    *,
    backend: str | None = None,
) -> Tensor:  # (B, dim out)
    r"""Multiply rows of irreps features.

    .. math:: z_{p,k} = c_p \sum_{ij} C_{ijk}\, W_p\, x_i\, y_j

    **Group** O(3). **Shapes** ``x`` (B, dim 1), ``y`` (B, dim 2), ``weight`` (B, n), or (n,) for all rows alike, to
    (B, dim out); inside a block the multiplicity is the outer index, as in e3nn.

    Args:
        spec: irreps, paths and constants.
        x: first factor.
        y: second factor.
        weight: of the weighted paths, in their order.
        backend: "auto", "torch", "cpu", or "cuda", which serves products whose paths all have the mode ``uvu``.

    Raises:
        InvalidInput: shapes that do not fit, mixed types, or a backend that cannot serve the product.
    """
    if traced(x, y, weight):
        return as_operator(spec, x, y, weight, None, -1, backend)
    return product(spec, x, y, weight, backend)


def tensor_product_conv(
    spec: ProductSpec,
    x: Tensor,  # (N, dim 1)
    y: Tensor,  # (E, dim 2)
    weight: Tensor | None,  # (E, n) or (n,)
    edge_index: Tensor,  # (2, E)
    num_nodes: int | None = None,
    *,
    rows: Rows | DeviceRows | None = None,
    backend: str | None = None,
) -> Tensor:  # (num_nodes, dim out)
    r"""Gather neighbours' features, multiply, sum at the receiver, without making the messages.

    .. math:: z_n = \sum_{e:\,\mathrm{target}(e) = n} T(x_{\mathrm{source}(e)},\, y_e,\, w_e)

    **Group** O(3), permutations of nodes and edges. **Shapes** ``x`` (N, dim 1), ``y`` (E, dim 2), ``weight`` (E, n) or (n,),
    ``edge_index`` (2, E) with sources in row 0, to (num_nodes, dim out). Sums run in a fixed order: results repeat bitwise.

    Args:
        spec: irreps, paths and constants.
        x: features of the source nodes.
        y: filter of every edge, such as spherical harmonics of its direction.
        weight: of the weighted paths.
        edge_index: edges in any order; none is fine.
        num_nodes: number of rows of the output; that of ``x`` if absent.
        rows: the edges grouped before by ``Rows.edges``, or on a card by ``DeviceRows.edges``, for several layers on one
            graph; with the latter nothing waits for the card.
        backend: as for :func:`tensor_product`.

    Raises:
        InvalidInput: shapes that do not fit, an index out of range, mixed types, or a backend that cannot serve.
    """
    count = x.shape[0] if num_nodes is None else num_nodes
    if traced(x, y, weight):
        return as_operator(spec, x, y, weight, edge_index, count, backend)
    return convolution(spec, x, y, weight, edge_index, count, rows, backend)
