"""Channel-wise products as one differentiable operation made of the Numba loops."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.arrays import array, empty, zeros
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.tensor_product import reference
from geomlib.kernels.tensor_product.layout import weights_by_channel
from geomlib.kernels.tensor_product.loops import Loop, blocks_of, loop_of
from geomlib.kernels.tensor_product.plan import Plan, Rows, Table, plan_of

__all__ = ["Channelwise", "Static", "channelwise", "channelwise_of"]

Maybe = Tensor | None
#: The groups with weights and those without.
Pair = tuple[Loop | None, Loop | None]
#: Features, filter, weights, and whether paths without weights take part.
_Term = tuple[Tensor, Tensor, Tensor, bool]


@dataclass(frozen=True, eq=False)
class Channelwise:
    """Loops of a product with paths ``uvu``.

    Args:
        spec: the product; features are in its public order.
        forward: adds to the output.
        backward: adds to the gradient of the features.
        in_blocks: how the features are rearranged.
        out_blocks: how the output is; nothing if it stays as the loops make it.
        width: columns of the output.
        channels: largest multiplicity.
        columns: for an output left as the loops make it, where each column of the public output goes.
    """

    spec: ProductSpec
    forward: Pair
    backward: Pair
    in_blocks: np.ndarray
    out_blocks: np.ndarray
    width: int
    channels: int
    columns: np.ndarray | None = None

    @staticmethod
    def of(plan: Plan, width: int | None = None, columns: np.ndarray | None = None) -> Channelwise:
        """Return the loops of a plan, or of one whose output has its own columns."""
        spec = plan.spec
        outs = blocks_of(spec.irreps_out) if columns is None else np.zeros((0, 3), dtype=np.int64)
        return Channelwise(
            spec, _pair(plan.forward, spec), _pair(plan.backward, spec), blocks_of(spec.irreps_in1), outs,
            spec.irreps_out.dim if width is None else width, plan.channels, columns,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Static:
    """What the operation depends on besides tensors."""

    product: Channelwise
    rows: Rows


def _pair(table: Table, spec: ProductSpec) -> Pair:
    n = spec.weight_numel
    return loop_of(table, n, weighted=True), loop_of(table, n, weighted=False)


@functools.lru_cache(maxsize=256)
def channelwise_of(spec: ProductSpec) -> Channelwise | None:
    """Return the loops of a product, or None if some path is not ``uvu``."""
    plan = plan_of(spec)
    return None if plan is None else Channelwise.of(plan)


def channelwise(product: Channelwise, rows: Rows, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Evaluate; weights are by channel, see :func:`~geomlib.kernels.tensor_product.layout.weights_by_channel`."""
    return OPERATION(Static(product, rows), x, y, weight)


