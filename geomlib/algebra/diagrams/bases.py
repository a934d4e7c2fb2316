"""Lists of diagrams: bases at every n, and the usual spanning sets, in one canonical order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import permutations
from typing import Literal, TypeAlias

from geomlib.algebra.diagrams.diagram import Blocks, Diagram
from geomlib.algebra.diagrams.dimensions import dim_hom, orders, spanning_size
from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.algebra.diagrams.matchings import crossing_chain, involution, longest_increasing, paired_rows
from geomlib.algebra.diagrams.partitions import Row, blocks_of, marked_partitions
from geomlib.algebra.types import closest
from geomlib.errors import GeomlibError, InvalidInput

__all__ = ["LIMIT", "Which", "diagrams", "refuse"]

Which: TypeAlias = Literal["basis", "spanning"]

#: Number of diagrams that are listed without being asked twice.
LIMIT = 25_000
#: Diagrams of the longest list of O(n) or SO(n) whose rank is checked when it is made; longer ones are checked by tests.
ASSERTED = 150
#: Bytes that one diagram takes with its blocks, measured on lists of 4,140 and 21,147.
_BYTES = 1_500


def diagrams(
    group: str | TensorGroup, k: int, l: int, which: Which = "basis", *, limit: int = LIMIT
) -> list[Diagram]:
    r"""Return diagrams that span the equivariant linear maps of tensors of order k to tensors of order l.

    **Group**: S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q).

    A spanning set is what the papers list; its diagrams are dependent when n is small. The basis keeps, with m = k + l,

    ===============  ================================================================================================
    S_n              partitions with n blocks at most
    A_n              these, and jellyfish with n - 1 or n blocks
    B(n)             partitions with n blocks at most, all of even size
    O(n), O(p,q)     matchings which, as involutions of the legs, have no increasing subsequence longer than n
    SO(n)            these, and involutions with n fixed points, the legs of epsilon, under the same rule
    Sp(n)            matchings without n/2 + 1 arcs that all cross one another
    ===============  ================================================================================================

    Order: kind, number c of blocks that cross, top row, permutation of the c, bottom row; rows by growth string, then by
    marked blocks. Weights are stored in this order, so it never changes.

    Args:
        group: the group, or its name; S_n needs a size for a basis.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        limit: largest number of diagrams to list.

    Raises:
        InvalidInput: more diagrams than ``limit``; the message says how many, and the memory.

    Source: E. Pearce-Crump, arXiv 2212.08630, 2212.08648, 2301.10152 (spanning sets); E. M. Rains, "Increasing
    subsequences and the classical groups", Electronic Journal of Combinatorics 5 (1998), for the counts behind the rules.

    >>> len(diagrams("S_3", 2, 2)), len(diagrams("S_3", 2, 2, "spanning"))
    (14, 15)
    >>> diagrams("SO(2)", 1, 1)
    [E[01: 1 -> 1], H[ε01: 1 -> 1]]
    """
    G = tensor_group(group)
    if which not in ("basis", "spanning"):
        raise InvalidInput(
            f"which={which!r}: expected 'basis' or 'spanning'.{closest(str(which), ('basis', 'spanning'))}"
        )
    orders(k, l)
    if G.kind not in _LISTS:
        return G.maps(k, l, which, limit)  # orbits, products of maps
    if G.n is None and which == "basis":
        raise InvalidInput(
            "S_n without a size: which diagrams are independent depends on n. "
            "Give n, as in S(5), or ask for which='spanning', which serves every n."
        )
    refuse(G, k, l, which, limit)
    return list(_listed(G, k, l, which))


def refuse(group: TensorGroup, k: int, l: int, which: Which = "basis", limit: int = LIMIT) -> int:
    """Return the number of diagrams.

    Raises:
        InvalidInput: there are more than ``limit``.
    """
    count = dim_hom(group, k, l) if which == "basis" else spanning_size(group, k, l)
    listed = max(count, spanning_size(group, k, l) if group.kind in ("O", "SO", "Sp", "Lorentz") else 0)
    if listed > limit:
        raise InvalidInput(
            f"{group}, {k} -> {l}: {count:,} maps{_among(count, listed)}, about {_memory(listed * _BYTES)} to list, and as "
            f"many weights per pair of channels; the limit is {limit:,}. Lower k + l = {k + l}, or raise `limit`."
        )
    return count


def _among(count: int, listed: int) -> str:
    return "" if listed == count else f" chosen among {listed:,} diagrams"


def _memory(size: float) -> str:
    for unit in ("kB", "MB", "GB", "TB"):
        size, small = size / 1000, size < 1_000_000
        if small:
            return f"{size:.3g} {unit}"
    return f"{size:.3g} TB"


@lru_cache(maxsize=256)
def _listed(group: TensorGroup, k: int, l: int, which: Which) -> tuple[Diagram, ...]:
    found = tuple(_LISTS[group.kind](group, k, l, which == "basis"))
    if which == "basis" and group.kind in ("O", "SO", "Lorentz") and len(found) <= ASSERTED:
        _independent(group, k, l, found)
    return found


def _independent(group: TensorGroup, k: int, l: int, found: tuple[Diagram, ...]) -> None:
    """Certify the rule of subsequences, whose independence is known from cases only; its count is a theorem."""
    small = 2 * group.size < k + l or (group.kind == "SO" and k + l >= group.size + 2)
    if small:
        from geomlib.algebra.diagrams.gram import gram_of, independent_rows

        rank = len(independent_rows(gram_of(found, group)))
        if rank < len(found):
            raise GeomlibError(
                f"{group}, {k} -> {l}: the basis of {len(found)} diagrams has rank {rank}. Please report it."
            )


def _glued(top: Row, sigma: tuple[int, ...], bottom: Row, l: int) -> tuple[Blocks, tuple[int, ...]]:
    """Return the blocks and the free legs of two rows joined by a permutation."""
    (upper, marks, free), (lower, lower_marks, lower_free) = top, bottom
    above = blocks_of(upper)
    below = [tuple(leg + l for leg in block) for block in blocks_of(lower)]
    joined = list(above)
    for i, j in enumerate(sigma):
        joined[marks[i]] += below[lower_marks[j]]
    inner = (*lower_marks, *lower_free)
    blocks = [b for i, b in enumerate(joined) if i not in free]
    blocks += [b for i, b in enumerate(below) if i not in inner]
    legs = [above[i][0] for i in free] + [below[i][0] for i in lower_free]
    return tuple(blocks), tuple(legs)


def _rows(
    k: int, l: int, rows: Callable[[int, int], tuple[Row, ...]]
) -> Iterator[tuple[Row, tuple[int, ...], Row]]:
    for c in range(min(k, l) + 1):
        for top in rows(l, c):
            for sigma in permutations(range(c)):
                for bottom in rows(k, c):
                    yield top, sigma, bottom


def _blocks_in(row: Row) -> int:
    return max(row[0], default=-1) + 1


def _partitions(
    k: int, l: int, kind: str, least: int, most: int | None, *, even: bool = False
) -> Iterator[Diagram]:
    rows = _even_rows if even else marked_partitions
    for top, sigma, bottom in _rows(k, l, lambda m, c: rows(m, c, most)):
        count = _blocks_in(top) + _blocks_in(bottom) - len(sigma)
        if count < least or (most is not None and count > most):
            continue
        if even and any(_odd(top, i) != _odd(bottom, j) for i, j in enumerate(sigma)):
            continue
        yield Diagram.trusted(_glued(top, sigma, bottom, l)[0], k, l, kind)


def _odd(row: Row, mark: int) -> int:
    return row[0].count(row[1][mark]) % 2


@lru_cache(maxsize=256)
def _even_rows(m: int, c: int, most: int | None) -> tuple[Row, ...]:
    """Return the marked rows whose unmarked blocks are even."""
    return tuple(
        row
        for row in marked_partitions(m, c, most)
        if all(row[0].count(b) % 2 == 0 for b in range(_blocks_in(row)) if b not in row[1])
    )


def _permutation_group(group: TensorGroup, k: int, l: int, basis: bool) -> Iterator[Diagram]:
    n = group.n
    # Of A_n no other spanning set is in use, so both lists are the basis.
    most = n if basis or group.kind == "A" else None
    yield from _partitions(k, l, "partition", 0, most, even=group.kind == "B")
    if group.kind == "A" and n is not None and n > 1:
        yield from _partitions(k, l, "jellyfish", n - 1, n)


def _matched(k: int, l: int, kind: str, keep: Callable[[Blocks], bool]) -> Iterator[Diagram]:
    for top, sigma, bottom in _rows(k, l, paired_rows):
        blocks = _glued(top, sigma, bottom, l)[0]
        if keep(blocks):
            yield Diagram.trusted(blocks, k, l, kind)


def _orthogonal_group(group: TensorGroup, k: int, l: int, basis: bool) -> Iterator[Diagram]:
    n, m = group.size, k + l

    def keep(blocks: Blocks) -> bool:
        return longest_increasing(involution(blocks, m)) <= n

    yield from _matched(k, l, "brauer", keep if basis and 2 * n < m else lambda _: True)
    if group.kind == "SO":
        yield from (d for d in _grood(k, l, n) if not basis or keep(d.blocks))


def _grood(k: int, l: int, n: int) -> Iterator[Diagram]:
    m = k + l
    if m < n or (m - n) % 2:
        return
    for c in range(min(k, l) + 1):
        tops = [row for free in range(n + 1) for row in paired_rows(l, c, free)]
        for top in sorted(tops):
            for sigma in permutations(range(c)):
                for bottom in paired_rows(k, c, n - len(top[2])):
                    blocks, free = _glued(top, sigma, bottom, l)
                    yield Diagram.trusted(blocks, k, l, "grood", free)


def _symplectic_group(group: TensorGroup, k: int, l: int, basis: bool) -> Iterator[Diagram]:
    n, m = group.size, k + l

    def keep(blocks: Blocks) -> bool:
        return not basis or n >= m or crossing_chain(blocks, m) <= n // 2

    yield from _matched(k, l, "symplectic", keep)


_LISTS: dict[str, Callable[[TensorGroup, int, int, bool], Iterator[Diagram]]] = {
    "S": _permutation_group,
    "A": _permutation_group,
    "B": _permutation_group,
    "O": _orthogonal_group,
    "SO": _orthogonal_group,
    "Lorentz": _orthogonal_group,
    "Sp": _symplectic_group,
}
