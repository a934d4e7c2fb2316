r"""Numba loops of products on the sphere over their sparse table.

Lanes of a register are channels (or rows) of one component. Small tables become straight-line code: the type of a
:class:`Program` carries the table, so the compiled code is kept on disk like any other. Larger ones are read in a loop:
for an output component k and a component i of x, :math:`s = \sum_j T_{ijk} y_j`, then :math:`z_k += s x_i`.

Features whose channels are not contiguous, or do not fill registers, pass through a small transposed tile.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from geomlib.algebra.gaunt.tables import SparseTable
from geomlib.kernels.gaunt.weave import unweave_first, unweave_second, weave_out
from geomlib.kernels.jit import jit, jit_inline
from geomlib.kernels.lanes import (
    add_product,
    add_scaled,
    fused,
    get,
    intrinsic,
    lanes_of,
    load,
    put,
    scaled,
    store,
    zeros,
)

__all__ = [
    "Program",
    "straight_direct",
    "straight_tiled",
    "straight_woven",
    "table_direct",
    "table_tiled",
    "table_woven",
]


class Program:
    """A table that is compiled into code.

    Args:
        table: the entries.
    """

    def __init__(self, table: SparseTable) -> None:
        entries = zip(table.k.tolist(), table.i.tolist(), table.j.tolist(), table.value.tolist(), strict=True)
        self.type = _ProgramType(tuple(map(int, table.shape)), tuple(entries))
        self._numba_type_ = self.type  # spares Numba a search at every call


class _ProgramType(types.Type):
    def __init__(self, shape: tuple[int, int, int], entries: tuple[tuple[int, int, int, float], ...]) -> None:
        self.shape, self.entries = shape, entries
        digest = hashlib.sha256(repr((shape, entries)).encode()).hexdigest()
        super().__init__(name=f"Program({digest})")


register_model(_ProgramType)(models.OpaqueModel)


@typeof_impl.register(Program)
def _typeof(value: Program, _context: Any) -> _ProgramType:
    return value.type


@unbox(_ProgramType)
def _unbox(_type: Any, _object: Any, native: Any) -> NativeValue:
    return NativeValue(native.context.get_dummy_value())


@intrinsic
def _straight(_typing, program, x, x0, px, y, y0, py, z, z0, pz):
    """Multiply one register of rows: component i of x is at ``x0 + i * px``."""
    kind = lanes_of(x)

    def codegen(context, builder, signature, args):
        lanes = context.get_value_type(kind)
        pointer = ir.PointerType(lanes)
        size = x.dtype.bitwidth // 8
        number = np.float32 if size == 4 else np.float64

        def address(array: int, component: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            step = builder.mul(args[array + 2], ir.Constant(args[array + 2].type, component))
            return builder.bitcast(builder.gep(data, [builder.add(args[array + 1], step)]), pointer)

        shape = signature.args[0].shape
        xs = [builder.load(address(1, i), align=size) for i in range(shape[0])]
        ys = [builder.load(address(4, j), align=size) for j in range(shape[1])]
        totals: list[Any] = [None] * shape[2]
        terms: dict[tuple[int, int], Any] = {}
        for k, i, j, value in signature.args[0].entries:
            factor = ir.Constant(lanes, [float(number(value))] * lanes.count)
            old = terms.get((k, i))
            terms[k, i] = builder.fmul(factor, ys[j]) if old is None else fused(builder, factor, ys[j], old)
        for (k, i), term in terms.items():
            old = totals[k]
            totals[k] = builder.fmul(term, xs[i]) if old is None else fused(builder, term, xs[i], old)
        for k, total in enumerate(totals):
            builder.store(ir.Constant(lanes, None) if total is None else total, address(7, k), align=size)
        return context.get_dummy_value()

    index = types.intp
    return types.void(program, x, index, index, y, index, index, z, index, index), codegen


@jit
def straight_direct(program, x, y, z, rows, dims, channels, lanes):
    """Multiply rows whose components lie ``channels`` apart; ``channels`` is a multiple of the lanes."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    for b in range(rows):
        for c in range(0, channels, lanes):
            _straight(
                program, x, b * sx + c, channels, y, b * sy + c, channels, z, b * sz + c, channels
            )  # fmt: skip


