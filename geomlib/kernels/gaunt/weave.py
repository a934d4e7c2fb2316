r"""Between multiplicities outside and registers of channels, without leaving the registers.

With multiplicities outside, consecutive channels of a block of degree l lie 2l + 1 numbers apart: W channels fill exactly
2l + 1 registers, which are permuted into one register per component, and back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from geomlib.kernels.lanes import intrinsic, lanes_of

__all__ = ["Spaces", "unweave_first", "unweave_second", "weave_out"]


class Spaces:
    """The sizes 2l + 1 of the blocks of the three spaces, known when the code is compiled.

    Args:
        sizes: one tuple per space.
    """

    def __init__(self, *sizes: tuple[int, ...]) -> None:
        self.type = _SpacesType(sizes)
        self._numba_type_ = self.type  # spares Numba a search at every call


class _SpacesType(types.Type):
    def __init__(self, sizes: tuple[tuple[int, ...], ...]) -> None:
        self.sizes = sizes
        super().__init__(name=f"Spaces({hashlib.sha256(repr(sizes).encode()).hexdigest()})")


register_model(_SpacesType)(models.OpaqueModel)


@typeof_impl.register(Spaces)
def _typeof(value: Spaces, _context: Any) -> _SpacesType:
    return value.type


@unbox(_SpacesType)
def _unbox(_type: Any, _object: Any, native: Any) -> NativeValue:
    return NativeValue(native.context.get_dummy_value())


def _merged(builder: Any, sources: list[Any], lanes: int, place: Callable[[int], tuple[int, int]]) -> Any:
    """Return the register whose lane t is lane b of ``sources[a]`` with ``(a, b) = place(t)``."""
    wanted = [place(t) for t in range(lanes)]
    kind = ir.VectorType(ir.IntType(32), lanes)
    used = sorted({a for a, _ in wanted})
    first = sources[used[0]]
    mask = [b if a == used[0] else 0 for a, b in wanted]
    current = builder.shuffle_vector(first, first, ir.Constant(kind, mask))
    for source in used[1:]:
        mask = [lanes + b if a == source else t for t, (a, b) in enumerate(wanted)]
        current = builder.shuffle_vector(current, sources[source], ir.Constant(kind, mask))
    return current


def _places(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Callable[[Any], Any]:
    """Return the function from an offset to a pointer to a register."""
    data = context.make_array(kind)(context, builder, array).data
    pointer = ir.PointerType(context.get_value_type(lanes_of(kind)))
    return lambda offset: builder.bitcast(builder.gep(data, [builder.add(start, offset)]), pointer)


def _mover(space: int, into_tile: bool) -> Any:
    @intrinsic
    def move(_typing, spaces, features, row, channels, channel, tile, first, pitch):
        """Move ``W`` channels between a row of features and a tile, component i at ``first + i * pitch``."""
        kind = lanes_of(features)

        def codegen(context, builder, signature, args):
            lanes, align = kind.count, features.dtype.bitwidth // 8
            index = ir.IntType(64)
            at = _places(context, builder, signature.args[1], args[1], args[2])
            to = _places(context, builder, signature.args[5], args[5], args[6])
            start = 0
            for n in signature.args[0].sizes[space]:
                block = builder.add(
                    builder.mul(args[3], ir.Constant(index, start)),
                    builder.mul(args[4], ir.Constant(index, n)),
                )
                far = [at(builder.add(block, ir.Constant(index, r * lanes))) for r in range(n)]
                near = [to(builder.mul(args[7], ir.Constant(index, start + m))) for m in range(n)]
                old = [builder.load(p, align=align) for p in (far if into_tile else near)]
                for k, target in enumerate(near if into_tile else far):
                    if into_tile:
                        value = _merged(builder, old, lanes, lambda t, k=k, n=n: divmod(t * n + k, lanes))
                    else:
                        value = _merged(
                            builder,
                            old,
                            lanes,
                            lambda t, k=k, n=n: ((k * lanes + t) % n, (k * lanes + t) // n),
                        )
                    builder.store(value, target, align=align)
                start += n
            return context.get_dummy_value()

        i = types.intp
        return types.void(spaces, features, i, i, i, tile, i, i), codegen

    return move


unweave_first = _mover(0, into_tile=True)
unweave_second = _mover(1, into_tile=True)
weave_out = _mover(2, into_tile=False)
