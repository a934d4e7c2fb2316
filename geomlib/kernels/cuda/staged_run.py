"""Run a staged kernel on a CPU, statement by statement, vectorised over items; sums over rows in the order of the card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from geomlib.kernels.cuda.program import Fma, Load, Mul, Operand, Store
from geomlib.kernels.cuda.staged import Accumulate, Call, StagedKernel

__all__ = ["Tiling", "interpret_staged", "partial_sum", "tiling"]

#: What ``staged_source.FUNCTIONS`` prints.
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid,
    "root": lambda q: torch.hypot(q, torch.full_like(q, 1e-8)).sqrt(),
    "reciprocal": torch.reciprocal,
    "ratio": lambda a, b: a / b,
    "clamp": lambda v, limit: torch.minimum(torch.maximum(v, -limit), limit),
    "kept": lambda value, v, limit: torch.where((v >= -limit) & (v <= limit), value, 0.0),
    "square": torch.square,
    "normal": lambda v: 0.5 * torch.erfc(v * -math.sqrt(0.5)),
    "bell": lambda v: torch.exp(-0.5 * v * v) * (1 / math.sqrt(2 * math.pi)),
}

#: Fewer blocks than this leave a card idle, more make the second stage longer.
BLOCKS = 528
#: Tiles of a block below which its sums are not worth their place in memory.
LEAST = 4


class Tiling(NamedTuple):
    """How rows and channels are shared out.

    Args:
        width: channels of a block.
        chunks: blocks side by side for all channels.
        per: rows of a tile.
        tiles: of all rows.
        blocks: over which tiles are dealt out in turn.
    """

    width: int
    chunks: int
    per: int
    tiles: int
    blocks: int


def tiling(kernel: StagedKernel, rows: int, channels: int) -> Tiling:
    """Share out rows and channels, from sizes alone: asking the card would make it wait."""
    chunks = -(-channels // kernel.lanes)
    width = -(-channels // chunks)
    per = max(1, kernel.lanes // width)
    tiles = -(-rows // per)
    blocks = min(tiles, max(1, min(8 * BLOCKS // chunks, 1 << 30)))
    if kernel.sums:
        blocks = max(1, min(tiles // LEAST, -(-BLOCKS // chunks)))
    return Tiling(width, chunks, per, tiles, blocks)


def interpret_staged(kernel: StagedKernel, arrays: Mapping[str, Tensor], how: Tiling) -> None:
    """Do what the kernel does: write the outputs (rows, channels, size), and ``partial`` (blocks, channels, sums)."""
    some = arrays[kernel.inputs[0].name]
    run = _Run(kernel, arrays, torch.float64 if some.dtype == torch.float64 else torch.float32)
    if not kernel.sums:
        run.rows(0, some.shape[0])
        return
    partial = arrays["partial"]
    sums = torch.zeros(how.blocks, kernel.sums, how.per, some.shape[1], dtype=run.dtype)
    for tile in range(how.tiles):
        first = tile * how.per
        run.rows(first, min(some.shape[0], first + how.per), sums[tile % how.blocks])
    total = sums[:, :, 0].clone()
    for r in range(1, how.per):
        total += sums[:, :, r]
    partial.copy_(total.transpose(1, 2))


class _Run:
    def __init__(self, kernel: StagedKernel, arrays: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.kernel, self.arrays, self.dtype = kernel, arrays, dtype
        self.inputs = {p.name for p in kernel.inputs}
        self.values: dict[str, Tensor] = {}

    def rows(self, first: int, last: int, sums: Tensor | None = None) -> None:
        """Run all statements for some rows."""
        for s in (*self.kernel.prologue, *self.kernel.body):
            if isinstance(s, Load):
                array = self.arrays[s.array]
                part = array[first:last, :, s.offset] if s.array in self.inputs else array[:, s.offset]
                self.values[s.target] = part.to(self.dtype)
            elif isinstance(s, Mul):
                self.values[s.target] = self._get(s.a) * self._get(s.b)
            elif isinstance(s, Fma):
                self.values[s.target] = self._get(s.a) * self._get(s.b) + self._get(s.c)
            elif isinstance(s, Call):
                self.values[s.target] = _FUNCTIONS[s.function](*(self._get(a) for a in s.args))
            elif isinstance(s, Accumulate):
                if sums is not None:
                    sums[s.place, : last - first] += self._get(s.a) * self._get(s.b)
            elif isinstance(s, Store):
                to = self.arrays[s.array]
                to[first:last, :, s.offset] = self._get(s.value).to(to.dtype)

    def _get(self, operand: Operand) -> Tensor:
        if not isinstance(operand, str):
            return torch.tensor(operand, dtype=self.dtype)
        return -self.values[operand[1:]] if operand[0] == "-" else self.values[operand]


def partial_sum(partial: Tensor, out: Tensor, parts: int) -> None:
    """Add up ``partial`` (blocks, ...) as the second stage does: ``parts`` threads take turns, the first adds up theirs."""
    total = [torch.zeros_like(partial[0]) for _ in range(parts)]
    for k in range(partial.shape[0]):
        total[k % parts] += partial[k]
    for t in total[1:]:
        total[0] += t
    out.copy_(total[0])
