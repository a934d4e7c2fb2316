r"""Tensor products of irreps, alone and fused with gather and scatter.

The product is linear in features x, filter y and weights w, so one table serves the value, the gradients and the
gradients of gradients: :math:`F(x, y, w, g) = \langle g, T(x, y, w)\rangle` has every derivative among its partial
contractions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.arrays import array
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.dispatch import choose
from geomlib.kernels.tensor_product import reference
from geomlib.kernels.tensor_product.layout import ir_mul, mul_ir, weights_by_channel
from geomlib.kernels.tensor_product.plan import Plan, Rows, Table, plan_of

__all__ = ["tensor_product", "tensor_product_conv"]

Maybe = Tensor | None


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
        backend: "auto", "torch" or "cpu"; the Numba loops serve products whose paths all have the mode ``uvu``.

    Raises:
        InvalidInput: shapes that do not fit, mixed types, or a backend that cannot serve the product.
    """
    x, y, weight = _checked(spec, x, y, weight, x.shape[0], x.shape[0])
    plan = _plan(spec, (x, y, weight), backend)
    if plan is None:
        return reference.tensor_product(spec, (x, y, weight))
    rows = Rows.pairwise(x.shape[0], shared_weights=weight.shape[0] == 1 and x.shape[0] != 1)
    return _fused(plan, rows, x, y, weight)


