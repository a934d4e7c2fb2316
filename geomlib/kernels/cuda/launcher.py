"""Load compiled kernels and start them on torch's current stream.

Nothing here waits for the card, so a call can be captured in a CUDA graph once its kernels are loaded (one warm-up call).
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomlib.kernels.cuda.build import Named, Text, build
from geomlib.kernels.cuda.compiler import compile_source, missing_compiler
from geomlib.kernels.cuda.interpret import Lists
from geomlib.kernels.cuda.program import Kernel
from geomlib.kernels.cuda.source import SUM_BLOCK, WIDE, print_ordered_sum

__all__ = ["Alone", "arguments", "launch", "launch_ordered_sum", "missing_device", "prepared", "start"]


@functools.cache
def missing_device() -> str | None:
    """Return why kernels cannot run on a card here, or None."""
    missing = missing_compiler()
    if missing is None and not torch.cuda.is_available():
        found = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
        return f"{found} (kernels can be compiled here, but not run)"
    return missing


@dataclass(frozen=True)
class Alone:
    """A function whose text depends on the type only."""

    name: str
    block: int


class _Stream:
    """Hands torch's stream to cuda-core by its protocol."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


@functools.lru_cache(maxsize=1024)
def _loaded(
    kernel: Named | None, dtype: torch.dtype, device: int, text: Text | None = None
) -> tuple[Any, Any]:
    """Compile for the architecture of a device, load, and return the code and its function; None is the ordered sum."""
    major, minor = torch.cuda.get_device_capability(device)
    arch = f"sm_{major}{minor}"
    if kernel is None:
        name, binary = "ordered_sum", compile_source(print_ordered_sum(dtype), arch)
    elif text is None:
        name, binary = kernel.name, build(kernel, dtype, arch)
    elif isinstance(kernel, Alone):
        name, binary = kernel.name, compile_source(text(kernel, dtype, None), arch)
    else:
        name, binary = kernel.name, build(kernel, dtype, arch, text=text)
    code = importlib.import_module("cuda.core").ObjectCode.from_cubin(binary.code)
    return code, code.get_kernel(name)


_thread = threading.local()


def _enter(device: int) -> None:
    """Make torch's context current in this thread; autograd runs backward passes in threads of its own."""
    known = _thread.__dict__.setdefault("devices", set())
    if device not in known:
        importlib.import_module("cuda.core").Device(device).set_current()
        known.add(device)


def prepared(kernel: Kernel, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays of a kernel as it wants them: rows without gaps, and where all threads read the same, aligned."""
    found = {a.name: arrays[a.name].contiguous() for a in kernel.arrays}
    for a in kernel.arrays:
        if not a.channels and not a.partial and found[a.name].data_ptr() % WIDE:
            found[a.name] = found[a.name].clone()
    return found


def arguments(kernel: Kernel, lists: Lists, arrays: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return what the printed function takes: addresses and one number, all of 64 bits, as Python integers."""
    rows = max((arrays[a.name].shape[1] for a in kernel.arrays if not a.channels and a.partial), default=0)
    return (*(t.data_ptr() for t in lists), rows, *(arrays[a.name].data_ptr() for a in kernel.arrays))


def launch(
    kernel: Kernel, lists: Lists, arrays: Mapping[str, Tensor], parts: int, dtype: torch.dtype
) -> None:
    """Start a kernel: a block for every node, unit and part.

    Args:
        kernel: what to compute.
        lists: the edges by node, int64.
        arrays: on one device.
        parts: over how many blocks the edges of a node are split.
        dtype: type of the arrays.
    """
    nodes, used = lists.start.numel() - 1, prepared(kernel, arrays)
    grid = nodes, kernel.units, parts
    start(kernel, dtype, lists.start, grid, kernel.block, arguments(kernel, lists, used))


def launch_ordered_sum(partial: Tensor, out: Tensor) -> None:
    """Add up ``partial`` (parts, ...) into ``out``, part after part."""
    count = out.numel()
    blocks = min(-(-count // SUM_BLOCK), 1 << 20)
    numbers = partial.data_ptr(), out.data_ptr(), partial.shape[0], count
    start(None, out.dtype, out, (blocks, 1, 1), SUM_BLOCK, numbers)


def start(
    kernel: Named | None,
    dtype: torch.dtype,
    where: Tensor,
    grid: tuple[int, int, int],
    block: int,
    numbers: tuple[int, ...],
    text: Text | None = None,
) -> None:
    """Start a function on the current stream of the device of ``where``, compiled when it is asked for first.

    Args:
        kernel: a kernel, or a function that stands alone; None for the ordered sum.
        dtype: of its arrays.
        where: a tensor of the device.
        grid: of blocks.
        block: threads of each.
        numbers: 64-bit arguments.
        text: prints it, if it is not a kernel of channels and edges.
    """
    core, device = importlib.import_module("cuda.core"), where.device.index
    with torch.cuda.device(device):
        _enter(device)
        _, function = _loaded(kernel, dtype, device, text)
        stream = _Stream(torch.cuda.current_stream(device).cuda_stream)
        core.launch(stream, core.LaunchConfig(grid=grid, block=block), function, *numbers)
