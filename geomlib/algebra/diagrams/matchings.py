"""Perfect matchings and involutions of legs: lists, counts, crossings, chains that cross, increasing subsequences."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

from geomlib.algebra.diagrams.partitions import Row

__all__ = [
    "crossing_chain",
    "crossings",
    "double_factorial",
    "involution",
    "longest_increasing",
    "paired_rows",
    "perfect_matchings",
]

Pair = tuple[int, int]


def double_factorial(m: int) -> int:
    """Return the number (m - 1)!! of perfect matchings of m legs; 0 for odd m.

    >>> [double_factorial(m) for m in (0, 2, 3, 4, 6, 8)]
    [1, 1, 0, 3, 15, 105]
    """
    if m % 2:
        return 0
    product = 1
    for factor in range(1, m, 2):
        product *= factor
    return product


@lru_cache(maxsize=64)
def perfect_matchings(m: int) -> tuple[tuple[Pair, ...], ...]:
    """Return all perfect matchings of m legs, pairs sorted, in lexicographic order.

    >>> perfect_matchings(4)
    (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
    """
    return tuple(_matchings(tuple(range(m))))


def _matchings(legs: tuple[int, ...]) -> Iterable[tuple[Pair, ...]]:
    if not legs:
        yield ()
    elif len(legs) % 2 == 0:
        for i in range(1, len(legs)):
            for rest in _matchings(legs[1:i] + legs[i + 1 :]):
                yield ((legs[0], legs[i]), *rest)


def involution(pairs: Iterable[Sequence[int]], m: int) -> list[int]:
    """Return the involution that swaps the legs of each pair and fixes the others.

    >>> involution([(0, 2)], 4)
    [2, 1, 0, 3]
    """
    w = list(range(m))
    for a, b in pairs:
        w[a], w[b] = b, a
    return w


def longest_increasing(sequence: Iterable[int]) -> int:
    """Return the length of the longest strictly increasing subsequence.

    >>> longest_increasing([2, 0, 3, 1, 4])
    3
    """
    tails: list[int] = []
    for value in sequence:
        at = bisect_left(tails, value)
        tails[at : at + 1] = [value]
    return len(tails)


def crossing_chain(pairs: Sequence[Sequence[int]], m: int) -> int:
    """Return the largest number of arcs over a line that all cross one another.

    >>> crossing_chain([(0, 2), (1, 3)], 4), crossing_chain([(0, 3), (1, 2)], 4)
    (2, 1)
    """
    arcs = sorted((min(p), max(p)) for p in pairs)
    # Arcs that cross one another all pass over some gap, and there their ends increase with their starts.
    return max(
        (longest_increasing(b for a, b in arcs if a < gap <= b) for gap in range(1, m)),
        default=0,
    )


def crossings(pairs: Iterable[Sequence[int]], l: int, k: int) -> int:
    """Return the number of crossings of a matching with its l + k legs on a circle.

    The top row is read from left to right, then the bottom row from right to left.

    >>> crossings([(0, 2), (1, 3)], 2, 2), crossings([(0, 3), (1, 2)], 2, 2)
    (0, 1)
    """
    place = [leg if leg < l else l + k - 1 - (leg - l) for leg in range(l + k)]
    chords = [sorted((place[a], place[b])) for a, b in pairs]
    return sum(a < c < b < d or c < a < d < b for (a, b), (c, d) in combinations(chords, 2))


@lru_cache(maxsize=256)
def paired_rows(m: int, c: int, free: int = 0) -> tuple[Row, ...]:
    """Return the rows of m legs with c marked and ``free`` free single legs and all others in pairs.

    >>> paired_rows(2, 1, 1)
    (((0, 1), (0,), (1,)), ((0, 1), (1,), (0,)))
    """
    found: list[Row] = []

    def extend(rgs: tuple[int, ...], open_: tuple[int, ...], blocks: int) -> None:
        if len(open_) > c + free + m - len(rgs):
            return
        if len(rgs) == m and len(open_) < c + free:
            return
        if len(rgs) == m:
            for marks in combinations(open_, c):
                found.append((rgs, marks, tuple(b for b in open_ if b not in marks)))
            return
        for block in open_:
            extend((*rgs, block), tuple(b for b in open_ if b != block), blocks)
        extend((*rgs, blocks), (*open_, blocks), blocks + 1)

    if (m - c - free) % 2 == 0 and c + free <= m:
        extend((), (), 0)
    return tuple(found)
