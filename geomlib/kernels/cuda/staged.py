"""Arithmetic of one item at a time: what a kernel computes for every row and channel of multivectors, as data.

A block takes a tile of rows with all their channels, or with as many as it has threads. Components of an item lie next to
one another in memory and are brought to shared memory by all threads together; then every thread works on one item. What is
summed over rows, such as gradients of weights, is added up by the thread of a channel in a fixed order, and left as one
partial sum per block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from geomlib.kernels.cuda.program import Fma, Load, Mul, Operand, Store

__all__ = [
    "BYTES",
    "LANES",
    "Accumulate",
    "Call",
    "Flush",
    "Part",
    "StagedKernel",
    "StagedStatement",
    "StagedWriter",
    "lanes_of",
    "pitch",
]

#: Shared memory that every block may take without asking for more.
BYTES = 48 * 1024
#: Items of a tile. Blocks have as many threads, but at least a warp.
LANES = (128, 64, 32, 16)


class Part(NamedTuple):
    """An array of the kernel: its name and how many components an item, or a channel, has."""

    name: str
    size: int


class Call(NamedTuple):
    """``target = function(*args)``, one of ``staged_source.FUNCTIONS``."""

    target: str
    function: str
    args: tuple[Operand, ...]


class Accumulate(NamedTuple):
    """``sum[place] += a * b``, over all rows."""

    place: int
    a: Operand
    b: Operand


class Flush(NamedTuple):
    """All items bring what they stored of components ``first:first+size`` of an output to memory."""

    array: str
    first: int
    size: int


StagedStatement = Load | Mul | Fma | Store | Call | Accumulate | Flush


def pitch(size: int) -> int:
    """Return the distance of items in shared memory: odd, so that the threads of a warp meet different banks."""
    return size | 1


@dataclass(frozen=True, eq=False)
class StagedKernel:
    """What every item goes through.

    Args:
        name: of the function.
        inputs: arrays (rows, channels, size) with strides.
        constants: arrays (channels, size).
        outputs: arrays (rows, channels, size) with strides.
        sums: how many sums over rows a channel has.
        prologue: loads of constants that stay in registers.
        body: for every item.
        constants_shared: constants are read from shared memory.
        sums_shared: sums lie in shared memory.
        lanes: items of a tile; where they are fewer than threads, several threads do the same.
    """

    name: str
    inputs: tuple[Part, ...]
    constants: tuple[Part, ...]
    outputs: tuple[Part, ...]
    sums: int
    prologue: tuple[Load, ...]
    body: tuple[StagedStatement, ...]
    constants_shared: bool
    sums_shared: bool
    lanes: int

    @property
    def block(self) -> int:
        """Threads of a block."""
        return max(32, self.lanes)

    @property
    def outlet(self) -> int:
        """Most components that are flushed at once."""
        return max((s.size for s in self.body if isinstance(s, Flush)), default=0)

    @property
    def reused(self) -> bool:
        """Whether outputs may lie where the inputs were: nothing is read after the first store."""
        stored = False
        for s in self.body:
            stored = stored or isinstance(s, Store)
            if stored and isinstance(s, Load) and any(s.array == p.name for p in self.inputs):
                return False
        return True

    @property
    def numbers(self) -> int:
        """Numbers of shared memory of a block."""
        return shared_numbers(self, self.lanes)


@dataclass(frozen=True)
class Places:
    """Where things begin in shared memory, in numbers."""

    inputs: dict[str, int]
    outlet: int
    constants: dict[str, int]
    sums: int
    total: int


def places(kernel: StagedKernel, lanes: int) -> Places:
    """Return the layout of shared memory."""
    free, inputs, constants = 0, dict[str, int](), dict[str, int]()
    for part in kernel.inputs:
        inputs[part.name] = free
        free += lanes * pitch(part.size)
    outlet, room = 0, lanes * pitch(kernel.outlet) if kernel.outlet else 0
    if not kernel.reused:
        outlet, free = free, free + room
    free = max(free, room)
    if kernel.constants_shared:
        for part in kernel.constants:
            constants[part.name] = free
            free += lanes * part.size
    sums = free if kernel.sums_shared else 0
    free += lanes * kernel.sums if kernel.sums_shared else 0
    return Places(inputs, outlet, constants, sums, max(free, lanes if kernel.sums else 1))


def shared_numbers(kernel: StagedKernel, lanes: int) -> int:
    """Return how many numbers of shared memory a block of ``lanes`` threads takes."""
    return places(kernel, lanes).total


def lanes_of(kernel: StagedKernel, size: int) -> int | None:
    """Return the largest tile whose shared memory suffices; None if there is none.

    Args:
        kernel: with any number of lanes.
        size: bytes of a number.
    """
    allowed = [lanes for lanes in LANES if lanes >= 32 or not kernel.sums]
    return next((lanes for lanes in allowed if shared_numbers(kernel, lanes) * size <= BYTES), None)


@dataclass
class StagedWriter:
    """Collects the body of a kernel; what is loaded is kept until :meth:`forget`.

    Args:
        constants_shared: constants are loaded where they are needed, not before the first item.
    """

    constants_shared: bool
    constants: dict[str, int] = field(default_factory=dict)
    prologue: list[Load] = field(default_factory=list)
    body: list[StagedStatement] = field(default_factory=list)
    _known: dict[tuple[str, int], str] = field(default_factory=dict)
    _count: int = 0

    def name(self) -> str:
        """Return a fresh name."""
        self._count += 1
        return f"v{self._count}"

    def load(self, array: str, offset: int) -> str:
        """Return a component of the item."""
        if (array, offset) not in self._known:
            target = self._known[array, offset] = self.name()
            self.body.append(Load(target, array, offset))
        return self._known[array, offset]

    def constant(self, array: str, offset: int) -> str:
        """Return a number of the channel."""
        if self.constants_shared:
            return self.load(array, offset)
        target = f"{array}_{offset}"
        if (array, offset) not in self._known:
            self._known[array, offset] = target
            if not any(s.target == target for s in self.prologue):
                self.prologue.append(Load(target, array, offset))
        return target

    def forget(self, *kept: str) -> None:
        """Load again what is needed from here on, but for the arrays ``kept``."""
        self._known = {k: v for k, v in self._known.items() if k[0] in kept}

    def mul(self, a: Operand, b: Operand) -> str:
        """Return ``a * b``."""
        target = self.name()
        self.body.append(Mul(target, a, b))
        return target

    def fma(self, a: Operand, b: Operand, c: Operand | None) -> str:
        """Return ``a * b + c``; None is zero."""
        if c is None:
            return self.mul(a, b)
        target = self.name()
        self.body.append(Fma(target, a, b, c))
        return target

    def call(self, function: str, *args: Operand) -> str:
        """Return ``function(*args)``."""
        target = self.name()
        self.body.append(Call(target, function, args))
        return target

    def accumulate(self, place: int, a: Operand, b: Operand) -> None:
        """Add ``a * b`` to a sum over rows."""
        self.body.append(Accumulate(place, a, b))

    def write(self, array: str, values: dict[int, Operand], first: int, size: int) -> None:
        """Store components ``first:first+size`` of an output, zero where there is no value, and flush them."""
        self.body += [Store(array, first + k, values.get(first + k, 0.0)) for k in range(size)]
        self.body.append(Flush(array, first, size))
