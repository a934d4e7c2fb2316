"""Tensor products of tensors that are there: shapes checked, backend chosen."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.dispatch import choose
from geomlib.kernels.edge_index import check_edge_range, check_edge_shape
from geomlib.kernels.tensor_product import cuda, reference
from geomlib.kernels.tensor_product.channelwise import Static, channelwise, channelwise_of
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.grouping import edge_rows
from geomlib.kernels.tensor_product.layout import weights_by_channel
from geomlib.kernels.tensor_product.lowering import loops_pay, product_by_loops
from geomlib.kernels.tensor_product.plan import Rows

__all__ = ["Call", "checked", "chosen_backend", "convolution", "loops_of", "product"]


@dataclass(frozen=True, eq=False)
class Call:
    """What a product depends on besides its three factors.

    Args:
        spec: irreps, paths and constants.
        edge_index: edges of a convolution; None multiplies row by row.
        count: rows of the output.
        backend: a name, or None for that of the context.
    """

    spec: ProductSpec
    edge_index: Tensor | None
    count: int
    backend: str | None

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Evaluate."""
        if self.edge_index is None:
            return product(self.spec, x, y, weight, self.backend)
        return convolution(self.spec, x, y, weight, self.edge_index, self.count, None, self.backend)


def product(
    spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor | None, backend: str | None
) -> Tensor:  # (B, dim out)
    """Multiply row by row."""
    x, y, weight = checked(spec, x, y, weight, x.shape[0], x.shape[0])
    chosen = _choose("tensor_product", spec, (x, y, weight), backend)
    if chosen == "cuda":
        return cuda.rows(spec, x, y, weight)
    if chosen == "cpu":
        return product_by_loops(spec, x, y, weight)
    return reference.tensor_product(spec, (x, y, weight))


def convolution(
    spec: ProductSpec,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    edge_index: Tensor,
    count: int,
    rows: Rows | DeviceRows | None,
    backend: str | None,
) -> Tensor:  # (count, dim out)
    """Gather, multiply and sum at the receivers."""
    check_edge_shape(edge_index)
    edges = edge_index.shape[1]
    x, y, weight = checked(spec, x, y, weight, x.shape[0], edges)
    chosen = _choose("tensor_product_conv", spec, (x, y, weight), backend)
    loops = channelwise_of(spec) if chosen == "cpu" else None
    if loops is not None and rows is None:
        rows = _edge_rows(edge_index, x, weight, count)
    elif not isinstance(rows, DeviceRows):
        check_edge_range(edge_index, x.shape[0], count)
    if isinstance(rows, Rows):
        rows.check(edges, x.shape[0], count, shared_weights=weight.shape[0] == 1)
    if chosen == "cuda":
        return cuda.convolution(spec, x, y, weight, edge_index, count, rows)
    if loops is not None and isinstance(rows, Rows):
        return channelwise(loops, rows, x, y, weights_by_channel(weight, spec, 0))
    source, target = edge_index.long()
    multiply = product_by_loops if chosen == "cpu" else _reference_product
    messages = multiply(spec, x[source], y, weight)
    return messages.new_zeros(count, spec.irreps_out.dim).index_add(0, target, messages)


def loops_of(call: Call, x: Tensor, y: Tensor, weight: Tensor) -> Static | None:
    """Return the loops that serve a call alone, or None if it takes more than one channel-wise product."""
    name = "tensor_product" if call.edge_index is None else "tensor_product_conv"
    loops = channelwise_of(call.spec)
    if loops is None or _choose(name, call.spec, (x, y, weight), call.backend) != "cpu":
        return None
    if call.edge_index is None:
        shared = weight.shape[0] == 1 and y.shape[0] != 1
        return Static(loops, Rows.pairwise(x.shape[0], shared_weights=shared))
    return Static(loops, _edge_rows(call.edge_index, x, weight, call.count))


def checked(
    spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor | None, rows_x: int, rows_y: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factors with weights of two dimensions.

    Raises:
        InvalidInput: shapes that do not fit, or mixed types.
    """
    for name, t, rows, irreps in (("x", x, rows_x, spec.irreps_in1), ("y", y, rows_y, spec.irreps_in2)):
        if t.dim() != 2 or t.shape[0] != rows or t.shape[1] != irreps.dim:
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


def chosen_backend(spec: ProductSpec, tensors: tuple[Tensor, ...], backend: str | None) -> str:
    """Return what would serve a product of such tensors."""
    return _choose("tensor_product", spec, tensors, backend)


def _choose(op: str, spec: ProductSpec, tensors: tuple[Tensor, ...], backend: str | None) -> str:
    return choose(op, tensors, backend, cuda=lambda: cuda.refusal(spec), loops_pay=lambda: loops_pay(spec))


def _edge_rows(edge_index: Tensor, x: Tensor, weight: Tensor, count: int) -> Rows:
    shared = weight.shape[0] == 1 and edge_index.shape[1] != 1
    return edge_rows(edge_index, x.shape[0], count, shared_weights=shared)


def _reference_product(spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return reference.tensor_product(spec, (x, y, weight))
