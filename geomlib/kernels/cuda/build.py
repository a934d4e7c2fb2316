"""From a kernel to machine code that spills nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from geomlib.kernels.cuda.compiler import Binary, compile_source
from geomlib.kernels.cuda.program import Kernel
from geomlib.kernels.cuda.source import print_kernel

__all__ = ["build"]

#: Registers of a multiprocessor, the same from compute capability 8.0 on.
_REGISTERS = 65536


def build(kernel: Kernel, dtype: torch.dtype, arch: str, *, keep: bool = True) -> Binary:
    """Compile a kernel.

    The assembler aims at a number of resident blocks and may spill a few bytes to reach it. Where it does, fewer blocks are
    asked for until nothing spills; the code that spills least is taken.

    Args:
        kernel: what to compile.
        dtype: type of its arrays.
        arch: such as ``"sm_90"``.
        keep: read and write the cache.
    """
    best = compile_source(print_kernel(kernel, dtype), arch, keep=keep)
    if not _spilled(best, kernel):
        return best
    for resident in _fewer(kernel, best.usage[kernel.name].registers):
        found = compile_source(print_kernel(kernel, dtype, resident), arch, keep=keep)
        if _spilled(found, kernel) < _spilled(best, kernel):
            best = found
        if not _spilled(best, kernel):
            break
    return best


def _spilled(binary: Binary, kernel: Kernel) -> int:
    used = binary.usage[kernel.name]
    return used.spill_stores + used.spill_loads + used.stack


def _fewer(kernel: Kernel, registers: int) -> Iterator[int]:
    """Yield ever fewer resident blocks, down to one."""
    resident = min(32, _REGISTERS // (kernel.block * registers))
    while resident > 1:
        resident = max(1, min(resident - 1, resident * 3 // 4))
        yield resident
