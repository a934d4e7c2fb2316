"""The one way Numba kernels are compiled here."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import Compiler
from numba.extending import intrinsic, overload

from geomlib.kernels import recording

__all__ = ["Kernel", "fetch", "jit", "jit_inline", "power_of_two"]

#: Everything that lets sums vectorise, but not ``nnan``/``ninf``: a NaN must stay a NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_njit: Any = njit  # whose type stubs do not know every option
_intrinsic: Any = intrinsic  # whose type is that of the function before decoration
_overload: Any = overload


class _NoAlias(Compiler):
    """Arrays passed to our kernels never overlap; telling LLVM so spares its run-time overlap checks."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        # A compilation makes a million objects; the cycle collector would walk them again and again.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(func)
        finally:
            if collecting:
                gc.enable()


@cache
def _sources(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of every source file that a kernel of a folder may have its helpers from."""
    files = sorted({*folder.glob("*.py"), *Path(__file__).parent.glob("*.py")})
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


class _Cache(FunctionCache):
    """Machine code on disk, as old as the files of its helpers; Numba's own looks at the file of the function only."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=_sources(Path(function.__code__.co_filename).parent),
        )


class Kernel:
    """A compiled loop; a recorder, where one is active, is told of every call.

    Args:
        dispatcher: the Numba function.
    """

    def __init__(self, dispatcher: Callable[..., Any]) -> None:
        self.dispatcher = dispatcher
        update_wrapper(self, dispatcher)

    def __call__(self, *args: Any) -> Any:
        """Run the loop."""
        result = self.dispatcher(*args)
        recorder = recording.active()
        if recorder is not None:
            recorder.kernel(self.dispatcher, args)
        return result


def jit(function: Callable[..., Any]) -> Kernel:
    """Compile on first call, cache on disk, release the GIL.

    A kernel reads and writes the arrays it is given and makes none (``_nrt=False``: no reference counts). Every new type
    of an argument costs a compilation: pass C-contiguous arrays, int64 indices, scalars of the features' type.
    """
    compiled = _njit(
        fastmath=_FAST, error_model="numpy", nogil=True, pipeline_class=_NoAlias,
        _nrt=False, no_cfunc_wrapper=True,
    )  # fmt: skip
    dispatcher = compiled(function)
    dispatcher._cache = _Cache(function)
    return Kernel(dispatcher)


def jit_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar helper that LLVM inlines into the kernels; only kernels can call it."""
    compiled = _njit(
        fastmath=_FAST, error_model="numpy", inline="never", pipeline_class=_NoAlias,
        _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True,
    )  # fmt: skip
    return compiled(function)


@_intrinsic
def fetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element that is read soon; nothing waits for it."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, at = signature.args
        view = context.make_array(kind)(context, builder, arguments[0])
        number = context.cast(builder, arguments[1], at, types.intp)
        place = cgutils.get_item_pointer(context, builder, kind, view, [number])
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0i8"
        )
        # To be read, and kept as near as there is room; of data.
        builder.call(prefetch, [builder.bitcast(place, byte), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, index), write


def power_of_two(k: Any) -> Any:
    """Return 2^k of a whole floating number, in its type; only compiled loops call it."""
    raise NotImplementedError("only compiled loops call this")


@_overload(power_of_two, inline="always")
def _power_of_two(k: Any) -> Any:
    if k == types.float32:

        def single(k: Any) -> Any:
            return np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)

        return single

    def double(k: Any) -> Any:
        return np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)

    return double