def _reference(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the same in torch."""
    x, y, w = tensors
    product, rows = static.product, static.rows
    source, edge, weight_row, target = (
        torch.from_numpy(t) for t in (rows.a_row, rows.e_row, rows.w_row, rows.n_row)
    )
    weight = weights_by_channel(w, product.spec, 0, inverse=True)
    value = reference.tensor_product(product.spec, (x[source], y[edge], weight[weight_row]))
    total = value.new_zeros(rows.num_out, value.shape[1]).index_add(0, target, value)
    if product.columns is None:
        return total
    columns = torch.from_numpy(product.columns)
    return total.new_zeros(rows.num_out, product.width).index_add(1, columns, total)


def _ordered(rows: Rows, blocks: np.ndarray, t: Tensor) -> Tensor:
    """Return features as the loops read them; rows that are read only once are rearranged by the loops."""
    from geomlib.kernels.tensor_product import cpu

    t = t.detach().contiguous()
    if rows.lazy or not blocks.shape[0]:
        return t
    out = empty(*t.shape, dtype=t.dtype)
    cpu.rearrange(blocks, t.numpy(), out.numpy())
    return out


def _contract(
    static: Static, terms: Sequence[_Term], dtype: torch.dtype, *, transposed: bool = False
) -> Tensor:
    """Return the sum of contractions, with features as the loops read them."""
    from geomlib.kernels.tensor_product import cpu

    product, rows = static.product, static.rows
    loops, ins, outs = product.forward, product.in_blocks, product.out_blocks
    lists, height = (rows.start, rows.a_row, rows.e_row, rows.w_row), rows.num_out
    width_in, width_out = product.spec.irreps_in1.dim, product.width
    if transposed:
        loops, ins, outs = product.backward, outs, ins
        lists, height = (rows.start_t, rows.n_row_t, rows.e_row_t, rows.w_row_t), rows.num_in
        width_in, width_out = width_out, width_in
    out: Maybe = None
    for a, y, w, ones in terms:
        for loop, by, row in _weighted(product, loops, w, lists[3], ones=ones):
            add = out is not None
            if out is None:
                out = (empty if outs.shape[0] else zeros)(height, width_out, dtype=a.dtype)
            sizes = loop.moments, loop.factors, width_in, width_out
            room = [torch.empty(n, dtype=a.dtype).numpy() for n in sizes]
            cpu.contract(
                *loop.arrays(a.dtype), *lists[:3], row, ins, outs, rows.lazy, a.numpy(), array(y), array(by), add,
                out.numpy(), *room,
            )  # fmt: skip
    return torch.zeros(height, width_out, dtype=dtype) if out is None else out


def _weighted(
    product: Channelwise, loops: Pair, w: Tensor, w_row: np.ndarray, *, ones: bool
) -> list[tuple[Loop, Tensor, np.ndarray]]:
    """Return every loop with its weights and their rows; ``ones`` takes in the paths without weights."""
    found = [] if loops[0] is None else [(loops[0], w, w_row)]
    if ones and loops[1] is not None:
        found.append((loops[1], torch.ones(1, product.channels, dtype=w.dtype), np.zeros_like(w_row)))
    return found


def _pulls(
    static: Static, a: Tensor, y: Tensor, w: Tensor, g: Tensor, gy: Maybe, gw: Maybe, *, ones: bool = True
) -> None:
    """Add the gradients with respect to y and w; a and g as the loops read them."""
    from geomlib.kernels.tensor_product import cpu

    if gy is None and gw is None:
        return
    product, rows = static.product, static.rows
    for loop, by, row in _weighted(product, product.forward, w, rows.w_row, ones=ones):
        want_w = gw is not None and by is w
        into = gw if gw is not None and by is w else torch.zeros(1, by.shape[1], dtype=w.dtype)
        sizes = loop.moments, loop.factors, loop.factors, loop.moments, a.shape[1], g.shape[1]
        room = [torch.empty(n, dtype=a.dtype).numpy() for n in sizes]
        cpu.pulls(
            *loop.arrays(a.dtype), rows.n_row, rows.a_row, rows.e_row, row, product.in_blocks, product.out_blocks,
            rows.lazy, a.numpy(), array(y), array(by), g.numpy(), gy is not None,
            (torch.empty(0, 0, dtype=a.dtype) if gy is None else gy).numpy(), want_w, into.numpy(), *room,
        )  # fmt: skip


def _forward(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    x, y, w = tensors
    return _contract(static, [(_ordered(static.rows, static.product.in_blocks, x), y, w, True)], x.dtype)


def _backward(
    static: Static, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    product, rows = static.product, static.rows
    x, y, w = tensors
    g = _ordered(rows, product.out_blocks, grad)
    dx = _contract(static, [(g, y, w, True)], x.dtype, transposed=True) if needs[0] else None
    dy, dw = (zeros(*t.shape, dtype=t.dtype) if n else None for t, n in ((y, needs[1]), (w, needs[2])))
    if needs[1] or needs[2]:
        _pulls(static, _ordered(rows, product.in_blocks, x), y, w, g, dy, dw)
    return dx, dy, dw


def _double_backward(
    static: Static,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    (x, y, w), (tx, ty, tw) = tensors, tangents
    product, rows = static.product, static.rows
    a, g = _ordered(rows, product.in_blocks, x), _ordered(rows, product.out_blocks, grad)
    ta = None if tx is None else _ordered(rows, product.in_blocks, tx)
    dg = dx = None
    if needs[0]:
        terms: list[_Term] = [] if ta is None else [(ta, y, w, True)]
        terms += [] if ty is None else [(a, ty, w, True)]
        terms += [] if tw is None else [(a, y, tw, False)]
        dg = _contract(static, terms, x.dtype)
    if needs[1]:
        terms = [] if ty is None else [(g, ty, w, True)]
        terms += [] if tw is None else [(g, y, tw, False)]
        dx = _contract(static, terms, x.dtype, transposed=True)
    dy, dw = (zeros(*t.shape, dtype=t.dtype) if n else None for t, n in ((y, needs[2]), (w, needs[3])))
    if ta is not None:
        _pulls(static, ta, y, w, g, dy, dw)
    # The gradient with respect to y does not read y, that with respect to w does not read w: one pass serves both.
    by_w, by_y = (dy if tw is not None else None), (dw if ty is not None else None)
    _pulls(static, a, y if ty is None else ty, w if tw is None else tw, g, by_w, by_y, ones=False)
    return dg, dx, dy, dw


OPERATION = FusedOperation(_reference, _forward, _backward, _double_backward)
