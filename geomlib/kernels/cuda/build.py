"""From a kernel to machine code that spills nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from geomlib.kernels.cuda.compiler import Binary, compile_source
from geomlib.kernels.cuda.source import print_kernel

__all__ = ["Named", "Text", "build"]

#: Prints a kernel for a type and a number of resident blocks.
Text = Callable[[Any, torch.dtype, "int | None"], str]


class Named(Protocol):
    """A kernel: its name and the threads of a block."""

    @property
    def name(self) -> str:
        """Of the function."""
        ...

    @property
    def block(self) -> int:
        """Threads of a block."""
        ...


#: Registers of a multiprocessor, the same from compute capability 8.0 on.
_REGISTERS = 65536


def build(
    kernel: Named, dtype: torch.dtype, arch: str, *, keep: bool = True, text: Text = print_kernel
) -> Binary:
    """Compile a kernel.

    The assembler aims at a number of resident blocks and may spill a few bytes to reach it. Where it does, fewer blocks are
    asked for until nothing spills; the code that spills least is taken.

    Args:
        kernel: what to compile.
        dtype: type of its arrays.
        arch: such as ``"sm_90"``.
        keep: read and write the cache.
        text: prints it.
    """
    best = compile_source(text(kernel, dtype, None), arch, keep=keep)
    if not _spilled(best, kernel):
        return best
    for resident in _fewer(kernel, best.usage[kernel.name].registers):
        found = compile_source(text(kernel, dtype, resident), arch, keep=keep)
        if _spilled(found, kernel) < _spilled(best, kernel):
            best = found
        if not _spilled(best, kernel):
            break
    return best


def _spilled(binary: Binary, kernel: Named) -> int:
    used = binary.usage[kernel.name]
    return used.spill_stores + used.spill_loads + used.stack


def _fewer(kernel: Named, registers: int) -> Iterator[int]:
    """Yield ever fewer resident blocks, down to one."""
    resident = min(32, _REGISTERS // (kernel.block * registers))
    while resident > 1:
        resident = max(1, min(resident - 1, resident * 3 // 4))
        yield resident
