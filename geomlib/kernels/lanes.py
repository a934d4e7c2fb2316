"""Vector registers for Numba: values of one component for several rows at once.

Numba vectorises loops, but keeps sums that run across a table in memory. These primitives hold them in registers. A
register has 64 bytes where the processor has AVX-512, otherwise 32.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

intrinsic: Any = _intrinsic  # whose type is that of the function before decoration

__all__ = [
    "Lanes",
    "add_product",
    "add_scaled",
    "fused",
    "get",
    "intrinsic",
    "lanes_of",
    "load",
    "put",
    "scaled",
    "splat",
    "store",
    "width",
    "zeros",
]


@functools.cache
def width(itemsize: int) -> int:
    """Return the number of lanes of a register for numbers of a size in bytes."""
    return (64 if binding.get_host_cpu_features().get("avx512f") else 32) // itemsize


class Lanes(types.Type):
    """A register of numbers of one type."""

    def __init__(self, scalar: Any, count: int) -> None:
        self.scalar, self.count = scalar, count
        super().__init__(name=f"Lanes({scalar}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Lanes) -> None:
        element = ir.FloatType() if type_.scalar == types.float32 else ir.DoubleType()
        super().__init__(manager, type_, ir.VectorType(element, type_.count))


def lanes_of(array: Any) -> Lanes:
    """Return the register type for the elements of an array type."""
    return Lanes(array.dtype, width(array.dtype.bitwidth // 8))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, in one instruction where there is one."""
    kind = a.type
    letter = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{kind.count}{letter}"
    )
    return builder.call(function, [a, b, c])


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index])


def splat(builder: Any, kind: Any, value: Any) -> Any:
    """Return a register with a number in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, undefined, mask)


@intrinsic
def load(_typing, array, index):
    """Return the register that starts at an element of a flat array."""
    kind = lanes_of(array)

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.PointerType(context.get_value_type(kind)))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return kind(array, types.intp), codegen


@intrinsic
def store(_typing, array, index, value):
    """Write a register."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.PointerType(args[2].type))
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def zeros(_typing, array):
    """Return a register of zeros."""
    kind = lanes_of(array)

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(kind), None)

    return kind(array), codegen


@intrinsic
def scaled(_typing, factor, a):
    """Return factor * a."""

    def codegen(context, builder, signature, args):
        return builder.fmul(splat(builder, args[1].type, args[0]), args[1])

    return a(a.scalar, a), codegen


@intrinsic
def add_scaled(_typing, factor, a, total):
    """Return total + factor * a."""

    def codegen(context, builder, signature, args):
        return fused(builder, splat(builder, args[1].type, args[0]), args[1], args[2])

    return total(total.scalar, a, total), codegen


@intrinsic
def add_product(_typing, a, b, total):
    """Return total + a * b."""

    def codegen(context, builder, signature, args):
        return fused(builder, *args)

    return total(a, b, total), codegen


@intrinsic
def get(_typing, array, index):
    """Return an element; unlike ``array[index]``, negative indices are not looked for. Integers become int64."""
    result = types.int64 if isinstance(array.dtype, types.Integer) else array.dtype

    def codegen(context, builder, signature, args):
        value = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]))
        if result is types.int64 and array.dtype.bitwidth < 64:
            return builder.sext(value, ir.IntType(64))
        return value

    return result(array, types.intp), codegen


@intrinsic
def put(_typing, array, index, value):
    """Set an element; negative indices are not looked for."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), codegen
