"""Straight-line arithmetic between the channels of a node and its edges: what a CUDA kernel computes, as data.

A :class:`Program` is a list of loads, multiply-adds and stores. It is printed as CUDA C++ by :mod:`.source` and executed on
a CPU, statement by statement, by :mod:`.interpret`: what is tested on a machine without a card is what runs on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "Array",
    "ChannelSum",
    "Fma",
    "Kernel",
    "Load",
    "Mul",
    "Operand",
    "Program",
    "Statement",
    "Store",
    "Writer",
]

#: The name of a value, of its negative (``"-name"``), or a constant.
Operand = str | float


class Array(NamedTuple):
    """A matrix in memory.

    Args:
        name: as argument of the kernel.
        row: which is read or written: ``node``, that of the block; ``other`` and ``edge``, given for every edge; ``one``, the
            only one.
        stride: numbers a row has.
        channels: each thread reads its own column; otherwise all read the same.
        partial: written once per part of the work, in the type of the accumulators, to be summed afterwards.
    """

    name: str
    row: str
    stride: int
    channels: bool = True
    partial: bool = False


class Load(NamedTuple):
    """``target = array[row, offset (+ channel)]``."""

    target: str
    array: str
    offset: int


class Mul(NamedTuple):
    """``target = a * b``."""

    target: str
    a: Operand
    b: Operand


class Fma(NamedTuple):
    """``target = a * b + c``."""

    target: str
    a: Operand
    b: Operand
    c: Operand


class Store(NamedTuple):
    """``array[row, offset + channel] = value``."""

    array: str
    offset: int
    value: Operand


class ChannelSum(NamedTuple):
    """Sums over each 32 channels: ``array[slot, row, offsets[j]] = sum of values[j]``; a slot for each 32 channels."""

    array: str
    offsets: tuple[int, ...]
    values: tuple[str, ...]


Statement = Load | Mul | Fma | Store | ChannelSum


@dataclass(frozen=True, eq=False)
class Program:
    """What the threads of one block do; thread c owns channel c.

    Args:
        channels: how many.
        slot: first slot of its sums over channels.
        accumulators: values that start at zero and live through all edges of a node.
        prologue: once per node, before the edges.
        body: once per edge.
        epilogue: once per node, after the edges.
    """

    channels: int
    slot: int
    accumulators: tuple[str, ...]
    prologue: tuple[Statement, ...]
    body: tuple[Statement, ...]
    epilogue: tuple[Statement, ...]

    @property
    def statements(self) -> int:
        """Number of statements."""
        return len(self.prologue) + len(self.body) + len(self.epilogue)


@dataclass(frozen=True, eq=False)
class Kernel:
    """Programs that share arrays and run side by side.

    Args:
        name: of the function.
        arrays: its arguments, in order.
        programs: what its blocks do.
        slots: how many 32-channel sums there are per row, all programs together.
    """

    name: str
    arrays: tuple[Array, ...]
    programs: tuple[Program, ...]
    slots: int

    @property
    def block(self) -> int:
        """Threads of a block: whole warps, at most 128."""
        widest = max(p.channels for p in self.programs)
        return min(128, -(-widest // 32) * 32)

    @property
    def units(self) -> int:
        """Blocks per node: programs, those of many channels more than once."""
        return sum(-(-p.channels // self.block) for p in self.programs)

    def columns(self, array: str) -> set[int]:
        """Return the columns of an array that the programs write."""
        found: set[int] = set()
        for program in self.programs:
            for s in (*program.body, *program.epilogue):
                if isinstance(s, Store) and s.array == array:
                    found.update(range(s.offset, s.offset + program.channels))
                elif isinstance(s, ChannelSum) and s.array == array:
                    found.update(s.offsets)
        return found


@dataclass
class Writer:
    """Collects the body of a program; a value that is asked for twice is computed once."""

    body: list[Statement] = field(default_factory=list)
    _known: dict[tuple[object, ...], str] = field(default_factory=dict)
    _count: int = 0

    def name(self) -> str:
        """Return a fresh name."""
        self._count += 1
        return f"v{self._count}"

    def load(self, array: str, offset: int) -> str:
        """Return the value of an array of the edge."""
        return self._once((array, offset), lambda t: [Load(t, array, offset)])

    def weighted(self, terms: tuple[tuple[str, float], ...]) -> str:
        """Return ``sum c * value`` over (value, c), negative where only the sign is new."""
        flip = terms[0][1] < 0
        key = tuple((v, -c if flip else c) for v, c in terms)

        def write(target: str) -> Iterator[Statement]:
            last: str | None = None
            for k, (value, c) in enumerate(key):
                t = target if k == len(key) - 1 else self.name()
                yield Mul(t, value, c) if last is None else Fma(t, value, c, last)
                last = t

        found = self._once(("sum", *key), write)
        return f"-{found}" if flip else found

    def products(self, pairs: tuple[tuple[Operand, Operand], ...]) -> str:
        """Return ``sum a * b``, computed once for the same pairs."""
        return self._once(("products", *pairs), lambda t: self._chain(t, pairs))

    def add_products(self, pairs: Sequence[tuple[Operand, Operand]]) -> str:
        """Return ``sum a * b``."""
        target = self.name()
        self.body += self._chain(target, tuple(pairs))
        return target

    def accumulate(self, target: str, a: Operand, b: Operand) -> None:
        """Add ``a * b`` to an accumulator."""
        self.body.append(Fma(target, a, b, target))

    def _chain(self, target: str, pairs: tuple[tuple[Operand, Operand], ...]) -> Iterator[Statement]:
        last: str | None = None
        for k, (a, b) in enumerate(pairs):
            t = target if k == len(pairs) - 1 else self.name()
            yield Mul(t, a, b) if last is None else Fma(t, a, b, last)
            last = t

    def _once(self, key: tuple[object, ...], write: Callable[[str], Iterable[Statement]]) -> str:
        if key not in self._known:
            target = self.name()
            self.body += write(target)
            self._known[key] = target
        return self._known[key]