@jit_inline
def _gather(source, size, blocks, channels, first, lanes, total, tile):
    """Copy ``lanes`` (row, channel) pairs into a tile (component, lane); blocks (n, 4): offset, strides, length."""
    b, c = first // channels, first % channels
    for t in range(lanes):
        if first + t < total:
            at = t
            for k in range(blocks.shape[0]):
                place = b * size + blocks[k, 0] + c * blocks[k, 1]
                step = blocks[k, 2]
                for _ in range(blocks[k, 3]):
                    put(tile, at, get(source, place))
                    at += lanes
                    place += step
            c += 1
            if c == channels:
                b, c = b + 1, 0


@jit_inline
def _scatter(tile, target, size, blocks, channels, first, lanes, total):
    """Copy a tile back, the lanes that exist."""
    b, c = first // channels, first % channels
    for t in range(min(lanes, total - first)):
        at = t
        for k in range(blocks.shape[0]):
            place = b * size + blocks[k, 0] + c * blocks[k, 1]
            step = blocks[k, 2]
            for _ in range(blocks[k, 3]):
                put(target, place, get(tile, at))
                at += lanes
                place += step
        c += 1
        if c == channels:
            b, c = b + 1, 0


@jit
def straight_tiled(program, x, y, z, rows, dims, channels, lanes, bx, by, bz, tx, ty, tz):
    """Multiply rows in any memory order through tiles of one register per component."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    total = rows * channels
    for q in range(0, total, lanes):
        _gather(x, sx, bx, channels, q, lanes, total, tx)
        _gather(y, sy, by, channels, q, lanes, total, ty)
        _straight(program, tx, 0, lanes, ty, 0, lanes, tz, 0, lanes)
        _scatter(tz, z, sz, bz, channels, q, lanes, total)


@jit
def straight_woven(program, spaces, x, y, z, rows, dims, channels, lanes, tx, ty, tz):
    """Multiply rows with multiplicities outside; ``channels`` is a multiple of the lanes."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    for b in range(rows):
        for c in range(0, channels, lanes):
            unweave_first(spaces, x, b * sx, channels, c, tx, 0, lanes)
            unweave_second(spaces, y, b * sy, channels, c, ty, 0, lanes)
            _straight(program, tx, 0, lanes, ty, 0, lanes, tz, 0, lanes)
            weave_out(spaces, z, b * sz, channels, c, tz, 0, lanes)


@jit_inline
def _four(
    single, several, count, place, at_x, at_y, value, x, x0, x1, x2, x3, y, y0, y1, y2, y3, z, z0, z1, z2, z3
):
    """Multiply four registers of rows.

    Per output component: ``single`` pairs with one entry, then ``several`` pairs with ``count`` entries each.
    """
    e, p = 0, 0
    for k in range(place.shape[0]):
        a0, a1, a2, a3 = zeros(x), zeros(x), zeros(x), zeros(x)
        for _ in range(get(single, k)):
            c, j, i = get(value, e), get(at_y, e), get(at_x, p)
            e += 1
            p += 1
            a0 = add_product(scaled(c, load(y, y0 + j)), load(x, x0 + i), a0)
            a1 = add_product(scaled(c, load(y, y1 + j)), load(x, x1 + i), a1)
            a2 = add_product(scaled(c, load(y, y2 + j)), load(x, x2 + i), a2)
            a3 = add_product(scaled(c, load(y, y3 + j)), load(x, x3 + i), a3)
        for _ in range(get(several, k)):
            c, j = get(value, e), get(at_y, e)
            e += 1
            s0, s1 = scaled(c, load(y, y0 + j)), scaled(c, load(y, y1 + j))
            s2, s3 = scaled(c, load(y, y2 + j)), scaled(c, load(y, y3 + j))
            for _ in range(get(count, p) - 1):
                c, j = get(value, e), get(at_y, e)
                e += 1
                s0, s1 = add_scaled(c, load(y, y0 + j), s0), add_scaled(c, load(y, y1 + j), s1)
                s2, s3 = add_scaled(c, load(y, y2 + j), s2), add_scaled(c, load(y, y3 + j), s3)
            i = get(at_x, p)
            p += 1
            a0 = add_product(s0, load(x, x0 + i), a0)
            a1 = add_product(s1, load(x, x1 + i), a1)
            a2 = add_product(s2, load(x, x2 + i), a2)
            a3 = add_product(s3, load(x, x3 + i), a3)
        o = get(place, k)
        store(z, z0 + o, a0)
        store(z, z1 + o, a1)
        store(z, z2 + o, a2)
        store(z, z3 + o, a3)


