r"""Tensor products of irreps, alone and fused with gather and scatter.

The product is linear in features x, filter y and weights w, so one table serves the value, the gradients and the
gradients of gradients: :math:`F(x, y, w, g) = \langle g, T(x, y, w)\rangle` has every derivative among its partial
contractions.
"""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.dispatch import choose
from geomlib.kernels.tensor_product import cuda, reference
from geomlib.kernels.tensor_product.channelwise import channelwise, channelwise_of
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.grouping import check_edge_shape, check_edges, edge_rows
from geomlib.kernels.tensor_product.layout import weights_by_channel
from geomlib.kernels.tensor_product.lowering import loops_pay, product_by_loops
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
    x, y, weight = _checked(spec, x, y, weight, x.shape[0], x.shape[0])
    chosen = choose(
        "tensor_product", (x, y, weight), backend,
        cuda=lambda: cuda.refusal(spec), loops_pay=lambda: loops_pay(spec),
    )  # fmt: skip
    if chosen == "cuda":
        return cuda.rows(spec, x, y, weight)
    if chosen == "cpu":
        return product_by_loops(spec, x, y, weight)
    return reference.tensor_product(spec, (x, y, weight))


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
    check_edge_shape(edge_index)
    edges = edge_index.shape[1]
    x, y, weight = _checked(spec, x, y, weight, x.shape[0], edges)
    chosen = choose(
        "tensor_product_conv", (x, y, weight), backend,
        cuda=lambda: cuda.refusal(spec), loops_pay=lambda: loops_pay(spec),
    )  # fmt: skip
    loops = channelwise_of(spec) if chosen == "cpu" else None
    if loops is not None and rows is None:
        shared = weight.shape[0] == 1 and edges != 1
        rows = edge_rows(edge_index, x.shape[0], count, shared_weights=shared)
    elif not isinstance(rows, DeviceRows):
        check_edges(edge_index, x.shape[0], count)
    if chosen == "cuda":
        return cuda.convolution(spec, x, y, weight, edge_index, count, rows)
    if loops is not None and isinstance(rows, Rows):
        return channelwise(loops, rows, x, y, weights_by_channel(weight, spec, 0))
    source, target = edge_index.long()
    product = product_by_loops if chosen == "cpu" else _reference_product
    messages = product(spec, x[source], y, weight)
    return messages.new_zeros(count, spec.irreps_out.dim).index_add(0, target, messages)


def _reference_product(spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return reference.tensor_product(spec, (x, y, weight))


def _checked(
    spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor | None, rows_x: int, rows_y: int
) -> tuple[Tensor, Tensor, Tensor]:
    for name, t, rows, irreps in (("x", x, rows_x, spec.irreps_in1), ("y", y, rows_y, spec.irreps_in2)):
        if t.dim() != 2 or t.shape != (rows, irreps.dim):
            raise InvalidInput(
                f"{name}: expected shape ({rows}, {irreps.dim}) for {irreps}, got {tuple(t.shape)}."
            )
    if weight is None:
        if spec.weight_numel:
            raise InvalidInput(f"weight: the product has {spec.weight_numel} weights, none were given.")
        weight = x.new_zeros(1, 0)
    if weight.dim() == 1:
        weight = weight[None]
    if weight.dim() != 2 or weight.shape[1] != spec.weight_numel or weight.shape[0] not in (1, rows_y):
        raise InvalidInput(
            f"weight: expected shape ({spec.weight_numel},) or ({rows_y}, {spec.weight_numel}), got {tuple(weight.shape)}."
        )
    if not (x.dtype == y.dtype == weight.dtype and x.is_floating_point()):
        raise InvalidInput(
            f"x, y, weight: expected one floating type, got {x.dtype}, {y.dtype}, {weight.dtype}."
        )
    return x, y, weight
