"""Set partitions as restricted growth strings: lists, counts, joins, refinement, marked blocks.

A restricted growth string gives each leg the number of its block, blocks numbered by first leg.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from math import comb

from geomlib.errors import InvalidInput

__all__ = [
    "Row",
    "bell",
    "blocks_of",
    "even_partitions",
    "join",
    "marked_count",
    "marked_partitions",
    "partitions_up_to",
    "refines",
    "rgs_of",
    "set_partitions",
    "stirling",
]

Rgs = tuple[int, ...]
#: A row of a diagram cut at the waist: its restricted growth string, the blocks that cross, the blocks that are free.
Row = tuple[Rgs, tuple[int, ...], tuple[int, ...]]


def rgs_of(labels: Iterable[object]) -> Rgs:
    """Return the restricted growth string of any labelling.

    >>> rgs_of("banana")
    (0, 1, 2, 1, 2, 1)
    """
    seen: dict[object, int] = {}
    return tuple(seen.setdefault(label, len(seen)) for label in labels)


def blocks_of(rgs: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the blocks of a restricted growth string, sorted by first leg.

    >>> blocks_of((0, 1, 0))
    ((0, 2), (1,))
    """
    blocks: list[list[int]] = [[] for _ in range(max(rgs, default=-1) + 1)]
    for leg, block in enumerate(rgs):
        blocks[block].append(leg)
    return tuple(map(tuple, blocks))


@lru_cache(maxsize=64)
def set_partitions(m: int, most: int | None = None) -> tuple[Rgs, ...]:
    """Return the partitions of m legs, with ``most`` blocks at most, in lexicographic order.

    >>> set_partitions(3)
    ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, 2))
    """
    if m == 0:
        return ((),)
    limit = m if most is None else most
    return tuple(
        (*rgs, block)
        for rgs in set_partitions(m - 1, most)
        for block in range(min(max(rgs, default=-1) + 2, limit))
    )


@lru_cache(maxsize=4096)
def stirling(m: int, t: int) -> int:
    """Return the number of partitions of m legs into t blocks, the Stirling number of the second kind.

    >>> [stirling(4, t) for t in range(5)]
    [0, 1, 7, 6, 1]
    """
    return _stirling_row(m)[t] if 0 <= t <= m else 0


@lru_cache(maxsize=64)
def _stirling_row(m: int) -> tuple[int, ...]:
    row = [1]
    for size in range(1, m + 1):
        row = [0] + [row[t - 1] + (t * row[t] if t < size else 0) for t in range(1, size + 1)]
    return tuple(row)


def partitions_up_to(m: int, n: int | None) -> int:
    """Return the number of partitions of m legs into n blocks at most; ``None`` for no limit.

    >>> partitions_up_to(4, 3), partitions_up_to(4, None)
    (14, 15)
    """
    return sum(_stirling_row(m) if n is None else _stirling_row(m)[: n + 1])


def bell(m: int) -> int:
    """Return the number of partitions of m legs.

    >>> [bell(m) for m in range(7)]
    [1, 1, 2, 5, 15, 52, 203]
    """
    return partitions_up_to(m, None)


def even_partitions(m: int, n: int | None = None) -> int:
    """Return the number of partitions of m legs into n blocks at most, all of even size.

    >>> [even_partitions(m) for m in (0, 1, 2, 4, 6)]
    [1, 0, 1, 4, 31]
    """
    return sum(_even_row(m)[: None if n is None else n + 1])


@lru_cache(maxsize=64)
def _even_row(m: int) -> tuple[int, ...]:
    """Return the number of partitions into t even blocks, by t: remove the block of the first leg."""
    rows: list[list[int]] = [[1] + [0] * m]
    for size in range(1, m + 1):
        row = [0] * (m + 1)
        for block in range(2, size + 1, 2):
            ways = comb(size - 1, block - 1)
            for t in range(1, m + 1):
                row[t] += ways * rows[size - block][t - 1]
        rows.append(row)
    return tuple(rows[m])


def refines(fine: Sequence[int], coarse: Sequence[int]) -> bool:
    """Return whether every block of the first partition lies in one block of the second.

    >>> refines((0, 1, 2), (0, 1, 0)), refines((0, 0, 1), (0, 1, 0))
    (True, False)
    """
    goes: dict[int, int] = {}
    return len(fine) == len(coarse) and all(
        goes.setdefault(a, b) == b for a, b in zip(fine, coarse, strict=True)
    )


def join(a: Sequence[int], b: Sequence[int]) -> Rgs:
    """Return the finest partition coarser than both.

    Raises:
        InvalidInput: partitions of different numbers of legs.

    >>> join((0, 0, 1, 2), (0, 1, 1, 2))
    (0, 0, 0, 1)
    """
    if len(a) != len(b):
        raise InvalidInput(f"join: partitions of {len(a)} and {len(b)} legs; expected as many in both.")
    root = list(range(max(a, default=-1) + 1))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    first: dict[int, int] = {}
    for x, y in zip(a, b, strict=True):
        root[find(x)] = find(first.setdefault(y, x))
    return rgs_of(find(x) for x in a)


@lru_cache(maxsize=256)
def marked_partitions(m: int, c: int, most: int | None = None) -> tuple[Row, ...]:
    """Return the partitions of a row of m legs with c marked blocks, those that will cross to the other row.

    Args:
        m: number of legs.
        c: number of marked blocks.
        most: largest number of blocks, marked or not.

    >>> marked_partitions(2, 1)
    (((0, 0), (0,), ()), ((0, 1), (0,), ()), ((0, 1), (1,), ()))
    """
    return tuple(
        (rgs, marks, ())
        for rgs in set_partitions(m, most)
        for marks in combinations(range(max(rgs, default=-1) + 1), c)
    )


def marked_count(m: int, c: int) -> int:
    """Return the number of partitions of a row of m legs with c marked blocks.

    >>> marked_count(3, 1) == len(marked_partitions(3, 1)) == 10
    True
    """
    return sum(stirling(m, j) * comb(j, c) for j in range(c, m + 1))
