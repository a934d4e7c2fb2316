"""Products of diagrams that are sums of several: two epsilons, orbit diagrams, jellyfish."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from torch import Tensor

from geomlib.algebra.diagrams.category import compose, fitting, sign_of, trace
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.algebra.diagrams.matrices import require_group
from geomlib.algebra.diagrams.moebius import moebius_row
from geomlib.algebra.diagrams.partitions import blocks_of, rgs_of, set_partitions
from geomlib.errors import InvalidInput

__all__ = ["compose_terms"]

Terms = dict[Diagram, int]


def _add(terms: dict[Diagram, float], d: Diagram, weight: float) -> None:
    terms[d] = terms.get(d, 0.0) + weight


def _entry(flat: Tensor, strides: Sequence[int], rgs: Sequence[int], values: Sequence[int]) -> float:
    return float(flat[sum(stride * values[block] for stride, block in zip(strides, rgs, strict=True))])


def compose_terms(second: Diagram, first: Diagram, group: str | TensorGroup) -> Terms:
    r"""Return second after first as a sum of diagrams with whole coefficients, for every pair of one group.

    Two epsilons give the sum over permutations :math:`\varepsilon\,\varepsilon = \sum_\sigma \operatorname{sgn}(\sigma)
    \prod_a \delta_{a\sigma(a)}`; orbit diagrams give orbit diagrams, one for each way in which blocks of the outer rows
    may agree; jellyfish of A_n give partitions and jellyfish, read off the product of their matrices. The sum is empty
    where the product vanishes.

    **Group**: the one given.

    Args:
        second: a diagram of m inputs.
        first: a diagram of m outputs.
        group: the group, with a size.

    Raises:
        InvalidInput: orders that do not fit, diagrams of another group.

    >>> h = Diagram([], 1, 1, "grood", [0, 1])
    >>> compose_terms(h, h, "SO(2)")
    {E[01: 1 -> 1]: -1}
    >>> compose_terms(Diagram([(0,), (1,)], 1, 1, "orbit"), Diagram([(0,), (1,)], 1, 1, "orbit"), "S_4")
    {X[0|1: 1 -> 1]: 2, X[01: 1 -> 1]: 3}
    """
    G = tensor_group(group)
    fitting(second, first)
    n = max(require_group(second, G), require_group(first, G))
    kinds = {second.kind, first.kind}
    if kinds & {"orbit+", "orbit-"}:
        raise InvalidInput(f"compose_terms: expand {second!r}, {first!r} first: X+ = (X + J) / 2.")
    if kinds == {"orbit"}:
        return _orbits(second, first, n)
    if second.kind == first.kind == "grood":
        return _two_epsilons(second, first, n)
    if kinds == {"brauer", "grood"} and trace(second, first).vanishes:
        return {}
    if G.kind in ("S", "A", "B") and kinds != {"partition"}:
        return _by_matrices(second, first, G)
    made = compose(second, first)
    return {made.diagram: made.sign * n**made.loops}


def _two_epsilons(second: Diagram, first: Diagram, n: int) -> Terms:
    traced = trace(second, first)
    if traced.vanishes:
        return {}
    met = len(traced.joined)
    # Slots that stay open first, then those that meet: one sign for each epsilon.
    above = [i for i, leg in enumerate(traced.upper) if leg is not None]
    below = [i for i, leg in enumerate(traced.lower) if leg is not None]
    sign = sign_of([*above, *(i for i, _ in traced.joined)]) * sign_of(
        [*below, *(j for _, j in traced.joined)]
    )
    factor = sign * math.factorial(met) * n**traced.loops
    terms: Terms = {}
    for order in permutations(range(n - met)):
        ends = [(traced.upper[above[a]], traced.lower[below[b]]) for a, b in enumerate(order)]
        pairs = [(a, b) for a, b in ends if a is not None and b is not None]
        terms[Diagram([*traced.pairs, *pairs], first.k, second.l, "brauer")] = sign_of(order) * factor
    return terms


def _partial_matchings(a: int, b: int) -> Iterator[list[tuple[int, int]]]:
    for size in range(min(a, b) + 1):
        for left in combinations(range(a), size):
            for right in permutations(range(b), size):
                yield list(zip(left, right, strict=True))


def _orbits(second: Diagram, first: Diagram, n: int) -> Terms:
    """Blocks of the upper diagram have different values, and so have those of the lower: only pairs may agree."""
    l, m = second.l, first.l
    upper, lower = second.rgs, first.rgs
    middle_up, middle_down = upper[l:], lower[:m]
    if rgs_of(middle_up) != rgs_of(middle_down):
        return {}
    same = dict(zip(middle_down, middle_up, strict=True))
    names: list[tuple[str, int]] = [("u", b) for b in upper[:l]]
    names += [("u", same[b]) if b in same else ("d", b) for b in lower[m:]]
    hidden = len({b for b in middle_up if ("u", b) not in names})
    alone_up = sorted({b for b in upper[:l] if b not in middle_up})
    alone_down = sorted({b for b in lower[m:] if b not in same})
    terms: Terms = {}
    for matching in _partial_matchings(len(alone_up), len(alone_down)):
        merge = {("d", alone_down[j]): ("u", alone_up[i]) for i, j in matching}
        rgs = rgs_of(merge.get(name, name) for name in names)
        seen = max(rgs, default=-1) + 1
        count = math.perm(n - seen, hidden) if n >= seen else 0
        if count:
            terms[Diagram.trusted(blocks_of(rgs), first.k, second.l, "orbit")] = count
    return terms


def _by_matrices(second: Diagram, first: Diagram, group: TensorGroup) -> Terms:
    """Read the coefficients off the product: it is constant on even orbits, up to the sign of a permutation."""
    n, k, l = group.size, first.k, second.l
    product = (second.matrix(group) @ first.matrix(group)).flatten()
    if product.numel() and float(product.abs().amax()) >= 2.0**53:
        raise InvalidInput(f"compose_terms: {second!r} after {first!r} exceeds whole numbers of float64.")
    strides = [n ** (k + l - 1 - leg) for leg in range(k + l)]
    terms: dict[Diagram, float] = {}
    for rgs in set_partitions(k + l, n):
        blocks = max(rgs, default=-1) + 1
        values = list(range(n))
        even = _entry(product, strides, rgs, values)
        odd = 0.0
        if group.kind == "A" and n > 1 and blocks >= n - 1:
            values[-2:] = [n - 1, n - 2]
            swapped = _entry(product, strides, rgs, values)
            even, odd = (even + swapped) / 2, (even - swapped) / 2
        if odd:
            _add(terms, Diagram.trusted(blocks_of(rgs), k, l, "jellyfish"), odd)
        if even:
            for coarser, weight in moebius_row(rgs).items():
                _add(terms, Diagram.trusted(blocks_of(coarser), k, l), even * weight)
    ordered = sorted((d for d, weight in terms.items() if weight), key=lambda d: d.order)
    return {d: round(terms[d]) for d in ordered}
