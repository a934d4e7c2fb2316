"""Squares of numbers turned over in registers: rows become lanes, lanes become rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from geomlib.kernels.lanes import Lanes, intrinsic

__all__ = ["turn_in", "turn_out"]


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the registers of the transpose of a square, by exchanging ever smaller blocks beside the diagonal."""
    width, step, rows = len(rows), len(rows) // 2, list(rows)
    kind = ir.VectorType(ir.IntType(32), width)
    while step:
        upper = [j if not j & step else width + j - step for j in range(width)]
        lower = [j + step if not j & step else width + j for j in range(width)]
        for i in range(width):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i] = builder.shuffle_vector(a, b, ir.Constant(kind, upper))
                rows[i + step] = builder.shuffle_vector(a, b, ir.Constant(kind, lower))
        step //= 2
    return rows


def _register_at(context: Any, builder: Any, kind: Any, array: Any, index: Any, count: int) -> Any:
    """Return the pointer to the register of so many numbers that starts at an index."""
    data = context.make_array(kind)(context, builder, array).data
    wide = ir.PointerType(context.get_value_type(Lanes(kind.dtype, count)))
    return builder.bitcast(builder.gep(data, [index]), wide)


def _converted(builder: Any, value: Any, target: Any) -> Any:
    """Return a register in another precision."""
    if value.type == target:
        return value
    widen = isinstance(target.element, ir.DoubleType)
    return (builder.fpext if widen else builder.fptrunc)(value, target)


def _index(builder: Any, start: Any, step: Any, k: int) -> Any:
    return builder.add(start, builder.mul(step, ir.Constant(step.type, k)))


@intrinsic
def turn_in(_typing, x, start, step, Z, row, count):
    """Copy x[start + t step + e] to lane t of row + e of Z, for t and e below ``count``, a literal power of two."""
    if not isinstance(count, types.IntegerLiteral):
        return None  # Numba asks again
    width = count.literal_value

    def codegen(context, builder, signature, args):
        target = context.get_value_type(Lanes(Z.dtype, width))
        size = ir.Constant(args[4].type, width)
        rows = []
        for t in range(width):
            at = _register_at(context, builder, x, args[0], _index(builder, args[1], args[2], t), width)
            rows.append(builder.load(at, align=x.dtype.bitwidth // 8))
        first = builder.mul(args[4], size)
        for e, value in enumerate(_turned(builder, rows)):
            at = _register_at(context, builder, Z, args[3], _index(builder, first, size, e), width)
            builder.store(_converted(builder, value, target), at, align=Z.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, Z, types.intp, count), codegen


@intrinsic
def turn_out(_typing, Z, row, x, start, step, count):
    """Copy back: lane t of row + e of Z to x[start + t step + e]."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    width = count.literal_value

    def codegen(context, builder, signature, args):
        target = context.get_value_type(Lanes(x.dtype, width))
        size = ir.Constant(args[1].type, width)
        first = builder.mul(args[1], size)
        rows = []
        for e in range(width):
            at = _register_at(context, builder, Z, args[0], _index(builder, first, size, e), width)
            rows.append(_converted(builder, builder.load(at, align=Z.dtype.bitwidth // 8), target))
        for t, value in enumerate(_turned(builder, rows)):
            at = _register_at(context, builder, x, args[2], _index(builder, args[3], args[4], t), width)
            builder.store(value, at, align=x.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(Z, types.intp, x, types.intp, types.intp, count), codegen
