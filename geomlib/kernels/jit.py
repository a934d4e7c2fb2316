"""The one way Numba kernels are compiled here."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from numba import njit
from numba.core.compiler import Compiler

from geomlib.kernels import recording

__all__ = ["Kernel", "jit", "jit_inline"]

#: Everything that lets sums vectorise, but not ``nnan``/``ninf``: a NaN must stay a NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


class _NoAlias(Compiler):
    """Arrays passed to our kernels never overlap; telling LLVM so spares its run-time overlap checks."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


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
    """Compile on first call, cache on disk, release the GIL."""
    compiled = njit(fastmath=_FAST, error_model="numpy", nogil=True, cache=True, pipeline_class=_NoAlias)
    return Kernel(compiled(function))


def jit_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar helper that LLVM inlines into the kernels."""
    return njit(fastmath=_FAST, error_model="numpy", inline="never", cache=True)(function)
