r"""Networks of tensors: which legs are contracted, up to symmetry.

Legs are numbered: first those of the output, 0 to l - 1, then those of the inputs in turn. A network pairs them; one
epsilon may hold n of them instead. Legs of a symmetric tensor can be exchanged, and so can equal tensors: every network is
listed once, in one canonical form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from geomlib.algebra.cartesian.spec import TensorSpec
from geomlib.errors import InvalidInput

__all__ = ["LIMIT", "Network", "canonical", "networks"]

#: More networks than this are refused: their number grows as a double factorial.
LIMIT = 20_000

Edge = tuple[int, int]


@dataclass(frozen=True)
class Network:
    """A contraction of tensors.

    Args:
        slots: the input tensors, one entry per occurrence.
        output: the result.
        pairs: contracted legs.
        free: legs that epsilon holds, increasing; empty without epsilon.
    """

    slots: tuple[TensorSpec, ...]
    output: TensorSpec
    pairs: tuple[Edge, ...]
    free: tuple[int, ...] = ()

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """For every leg the number of its tensor, -1 for the output."""
        found = [-1] * self.output.rank
        for k, spec in enumerate(self.slots):
            found += [k] * spec.rank
        return tuple(found)

    @cached_property
    def components(self) -> tuple[tuple[int, ...], ...]:
        """Sets of tensors that hang together, increasing; the output is -1, epsilon is the number of slots."""
        nodes = [*range(-1 if self.output.rank else 0, len(self.slots) + (1 if self.free else 0))]
        root = {k: k for k in nodes}

        def find(k: int) -> int:
            return k if root[k] == k else find(root[k])

        for a, b in self.pairs:
            root[find(self.owners[a])] = find(self.owners[b])
        for leg in self.free:
            root[find(len(self.slots))] = find(self.owners[leg])
        groups: dict[int, list[int]] = {}
        for k in nodes:
            groups.setdefault(find(k), []).append(k)
        return tuple(sorted(map(tuple, groups.values())))

    @property
    def connected(self) -> bool:
        """Whether no factor can be split off: every tensor hangs together with the output, or with every other one."""
        return len(self.components) <= 1


class _Classes:
    """Legs that can be exchanged, by class; of the output first, then of the slots, then epsilon."""

    def __init__(self, slots: Sequence[TensorSpec], output: TensorSpec, epsilon: int):
        self.slots, self.output = tuple(slots), output
        self.legs: list[list[int]] = []
        self.looped: list[bool] = []  # whether two legs of the class may be contracted with each other
        self.starts: list[int] = []
        start = 0
        for spec in (output, *slots):
            self.starts.append(len(self.legs))
            legs = list(range(start, start + spec.rank))
            start += spec.rank
            groups = [legs] if spec.symmetric else [[leg] for leg in legs]
            self.legs += groups
            self.looped += [not spec.traceless] * len(groups)
        self.count = start
        self.epsilon = len(self.legs) if epsilon else -1
        self.sizes = [len(group) for group in self.legs] + ([epsilon] if epsilon else [])
        self.looped += [False] * (1 if epsilon else 0)
        self.of = {leg: k for k, group in enumerate(self.legs) for leg in group}

    def orders(self) -> list[list[int]]:
        """Return the classes after every exchange of equal tensors, which stand side by side."""
        blocks = [
            list(group) for _, group in itertools.groupby(range(len(self.slots)), lambda k: self.slots[k])
        ]
        found: list[list[int]] = []
        for moved in itertools.product(*(itertools.permutations(block) for block in blocks)):
            target = list(range(len(self.sizes)))
            for old, new in zip(itertools.chain(*blocks), itertools.chain(*moved), strict=True):
                a, b = self.starts[old + 1], self.starts[new + 1]
                width = (self.starts[old + 2] if old + 2 < len(self.starts) else len(self.legs)) - a
                target[a : a + width] = range(b, b + width)
            found.append(target)
        return found

    def network(self, edges: Sequence[Edge]) -> Network:
        """Return the network of pairs of classes: legs of a class are used in order."""
        unused = [iter(group) for group in self.legs]
        pairs: list[Edge] = []
        free: list[int] = []
        for a, b in edges:
            if b == self.epsilon:
                free.append(next(unused[a]))
            else:
                first = next(unused[a])
                pairs.append((first, next(unused[b])))
        return Network(self.slots, self.output, tuple(sorted(pairs)), tuple(sorted(free)))

    def fillings(self) -> Iterator[tuple[Edge, ...]]:
        """Yield every way to pair the legs, as pairs of classes, each once."""
        left = list(self.sizes)
        edges: list[Edge] = []

        def fill() -> Iterator[tuple[Edge, ...]]:
            first = next((k for k, size in enumerate(left) if size), None)
            if first is None:
                yield tuple(edges)
                return
            lowest = edges[-1][1] if edges and edges[-1][0] == first else first
            left[first] -= 1
            for k in range(max(lowest, first), len(left)):
                if left[k] and (k != first or self.looped[k]):
                    left[k] -= 1
                    edges.append((first, k))
                    yield from fill()
                    edges.pop()
                    left[k] += 1
            left[first] += 1

        return fill()


def _moved(edges: Sequence[Edge], target: Sequence[int]) -> tuple[Edge, ...]:
    return tuple(sorted((min(target[a], target[b]), max(target[a], target[b])) for a, b in edges))


def networks(slots: Sequence[TensorSpec], output: TensorSpec, n: int, *, epsilon: bool) -> list[Network]:
    """Return all networks of some tensors, products of closed ones first.

    Args:
        slots: the input tensors, one entry per occurrence.
        output: the result.
        n: dimension of a leg.
        epsilon: whether one epsilon takes part; two of them are a sum of networks without any.

    Raises:
        InvalidInput: more than `LIMIT` of them.

    >>> A = TensorSpec(2, symmetric=True, name="A")
    >>> [len(networks([A] * d, TensorSpec(0), 3, epsilon=False)) for d in range(1, 5)]
    [1, 2, 3, 5]
    """
    legs = output.rank + sum(spec.rank for spec in slots)
    if (legs - (n if epsilon else 0)) % 2 or (epsilon and legs < n):
        return []
    classes = _Classes(sorted(slots, key=_sort_key), output, n if epsilon else 0)
    orders = classes.orders() if math.prod(map(math.factorial, _repeats(classes.slots))) <= LIMIT else None
    found: list[tuple[Edge, ...]] = []
    seen = set[tuple[Edge, ...]]()
    for edges in classes.fillings() if orders is not None else ():
        key = tuple(sorted(edges))
        if key not in seen:
            images = {_moved(key, target) for target in orders or ()}
            seen |= images
            found.append(min(images))
        if len(seen) > LIMIT:
            orders = None
            break
    if orders is None:
        rest = legs - (n if epsilon else 0)
        pairings = math.prod(range(rest - 1, 0, -2)) * (math.comb(legs, n) if epsilon else 1)
        raise InvalidInput(
            f"tensor networks: {len(classes.slots)} tensors with {legs} legs have up to {pairings:,} contractions, more "
            f"than {LIMIT:,} are not listed. Lower the degree or the ranks, or declare the tensors symmetric."
        )
    listed = [(classes.network(key), key) for key in found]
    listed.sort(key=lambda item: (-len(item[0].components), item[1]))
    return [network for network, _ in listed]


def canonical(
    slots: Sequence[TensorSpec], output: TensorSpec, pairs: Sequence[Edge], free: Sequence[int]
) -> tuple[Network, int]:
    """Return the canonical form of a network, and the sign that epsilon gets by reordering its legs."""
    order = sorted(range(len(slots)), key=lambda k: _sort_key(slots[k]))
    starts = list(itertools.accumulate((spec.rank for spec in slots), initial=output.rank))
    moved = {leg: leg for leg in range(output.rank)}
    for k in order:
        for leg in range(starts[k], starts[k] + slots[k].rank):
            moved[leg] = len(moved)
    classes = _Classes([slots[k] for k in order], output, len(free))
    at = [classes.of[moved[leg]] for leg in free]
    edges = [(classes.of[moved[a]], classes.of[moved[b]]) for a, b in pairs]
    edges += [(k, classes.epsilon) for k in at]
    target = min(classes.orders(), key=lambda target: _moved(edges, target))
    placed = [target[k] for k in at]
    turns = sum(a > b for a, b in itertools.combinations(placed, 2))
    return classes.network(_moved(edges, target)), -1 if turns % 2 else 1


def _sort_key(spec: TensorSpec) -> tuple[str, int, bool, bool, int]:
    return spec.name, spec.rank, spec.symmetric, spec.traceless, spec.parity


def _repeats(slots: Sequence[TensorSpec]) -> list[int]:
    return [len(list(group)) for _, group in itertools.groupby(slots)]
