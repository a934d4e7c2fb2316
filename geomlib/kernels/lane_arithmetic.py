"""Arithmetic on registers: ``+ - * /`` and comparisons, choices lane by lane, roots, logarithms and exponentials.

With them a loop of Numba that is written for one number serves a register of them, which holds the same entry of
several matrices. Numbers that are not registers are spread over the lanes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import models, register_model

from geomlib.kernels.lanes import Lanes, intrinsic, splat

__all__ = [
    "Mask", "any_lane", "exponent", "lowest", "magnitude", "mantissa", "none_of", "root", "same_sign", "scale_power", "spread",
    "where", "wide_load", "wide_store",
]  # fmt: skip

_template: Any = infer_global  # whose type is that of a plain function
#: As for the loops, see `geomlib.kernels.jit`.
_FAST = ("contract", "reassoc", "nsz", "arcp")


class Mask(types.Type):
    """One truth value for each lane."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Mask({count})")


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Mask) -> None:
        super().__init__(manager, type_, ir.VectorType(ir.IntType(1), type_.count))


def _joined(a: Any, b: Any) -> Any:
    """Return the register type of a result, or None where neither operand is a register."""
    if isinstance(a, Lanes) and isinstance(b, (Lanes, types.Number)):
        return a
    return b if isinstance(b, Lanes) and isinstance(a, types.Number) else None


def _both(context: Any, builder: Any, kind: Any, given: Any, args: Any) -> list[Any]:
    """Return both operands as registers."""
    found = []
    for value, of in zip(args, given, strict=True):
        if isinstance(of, Lanes):
            found.append(value)
        else:
            number = context.cast(builder, value, of, kind.scalar)
            found.append(splat(builder, context.get_value_type(kind), number))
    return found


def _typed(symbol: Any, result: Callable[[Any, Any], Any]) -> None:
    """Tell Numba the type of an operation; templates are resolved faster than overloads."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            found = result(*args) if len(args) == 2 else None
            return None if found is None else signature(found, *args)

    _template(symbol)(Template)


def _operands(lower: Any, symbol: Any, code: Any) -> None:
    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower(symbol, *kinds)(code)


def _arithmetic(symbol: Any, name: str) -> None:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = _both(context, builder, sig.return_type, sig.args, args)
        return getattr(builder, name)(left, right, flags=_FAST)

    _typed(symbol, _joined)
    _operands(lower_builtin, symbol, code)


def _comparison(symbol: Any, sign: str) -> None:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = _both(context, builder, _joined(*sig.args), sig.args, args)
        return builder.fcmp_ordered(sign, left, right)

    def result(a: Any, b: Any) -> Any:
        kind = _joined(a, b)
        return None if kind is None else Mask(kind.count)

    _typed(symbol, result)
    _operands(lower_builtin, symbol, code)


def _logic(symbol: Any, name: str) -> None:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args)

    _typed(symbol, lambda a, b: a if isinstance(a, Mask) and isinstance(b, Mask) else None)
    lower_builtin(symbol, Mask, Mask)(code)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")
_comparison(operator.lt, "<")
_comparison(operator.le, "<=")
_comparison(operator.gt, ">")
_comparison(operator.ge, ">=")
_comparison(operator.eq, "==")
_logic(operator.and_, "and_")
_logic(operator.or_, "or_")


@intrinsic
def none_of(_typing, a):
    """Return the mask that is true where this one is false."""

    def codegen(context, builder, signature, args):
        return builder.not_(args[0])

    return a(a), codegen


def _unary(name: str) -> Any:
    """Return a function of one register that LLVM has."""

    def typed(_typing, a):
        def codegen(context, builder, signature, args):
            kind = args[0].type
            letter = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{kind.count}{letter}"
            )
            return builder.call(function, args)

        return a(a), codegen

    return intrinsic(typed)


root = _unary("sqrt")
magnitude = _unary("fabs")
lowest = _unary("floor")


@intrinsic
def same_sign(_typing, a, b):
    """Return a with the sign of b."""

    def codegen(context, builder, signature, args):
        kind = args[0].type
        letter = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind, kind]), f"llvm.copysign.v{kind.count}{letter}"
        )
        return builder.call(function, args)

    return a(a, b), codegen


@intrinsic
def where(_typing, mask, a, b):
    """Return a in the lanes where the mask is true, otherwise b."""
    kind = _joined(a, b)

    def codegen(context, builder, signature, args):
        return builder.select(args[0], *_both(context, builder, kind, signature.args[1:], args[1:]))

    return kind(mask, a, b), codegen


@intrinsic
def any_lane(_typing, mask):
    """Return whether the mask is true anywhere."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.count))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


@intrinsic
def spread(_typing, like, value):
    """Return a register with one number in every lane."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[1], value, like.scalar)
        return splat(builder, args[0].type, number)

    return like(like, value), codegen


@intrinsic
def wide_load(_typing, array, index, count):
    """Return ``count`` lanes, a literal number of them, from row ``index`` of an array of such rows."""
    if not isinstance(count, types.IntegerLiteral):
        return None  # Numba asks again
    kind = Lanes(array.dtype, count.literal_value)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        step = builder.mul(args[1], ir.Constant(args[1].type, kind.count))
        pointer = builder.gep(data, [step])
        pointer = builder.bitcast(pointer, ir.PointerType(context.get_value_type(kind)))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return kind(array, types.intp, count), codegen


@intrinsic
def wide_store(_typing, array, index, value):
    """Write a register to its row."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        step = builder.mul(args[1], ir.Constant(args[1].type, value.count))
        pointer = builder.gep(data, [step])
        pointer = builder.bitcast(pointer, ir.PointerType(args[2].type))
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _format(kind: Any) -> tuple[Any, int, int]:
    """Return the integers behind a register, the bits of a mantissa and the bias of the exponent."""
    if isinstance(kind.element, ir.FloatType):
        return ir.VectorType(ir.IntType(32), kind.count), 23, 127
    return ir.VectorType(ir.IntType(64), kind.count), 52, 1023


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


@intrinsic
def exponent(_typing, a):
    """Return k as a number for positive normal a = m 2^k, 1 <= m < 2."""

    def codegen(context, builder, signature, args):
        whole, bits, bias = _format(args[0].type)
        shifted = builder.lshr(builder.bitcast(args[0], whole), _all(whole, bits))
        return builder.sitofp(builder.sub(shifted, _all(whole, bias)), args[0].type)

    return a(a), codegen


@intrinsic
def mantissa(_typing, a):
    """Return m, 1 <= m < 2, for positive normal a = m 2^k."""

    def codegen(context, builder, signature, args):
        whole, bits, bias = _format(args[0].type)
        kept = builder.and_(builder.bitcast(args[0], whole), _all(whole, (1 << bits) - 1))
        return builder.bitcast(builder.or_(kept, _all(whole, bias << bits)), args[0].type)

    return a(a), codegen


@intrinsic
def scale_power(_typing, k):
    """Return 2^k for whole numbers k, those outside of the range of exponents moved to its ends."""

    def codegen(context, builder, signature, args):
        whole, bits, bias = _format(args[0].type)
        number = builder.add(builder.fptosi(args[0], whole), _all(whole, bias))
        for sign, end in (("<", 1), (">", 2 * bias)):
            beyond = builder.icmp_signed(sign, number, _all(whole, end))
            number = builder.select(beyond, _all(whole, end), number)
        return builder.bitcast(builder.shl(number, _all(whole, bits)), args[0].type)

    return k(k), codegen
