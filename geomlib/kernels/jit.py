"""The one way Numba kernels are compiled here."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from numba import njit
from numba.core.compiler import Compiler

from geomlib.kernels import recording

__all__ = ["Kernel", "jit", "jit_inline"]

#: Everything that lets sums vectorise, but not ``nnan``/``ninf``: a NaN must stay a NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_njit: Any = njit  # whose type stubs do not know every option


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
        fastmath=_FAST, error_model="numpy", nogil=True, cache=True, pipeline_class=_NoAlias,
        _nrt=False, no_cfunc_wrapper=True,
    )  # fmt: skip
    return Kernel(compiled(function))


def jit_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar helper that LLVM inlines into the kernels; only kernels can call it."""
    compiled = _njit(
        fastmath=_FAST, error_model="numpy", inline="never", pipeline_class=_NoAlias,
        _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True,
    )  # fmt: skip
    return compiled(function)
