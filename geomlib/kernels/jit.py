"""The one way Numba kernels are compiled here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.compiler import Compiler

__all__ = ["jit", "jit_inline"]

#: Everything that lets sums vectorise, but not ``nnan``/``ninf``: a NaN must stay a NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


class _NoAlias(Compiler):
    """Arrays passed to our kernels never overlap; telling LLVM so spares its run-time overlap checks."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cache on disk, release the GIL."""
    return njit(fastmath=_FAST, error_model="numpy", nogil=True, cache=True, pipeline_class=_NoAlias)(
        function
    )


def jit_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar helper that LLVM inlines into the kernels."""
    return njit(fastmath=_FAST, error_model="numpy", inline="never", cache=True)(function)