def tensor_product_conv(
    spec: ProductSpec,
    x: Tensor,  # (N, dim 1)
    y: Tensor,  # (E, dim 2)
    weight: Tensor | None,  # (E, n) or (n,)
    edge_index: Tensor,  # (2, E)
    num_nodes: int | None = None,
    *,
    rows: Rows | None = None,
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
        rows: the edges grouped before by ``Rows.edges``, for several layers on one graph.
        backend: as for :func:`tensor_product`.

    Raises:
        InvalidInput: shapes that do not fit, an index out of range, mixed types, or a backend that cannot serve.
    """
    count = x.shape[0] if num_nodes is None else num_nodes
    _check_edges(edge_index, x.shape[0], count)
    edges = edge_index.shape[1]
    x, y, weight = _checked(spec, x, y, weight, x.shape[0], edges)
    plan = _plan(spec, (x, y, weight), backend)
    source, target = edge_index.long()
    if plan is None:
        messages = reference.tensor_product(spec, (x[source], y, weight))
        return messages.new_zeros(count, spec.irreps_out.dim).index_add(0, target, messages)
    if rows is None:
        shared = weight.shape[0] == 1 and edges != 1
        rows = Rows.edges(source, target, x.shape[0], count, shared_weights=shared)
    return _fused(plan, rows, x, y, weight)


def _plan(spec: ProductSpec, tensors: tuple[Tensor, ...], backend: str | None) -> Plan | None:
    plan = plan_of(spec)
    if plan is None:
        if backend == "cpu":
            raise InvalidInput(
                "tensor_product: backend 'cpu' was asked for, but its loops serve the mode 'uvu' only. Use backend='auto'."
            )
        return None
    return plan if choose("tensor_product", tensors, backend) == "cpu" else None


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


def _check_edges(edge_index: Tensor, sources: int, targets: int) -> None:
    if (
        edge_index.dim() != 2
        or edge_index.shape[0] != 2
        or edge_index.dtype not in (torch.int64, torch.int32)
    ):
        raise InvalidInput(
            f"edge_index: expected integers of shape (2, E), got {edge_index.dtype} of shape {tuple(edge_index.shape)}."
        )
    if not edge_index.numel():
        return
    for name, row, count in (("source", edge_index[0], sources), ("target", edge_index[1], targets)):
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= count:
            raise InvalidInput(f"edge_index: {name} {low if low < 0 else high} is outside 0..{count - 1}.")


@dataclass(frozen=True, eq=False)
class _Static:
    plan: Plan
    rows: Rows


def _fused(plan: Plan, rows: Rows, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    spec = plan.spec
    out = _PRODUCT(
        _Static(plan, rows), ir_mul(x, spec.irreps_in1), y, weights_by_channel(weight, spec, plan.ones)
    )
    return mul_ir(out, spec.irreps_out)


def _reference(static: _Static, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the fused operation in torch: features and output with channels inside, weights by channel."""
    a, y, w = tensors
    spec, rows = static.plan.spec, static.rows
    source, edge, weight_row, target = (
        torch.from_numpy(t).to(a.device) for t in (rows.a_row, rows.e_row, rows.w_row, rows.n_row)
    )
    weight = weights_by_channel(w, spec, static.plan.ones, inverse=True)
    value = reference.tensor_product(spec, (mul_ir(a, spec.irreps_in1)[source], y[edge], weight[weight_row]))
    total = value.new_zeros(rows.num_out, spec.irreps_out.dim).index_add(0, target, value)
    return ir_mul(total, spec.irreps_out)


def _contract(
    table: Table, lists: tuple[np.ndarray, ...], a: Tensor, y: Tensor, w: Tensor, out: Tensor
) -> None:
    from geomlib.kernels.tensor_product import cpu

    if table.group.shape[0]:
        scratch = torch.empty(table.term.shape[0], dtype=a.dtype)
        cpu.contract(
            *table.arrays(a.dtype), *lists, array(a), array(y), array(w), out.numpy(), scratch.numpy()
        )


def _pulls(static: _Static, a: Tensor, y: Tensor, w: Tensor, g: Tensor, gy: Maybe, gw: Maybe) -> None:
    from geomlib.kernels.tensor_product import cpu

    plan, rows = static.plan, static.rows
    if not plan.forward.group.shape[0] or (gy is None and gw is None):
        return
    nothing = torch.empty(0, 0, dtype=a.dtype)
    sizes = plan.forward.term.shape[0], plan.channels, plan.channels
    scratch = [torch.zeros(size, dtype=a.dtype) for size in sizes]
    cpu.pulls(
        *plan.forward.arrays(a.dtype), rows.n_row, rows.a_row, rows.e_row, rows.w_row, array(a), array(y), array(w),
        array(g), gy is not None, (nothing if gy is None else gy).numpy(), gw is not None,
        (nothing if gw is None else gw).numpy(), *(s.numpy() for s in scratch),
    )  # fmt: skip


def _lists(rows: Rows) -> tuple[np.ndarray, ...]:
    return rows.start, rows.a_row, rows.e_row, rows.w_row


def _lists_t(rows: Rows) -> tuple[np.ndarray, ...]:
    return rows.start_t, rows.n_row_t, rows.e_row_t, rows.w_row_t


def _forward(static: _Static, tensors: tuple[Tensor, ...]) -> Tensor:
    a, y, w = tensors
    out = torch.zeros(static.rows.num_out, static.plan.spec.irreps_out.dim, dtype=a.dtype)
    _contract(static.plan.forward, _lists(static.rows), a, y, w, out)
    return out


def _backward(
    static: _Static, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    a, y, w = tensors
    da, dy, dw = (
        torch.zeros(t.shape, dtype=t.dtype) if n else None for t, n in zip(tensors, needs, strict=True)
    )
    if da is not None:
        _contract(static.plan.backward, _lists_t(static.rows), grad, y, w, da)
    _pulls(static, a, y, w, grad, dy, dw)
    return da, dy, dw


def _double_backward(
    static: _Static,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    (a, y, w), (ta, ty, tw) = tensors, tangents
    dg, da, dy, dw = (
        torch.zeros(t.shape, dtype=t.dtype) if n else None
        for t, n in zip((grad, *tensors), needs, strict=True)
    )
    plan, rows = static.plan, static.rows
    if dg is not None:
        for p, q, r in ((ta, y, w), (a, ty, w), (a, y, tw)):
            if p is not None and q is not None and r is not None:
                _contract(plan.forward, _lists(rows), p, q, r, dg)
    if da is not None:
        for q, r in ((ty, w), (y, tw)):
            if q is not None and r is not None:
                _contract(plan.backward, _lists_t(rows), grad, q, r, da)
    if ta is not None:
        _pulls(static, ta, y, w, grad, dy, dw)
    # The gradient with respect to y does not read y, that with respect to w does not read w: one pass serves both.
    by_w, by_y = (dy if tw is not None else None), (dw if ty is not None else None)
    _pulls(static, a, y if ty is None else ty, w if tw is None else tw, grad, by_w, by_y)
    return dg, da, dy, dw


_PRODUCT = FusedOperation(_reference, _forward, _backward, _double_backward)
