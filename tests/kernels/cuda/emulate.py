"""Compile a generated kernel with the machine's C++ compiler and run it with the arguments a card would get."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from geomlib.kernels.cuda import launcher, staged_launch
from geomlib.kernels.cuda.source import SUM_BLOCK, print_kernel, print_ordered_sum
from geomlib.kernels.cuda.staged_source import (
    PARTS,
    SUM_COLUMNS,
    SUM_NAME,
    print_partial_sum,
    print_staged,
)

COMPILER = shutil.which("g++") or shutil.which("c++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a card with")


class Emulator:
    """Stands in for the card in ``tensor_product.cuda``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launches: list[tuple[str, tuple[int, int, int]]] = []

    def function(self, source: str, name: str):
        """Compile once, and return what runs all blocks."""
        library = self.folder / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.so"
        if not library.exists():
            header = Path(__file__).with_name("emulator.h")
            text = f'#include "{header}"\n{source}\nEMULATE({name})\n'
            code = library.with_suffix(".cpp")
            code.write_text(text)
            command = [
                str(COMPILER),
                "-std=c++17",
                "-O0",
                "-w",
                "-shared",
                "-fPIC",
                "-o",
                str(library),
                str(code),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        run = ctypes.CDLL(str(library)).run
        run.restype = ctypes.c_longlong
        return run

    def start(self, source, name, grid, block, numbers) -> None:
        """Run a kernel with 64-bit arguments."""
        self.launches.append((name, grid))
        arguments = (ctypes.c_longlong * len(numbers))(*numbers)
        wrong = self.function(source, name)(
            arguments, ctypes.c_longlong(len(numbers)), (ctypes.c_uint * 3)(*grid), block
        )
        assert wrong == 0, f"{name} takes {wrong} arguments, {len(numbers)} were given"

    def run(self, kernel, lists, arrays, parts, dtype) -> None:
        """Take the place of ``cuda._run``."""
        used = launcher.prepared(kernel, arrays)
        grid = lists.start.numel() - 1, kernel.units, parts
        self.start(
            print_kernel(kernel, dtype),
            kernel.name,
            grid,
            kernel.block,
            launcher.arguments(kernel, lists, used),
        )

    def run_staged(self, kernel, arrays, how, dtype) -> None:
        """Take the place of ``staged_launch.launch_staged``."""
        used = staged_launch.prepared(kernel, arrays)
        numbers = staged_launch.staged_arguments(kernel, used, how)
        self.start(
            print_staged(kernel, dtype), kernel.name, (how.blocks, how.chunks, 1), kernel.block, numbers
        )

    def partial_sum(self, partial, out) -> None:
        """Take the place of ``staged_launch.launch_partial_sum``."""
        numbers = partial.data_ptr(), out.data_ptr(), partial.shape[0], out.numel()
        grid = -(-out.numel() // SUM_COLUMNS), 1, 1
        self.start(print_partial_sum(out.dtype), SUM_NAME, grid, SUM_COLUMNS * PARTS, numbers)

    def ordered_sum(self, partial, out) -> None:
        """Take the place of ``cuda.ordered_sum``."""
        numbers = partial.data_ptr(), out.data_ptr(), partial.shape[0], out.numel()
        self.start(print_ordered_sum(out.dtype), "ordered_sum", (3, 1, 1), SUM_BLOCK, numbers)
