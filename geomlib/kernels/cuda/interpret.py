"""Run a program on a CPU, statement by statement, vectorised over channels and nodes.

Sums run in the order of the card: edge after edge within each part of a node's edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from geomlib.kernels.cuda.program import (
    Array,
    ChannelSum,
    Fma,
    Kernel,
    Load,
    Mul,
    Operand,
    Program,
    Statement,
    Store,
)

__all__ = ["Lists", "interpret", "ordered_sum"]


class Lists(NamedTuple):
    """The edges of node n are ``start[n]:start[n+1]``; edge q reads rows ``other[q]`` and ``edge[q]``."""

    start: Tensor
    other: Tensor
    edge: Tensor


def interpret(kernel: Kernel, lists: Lists, arrays: Mapping[str, Tensor], parts: int) -> None:
    """Do what the kernel does; node arrays that it writes are (parts, nodes, columns), others as on the card."""
    known = {a.name: a for a in kernel.arrays}
    for program in kernel.programs:
        _Run(program, known, lists, arrays, parts).run()


def ordered_sum(partial: Tensor, out: Tensor) -> None:
    """Add up ``partial`` (parts, ...) one after the other."""
    total = partial[0].clone()
    for k in range(1, partial.shape[0]):
        total += partial[k]
    out.copy_(total)


class _Run:
    def __init__(
        self, program: Program, known: Mapping[str, Array], lists: Lists, arrays: Mapping[str, Tensor], parts: int
    ) -> None:  # fmt: skip
        self.program, self.known, self.arrays, self.lists = program, known, arrays, lists
        nodes = lists.start.numel() - 1
        count = lists.start[1:] - lists.start[:-1]
        part = torch.arange(parts)[:, None]
        self.node = torch.arange(nodes).expand(parts, nodes).flatten()
        self.item = torch.arange(parts * nodes)
        self.low = (lists.start[:-1] + count * part // parts).flatten()
        self.high = (lists.start[:-1] + count * (part + 1) // parts).flatten()
        real = next((a for a in arrays.values() if a.is_floating_point()), torch.empty(0))
        self.dtype = torch.float64 if real.dtype == torch.float64 else torch.float32
        self.values: dict[str, Tensor] = {}

    def run(self) -> None:
        """Prologue, every edge, epilogue."""
        for s in self.program.prologue:
            self._do(s, {"node": self.node})
        zero = torch.zeros(len(self.node), self.program.channels, dtype=self.dtype)
        kept = {name: zero.clone() for name in self.program.accumulators}
        fixed = dict(self.values)
        longest = int((self.high - self.low).max()) if len(self.node) else 0
        for step in range(longest):
            active = (self.low + step < self.high).nonzero()[:, 0]
            q = (self.low + step)[active]
            rows = {"node": self.node[active], "other": self.lists.other[q], "edge": self.lists.edge[q]}
            rows["one"] = torch.zeros_like(q)
            self.values = {k: v[active] for k, v in (fixed | kept).items()}
            for s in self.program.body:
                self._do(s, rows)
            for name, value in kept.items():
                value[active] = self.values[name]
        self.values = fixed | kept
        for s in self.program.epilogue:
            self._do(s, {"node": self.item})

    def _get(self, operand: Operand) -> Tensor | float:
        if not isinstance(operand, str):
            return torch.tensor(operand, dtype=self.dtype).item()
        return -self.values[operand[1:]] if operand[0] == "-" else self.values[operand]

    def _do(self, s: Statement, rows: Mapping[str, Tensor]) -> None:
        if isinstance(s, Mul):
            self.values[s.target] = torch.as_tensor(self._get(s.a) * self._get(s.b))
        elif isinstance(s, Fma):
            self.values[s.target] = torch.as_tensor(self._get(s.a) * self._get(s.b) + self._get(s.c))
        elif isinstance(s, Load):
            array = self.known[s.array]
            width = self.program.channels if array.channels else 1
            data = self.arrays[s.array].reshape(-1, array.stride)
            self.values[s.target] = data[rows[array.row], s.offset : s.offset + width].to(self.dtype)
        elif isinstance(s, Store):
            array, value = self.known[s.array], self._get(s.value)
            to = self.arrays[s.array].view(-1, array.stride)
            to[rows[array.row], s.offset : s.offset + self.program.channels] = torch.as_tensor(value).to(
                to.dtype
            )
        elif isinstance(s, ChannelSum):
            self._sum(s, rows[self.known[s.array].row])

    def _sum(self, s: ChannelSum, rows: Tensor) -> None:
        partial = self.arrays[s.array]  # (slots, rows, columns)
        for offset, name in zip(s.offsets, s.values, strict=True):
            for k, piece in enumerate(self.values[name].split(32, dim=1)):
                partial[self.program.slot + k, rows, offset] = piece.sum(1)