@jit
def table_direct(single, several, count, place, at_x, at_y, value, x, y, z, rows, dims, channels, lanes):
    """Multiply rows whose components lie ``channels`` apart; ``channels`` is a multiple of the lanes."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    per = channels // lanes
    last = rows * per - 1
    for q in range(0, rows * per, 4):
        # A register beyond the end repeats the last one.
        q1, q2, q3 = min(q + 1, last), min(q + 2, last), min(q + 3, last)
        b0, c0, b1, c1 = q // per, q % per * lanes, q1 // per, q1 % per * lanes
        b2, c2, b3, c3 = q2 // per, q2 % per * lanes, q3 // per, q3 % per * lanes
        _four(
            single, several, count, place, at_x, at_y, value,
            x, b0 * sx + c0, b1 * sx + c1, b2 * sx + c2, b3 * sx + c3,
            y, b0 * sy + c0, b1 * sy + c1, b2 * sy + c2, b3 * sy + c3,
            z, b0 * sz + c0, b1 * sz + c1, b2 * sz + c2, b3 * sz + c3,
        )  # fmt: skip


@jit
def table_tiled(
    single, several, count, place, at_x, at_y, value, x, y, z, rows, dims, channels, lanes, bx, by, bz, tx, ty, tz
):  # fmt: skip
    """Multiply rows in any memory order through tiles of four registers per component."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    total, many = rows * channels, 4 * lanes
    for q in range(0, total, many):
        _gather(x, sx, bx, channels, q, many, total, tx)
        _gather(y, sy, by, channels, q, many, total, ty)
        _four(
            single, several, count, place, at_x, at_y, value,
            tx, 0, lanes, 2 * lanes, 3 * lanes,
            ty, 0, lanes, 2 * lanes, 3 * lanes,
            tz, 0, lanes, 2 * lanes, 3 * lanes,
        )  # fmt: skip
        _scatter(tz, z, sz, bz, channels, q, many, total)


@jit
def table_woven(
    single, several, count, place, at_x, at_y, value, spaces, x, y, z, rows, dims, channels, lanes, tx, ty, tz
):  # fmt: skip
    """Multiply rows with multiplicities outside; ``channels`` is a multiple of the lanes."""
    sx, sy, sz = get(dims, 0) * channels, get(dims, 1) * channels, get(dims, 2) * channels
    per, many = channels // lanes, 4 * lanes
    last = rows * per
    for q in range(0, last, 4):
        for t in range(min(4, last - q)):
            b, c = (q + t) // per, (q + t) % per * lanes
            unweave_first(spaces, x, b * sx, channels, c, tx, t * lanes, many)
            unweave_second(spaces, y, b * sy, channels, c, ty, t * lanes, many)
        _four(
            single, several, count, place, at_x, at_y, value,
            tx, 0, lanes, 2 * lanes, 3 * lanes,
            ty, 0, lanes, 2 * lanes, 3 * lanes,
            tz, 0, lanes, 2 * lanes, 3 * lanes,
        )  # fmt: skip
        for t in range(min(4, last - q)):
            b, c = (q + t) // per, (q + t) % per * lanes
            weave_out(spaces, z, b * sz, channels, c, tz, t * lanes, many)
