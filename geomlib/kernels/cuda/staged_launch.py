"""Start staged kernels on torch's current stream; nothing here waits for the card."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geomlib.kernels.cuda.launcher import Alone, start
from geomlib.kernels.cuda.staged import StagedKernel
from geomlib.kernels.cuda.staged_run import Tiling
from geomlib.kernels.cuda.staged_source import (
    PARTS,
    SUM_COLUMNS,
    SUM_NAME,
    print_partial_sum,
    print_staged,
)

__all__ = ["launch_partial_sum", "launch_staged", "prepared", "staged_arguments"]

_SUM = Alone(SUM_NAME, SUM_COLUMNS * PARTS)


def prepared(kernel: StagedKernel, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays as the kernel wants them: constants without gaps, all others as they are."""
    found = dict(arrays)
    for part in kernel.constants:
        found[part.name] = found[part.name].contiguous()
    return found


def _strides(t: Tensor) -> tuple[int, int, int]:
    """Return the strides of rows, channels and components; those of an axis of one say nothing."""
    rows, channels, size = t.shape
    row, channel, component = t.stride()
    component = 1 if size == 1 else component
    channel = row if channels == 1 else channel
    return channels * channel if rows == 1 else row, channel, component


def staged_arguments(kernel: StagedKernel, arrays: Mapping[str, Tensor], how: Tiling) -> tuple[int, ...]:
    """Return what the printed function takes: addresses, strides and sizes, all of 64 bits, as Python integers."""
    rows, channels = arrays[kernel.inputs[0].name].shape[:2]
    numbers: list[int] = []
    for part in kernel.inputs:
        numbers += [arrays[part.name].data_ptr(), *_strides(arrays[part.name])]
    numbers += [arrays[part.name].data_ptr() for part in kernel.constants]
    for part in kernel.outputs:
        numbers += [arrays[part.name].data_ptr(), *_strides(arrays[part.name])]
    if kernel.sums:
        numbers.append(arrays["partial"].data_ptr())
    return (*numbers, rows, channels, how.width, how.per, how.tiles)


def launch_staged(
    kernel: StagedKernel, arrays: Mapping[str, Tensor], how: Tiling, dtype: torch.dtype
) -> None:
    """Start a kernel.

    Args:
        kernel: what to compute.
        arrays: inputs, constants, outputs and, with sums, ``"partial"``, on one device.
        how: rows and channels are shared out.
        dtype: type of the arrays.
    """
    used = prepared(kernel, arrays)
    where, grid = used[kernel.inputs[0].name], (how.blocks, how.chunks, 1)
    start(kernel, dtype, where, grid, kernel.block, staged_arguments(kernel, used, how), print_staged)


def launch_partial_sum(partial: Tensor, out: Tensor) -> None:
    """Add up ``partial`` (blocks, ...) into ``out``, always in the same order."""
    count = out.numel()
    numbers = partial.data_ptr(), out.data_ptr(), partial.shape[0], count
    grid = -(-count // SUM_COLUMNS), 1, 1
    start(_SUM, out.dtype, out, grid, _SUM.block, numbers, _sum_text)


def _sum_text(kernel: object, dtype: torch.dtype, resident: int | None = None) -> str:
    return print_partial_sum(dtype)
