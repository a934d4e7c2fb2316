r"""The category of diagrams: composition with loops and signs, products side by side, rows exchanged.

Diagrams are morphisms k -> l; the matrix of a composition is the product of matrices, up to a sign and a power of n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import Sp
from geomlib.algebra.diagrams.matchings import crossings
from geomlib.algebra.diagrams.partitions import blocks_of, rgs_of
from geomlib.algebra.groups.permutations import parity
from geomlib.errors import InvalidInput

__all__ = [
    "Composition",
    "compose",
    "functor",
    "identity",
    "permuting",
    "tensor",
    "transpose",
    "transpose_sign",
]

_SINGLE = ("partition", "brauer", "symplectic", "grood")


class Composition(NamedTuple):
    """A product of two diagrams: ``sign * n**loops`` times a diagram."""

    diagram: Diagram
    loops: int
    sign: int


class Traced(NamedTuple):
    """What the legs of two stacked matchings are joined to."""

    pairs: list[tuple[int, int]]
    loops: int
    upper: list[int | None]  # where the slots of the upper epsilon lead: an outer leg, or None
    lower: list[int | None]
    joined: list[tuple[int, int]]  # slots of the upper epsilon that meet slots of the lower one
    vanishes: bool


def identity(k: int, kind: str = "partition") -> Diagram:
    """Return the diagram of k straight lines.

    >>> identity(2, "brauer")
    E[02|13: 2 -> 2]
    """
    return Diagram([(i, k + i) for i in range(k)], k, k, kind)


def permuting(order: Sequence[int], kind: str = "partition") -> Diagram:
    """Return the diagram whose output axis i is the input axis ``order[i]``, as in ``x.permute(order)``.

    >>> permuting([1, 2, 0])
    D[04|15|23: 3 -> 3]
    """
    k = len(order)
    return Diagram([(i, k + j) for i, j in enumerate(order)], k, k, kind)


def sign_of(order: Iterable[int]) -> int:
    """Return the sign of the permutation that sorts distinct numbers."""
    found = list(order)
    return 1 if parity(sorted(range(len(found)), key=found.__getitem__)) == "even" else -1


def fitting(second: Diagram, first: Diagram) -> None:
    """Refuse diagrams whose orders do not fit."""
    if second.k != first.l:
        raise InvalidInput(
            f"compose: {second!r} takes tensors of order {second.k}, {first!r} gives order {first.l}; "
            "they must be equal."
        )


def compose(second: Diagram, first: Diagram) -> Composition:
    r"""Return second after first as one diagram, stacked with the legs between them joined.

    .. math:: D_2 D_1 = \pm n^{c} D_{2 \circ 1}

    where c counts the components that touch neither outer row. The sign is 1 but for Sp(n), with :math:`\Omega` on the
    pairs of both rows, and for epsilon, whose legs it sorts.

    **Group**: the one whose diagrams these are; the result is a map of the same group.

    Args:
        second: a diagram of m inputs.
        first: a diagram of m outputs, of the same kind, or matchings without and with epsilon.

    Raises:
        InvalidInput: orders that do not fit, kinds that do not mix, or a product that is not a multiple of one diagram;
            `geomlib.algebra.diagrams.combinations.compose_terms` returns these.

    Source: E. Pearce-Crump, "Categorification of group equivariant neural networks", arXiv 2304.14144.

    >>> row_sum, copy = Diagram([(0,), (1,)], 1, 1), Diagram([(0, 1), (2,)], 1, 2)
    >>> compose(copy, row_sum)
    Composition(diagram=D[01|2: 1 -> 2], loops=1, sign=1)
    """
    fitting(second, first)
    kinds = {second.kind, first.kind}
    if not (len(kinds) == 1 or kinds == {"brauer", "grood"}) or not kinds <= set(_SINGLE):
        raise InvalidInput(f"compose: {second!r} after {first!r} is no single diagram; use compose_terms.")
    if kinds == {"partition"}:
        return _stacked(second, first)
    if second.kind == first.kind == "grood":
        raise InvalidInput(
            f"compose: {second!r} after {first!r}, two epsilons, is a signed sum of matchings; use compose_terms."
        )
    traced = trace(second, first)
    if traced.vanishes:
        raise InvalidInput(
            f"compose: {second!r} after {first!r} vanishes, since epsilon is contracted with itself; use compose_terms."
        )
    free = [leg for leg in (*traced.upper, *traced.lower) if leg is not None]
    kind = "grood" if free or "grood" in kinds else second.kind
    made = Diagram(traced.pairs, first.k, second.l, kind, free)
    if kind == "symplectic":
        odd = sum(map(_exponent, (second, first, made))) + traced.loops
        return Composition(made, traced.loops, -1 if odd % 2 else 1)
    return Composition(made, traced.loops, sign_of(free))


def _stacked(second: Diagram, first: Diagram) -> Composition:
    """Compose set partitions by joining blocks."""
    l, m, k = second.l, first.l, first.k
    root = list(range(len(second.blocks) + len(first.blocks)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    upper = second.rgs
    lower = [len(second.blocks) + b for b in first.rgs]
    for leg in range(m):
        root[find(upper[l + leg])] = find(lower[leg])
    outer = [find(b) for b in (*upper[:l], *lower[m:])]
    loops = len({find(b) for b in range(len(root))}) - len(set(outer))
    return Composition(Diagram.trusted(blocks_of(rgs_of(outer)), k, l), loops, 1)


def trace(second: Diagram, first: Diagram) -> Traced:
    """Follow the lines of two stacked matchings; legs of the result are outer legs, epsilons have slots."""
    l, m = second.l, first.l
    # Legs: outer ones by their number in the result, middle ones negative.
    upper = {leg: leg if leg < l else -1 - (leg - l) for leg in range(l + m)}
    lower = {leg: -1 - leg if leg < m else l + leg - m for leg in range(m + first.k)}
    edges: list[dict[int, int]] = [{}, {}]
    slots: list[dict[int, int]] = [{}, {}]
    for side, (d, place) in enumerate(((second, upper), (first, lower))):
        for a, b in d.blocks:
            edges[side][place[a]], edges[side][place[b]] = place[b], place[a]
        slots[side] = {place[leg]: slot for slot, leg in enumerate(d.free)}
    seen: set[int] = set()

    def follow(leg: int, side: int) -> tuple[int | None, tuple[int, int] | None]:
        """Walk from a leg along the edges of one side, then of the other; return the outer leg or the slot."""
        while True:
            seen.add(leg)
            if leg in slots[side]:
                return None, (side, slots[side][leg])
            leg = edges[side][leg]
            seen.add(leg)
            if leg >= 0:
                return leg, None
            side = 1 - side

    pairs: list[tuple[int, int]] = []
    ends: list[list[int | None]] = [[None] * len(second.free), [None] * len(first.free)]
    for leg in range(l + first.k):
        if leg in seen:
            continue
        end, slot = follow(leg, 0 if leg < l else 1)
        if slot is not None:
            ends[slot[0]][slot[1]] = leg
        elif end is not None:
            pairs.append((leg, end))
    joined: list[tuple[int, int]] = []
    vanishes = False
    for side in (0, 1):
        for leg, slot in slots[side].items():
            if leg < 0 and leg not in seen:  # it leads to another slot
                _, other = follow(leg, 1 - side)
                vanishes |= other is not None and other[0] == side
                if other is not None and other[0] != side:
                    joined.append((slot, other[1]))
    loops = 0
    for leg in range(-m, 0):
        if leg not in seen:
            loops += 1
            side = 0
            while leg not in seen:
                seen.add(leg)
                leg = edges[side][leg]
                side = 1 - side
    return Traced(pairs, loops, ends[0], ends[1], joined, vanishes)


def _exponent(d: Diagram) -> int:
    """Return what the sign of the functor of Sp(n) counts: crossings, and pairs of the top row."""
    return crossings(d.blocks, d.l, d.k) + sum(b < d.l for _, b in d.blocks)


def functor(d: Diagram, group: Sp) -> Tensor:  # (n^l, n^k)
    r"""Return the matrix of a matching under the functor of Sp(n), under which every loop counts -n without a sign.

    .. math:: \Phi(D_2)\,\Phi(D_1) = (-n)^{c}\,\Phi(D_{2 \circ 1})

    It has :math:`\Omega` on pairs of the bottom row, :math:`\Omega^{-1}` on pairs of the top row, and the sign
    :math:`(-1)^{\text{crossings}}` of the matching drawn on a circle.

    **Group**: Sp(n).

    Args:
        d: a diagram of kind ``symplectic``.
        group: the group.

    Raises:
        InvalidInput: another kind or group.

    Source: the sign was found numerically for this library; the category is that of E. Pearce-Crump, arXiv 2304.14144.

    >>> cup, cap = Diagram([(0, 1)], 0, 2, "symplectic"), Diagram([(0, 1)], 2, 0, "symplectic")
    >>> (functor(cap, Sp(4)) @ functor(cup, Sp(4))).item()
    -4.0
    """
    if d.kind != "symplectic":
        raise InvalidInput(f"functor: {d!r} of kind {d.kind!r}; expected 'symplectic'.")
    found = d.matrix(group)
    return -found if _exponent(d) % 2 else found


def tensor(left: Diagram, right: Diagram) -> Diagram:
    """Return two diagrams side by side: output legs of both, then input legs of both; the Kronecker product.

    Args:
        left: a diagram of partitions or matchings.
        right: one of the same kind; one of two matchings may have an epsilon.

    Raises:
        InvalidInput: kinds whose product is not a single diagram.

    >>> tensor(Diagram([(0, 1)], 1, 1), Diagram([(0,), (1,)], 1, 1))
    D[02|1|3: 2 -> 2]
    """
    kinds = {left.kind, right.kind}
    if not (len(kinds) == 1 or kinds == {"brauer", "grood"}) or not kinds <= set(_SINGLE):
        raise InvalidInput(f"tensor: {left!r} beside {right!r} is no single diagram.")
    if left.kind == right.kind == "grood":
        raise InvalidInput(
            f"tensor: {left!r} beside {right!r} has two epsilons; expand them with compose_terms."
        )
    l, k = left.l + right.l, left.k + right.k
    first = [leg if leg < left.l else l + leg - left.l for leg in range(left.legs)]
    then = [left.l + leg if leg < right.l else l + left.k + leg - right.l for leg in range(right.legs)]
    blocks = [[first[x] for x in b] for b in left.blocks] + [[then[x] for x in b] for b in right.blocks]
    free = [first[x] for x in left.free] + [then[x] for x in right.free]
    return Diagram(blocks, k, l, "grood" if "grood" in kinds else left.kind, free)


def _turned(d: Diagram) -> list[int]:
    """Return where each leg goes when the rows are exchanged."""
    return [d.k + leg if leg < d.l else leg - d.l for leg in range(d.legs)]


def transpose(d: Diagram) -> Diagram:
    """Return the diagram with its rows exchanged, whose matrix is `transpose_sign` times the transposed matrix.

    For Sp(n) with a form of one's own that is not orthogonal, and only there, it is the categorical dual instead.

    >>> transpose(Diagram([(0, 2), (1,)], 1, 2))
    D[01|2: 2 -> 1]
    """
    at = _turned(d)
    return Diagram([[at[x] for x in b] for b in d.blocks], d.l, d.k, d.kind, [at[x] for x in d.free])


def transpose_sign(d: Diagram) -> int:
    """Return the sign between the matrix of the transposed diagram and the transposed matrix.

    Legs of epsilon, and blocks of a jellyfish, are read in another order once the rows are exchanged.

    >>> transpose_sign(Diagram([], 1, 1, "grood", [0, 1]))
    -1
    """
    at = _turned(d)
    if d.kind == "grood":
        return sign_of(at[x] for x in d.free)
    if d.kind == "jellyfish":
        return sign_of(min(at[x] for x in block) for block in d.blocks)
    return 1
