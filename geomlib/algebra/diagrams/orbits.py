r"""Orbits of a permutation group on tuples of points: the basis of all its equivariant maps.

A map commutes with permutations of the points if and only if its entries are constant on the orbits of (outputs, inputs).
The indicators of the orbits have disjoint supports, so they are a basis, and an orthogonal one.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.algebra.groups.chains import Chain, Perm, after, stabiliser_chain
from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.algebra.diagrams.orbit_groups import PermGroup

__all__ = ["LARGEST", "OrbitMap", "Orbits", "applied", "count_orbits", "orbit_labels", "orbit_maps", "orbits"]

#: Largest number of tuples whose orbits are listed.
LARGEST = 2**24
#: Groups up to this order are counted element by element.
_ENUMERATED = 20_000


def _images(p: NDArray[np.int64], m: int) -> NDArray[np.int64]:  # (n^m,)
    """Return where a permutation takes every tuple, as flat numbers."""
    found = np.zeros(1, dtype=np.int64)
    for _ in range(m):
        found = (found[:, None] * len(p) + p).reshape(-1)
    return found


def _powers(p: Perm) -> list[NDArray[np.int64]]:
    """Return p, p^2, p^4, ...: windows of doubling length cover every cycle."""
    order, length = 1, 0
    seen = set[int]()
    for start in range(len(p)):
        at, length = start, 0
        while at not in seen:
            seen.add(at)
            at, length = p[at], length + 1
        order = lcm(order, max(length, 1))
    power, found = np.array(p, dtype=np.int64), list[NDArray[np.int64]]()
    window = 1
    while window < order:
        found.append(power)
        power, window = power[power], 2 * window
    return found


def orbit_labels(
    generators: Sequence[Perm], n: int, m: int, *, limit: int = LARGEST
) -> NDArray[np.int64]:  # (n,) * m
    """Return the number of the orbit of every m-tuple of n points, orbits numbered by their first tuple.

    Args:
        generators: permutations that generate the group, as lists of images.
        n: number of points.
        m: length of the tuples.
        limit: largest number of tuples.

    Raises:
        InvalidInput: more tuples than ``limit``; the message says how many, and the memory.

    >>> orbit_labels([(3, 2, 1, 0)], 4, 2)  # a path of four nodes, read from both ends
    array([[0, 1, 2, 3],
           [4, 5, 6, 7],
           [7, 6, 5, 4],
           [3, 2, 1, 0]])
    """
    size = n**m
    if size > limit:
        raise InvalidInput(
            f"orbits of {m}-tuples of {n} points: {size:,} tuples, {8e-9 * size:.3g} GB for their labels, "
            f"the limit is {limit:,}. Lower the orders, or raise `limit`; count_orbits needs no list."
        )
    labels: NDArray[np.int64] = np.arange(size, dtype=np.int64)
    steps = [q for g in generators for q in _powers(tuple(g))]
    while True:
        before = labels
        for q in steps:
            moved = labels[_images(q, m)]
            labels = np.where(moved < labels, moved, labels)
        labels = labels[labels]  # a label is a tuple of the same orbit
        if np.array_equal(labels, before):
            return np.unique(labels, return_inverse=True)[1].reshape((n,) * m)


def count_orbits(chain: Chain, m: int) -> int:
    r"""Return the number of orbits on m-tuples, exactly.

    .. math:: \frac1{|G|} \sum_{g \in G} \mathrm{fix}(g)^m

    summed over the elements of a small group; over orbits of the last point under stabilisers of the others in a large one.

    Args:
        chain: the group.
        m: length of the tuples.

    The formula is known as Burnside's lemma.

    >>> count_orbits(stabiliser_chain([(1, 2, 3, 4, 0), (0, 4, 3, 2, 1)], 5), 4)
    63
    """
    n = len(chain.levels)
    if m == 0 or n == 0:
        return 1 if m == 0 else 0
    if chain.order <= _ENUMERATED:
        elements = np.array(list(chain), dtype=np.int64)
        fixed = np.bincount((elements == np.arange(n)).sum(1), minlength=n + 1)
        return sum(int(c) * f**m for f, c in enumerate(fixed)) // chain.order
    return _counted(chain, frozenset(), m, {})


def _counted(
    chain: Chain, held: frozenset[int], m: int, memory: dict[tuple[frozenset[int], int], int]
) -> int:
    """Return the number of orbits on m-tuples of the subgroup that holds some points."""
    n = len(chain.levels)
    if m == 0 or chain.order == 1:
        return n**m
    if (held, m) not in memory:
        labels = orbit_labels(_strong(chain), n, 1)
        first = np.unique(labels, return_index=True)[1].tolist()
        memory[held, m] = sum(_counted(_holding(chain, r), held | {r}, m - 1, memory) for r in first)
    return memory[held, m]


def _strong(chain: Chain) -> list[Perm]:
    e = tuple(range(len(chain.levels)))
    return [p for level in chain.levels for p in level.values() if p != e]


def _holding(chain: Chain, point: int) -> Chain:
    """Return the subgroup that fixes one more point."""
    strong = _strong(chain)
    if all(p[point] == point for p in strong):
        return chain
    e = tuple(range(len(chain.levels)))
    if all(len(level) == 1 for level in chain.levels[:point]):
        return Chain((*chain.levels[:point], {point: e}, *chain.levels[point + 1 :]))
    swap = list(e)
    swap[0], swap[point] = point, 0
    s = tuple(swap)
    moved = stabiliser_chain([after(s, after(p, s)) for p in strong], len(e))
    kept = [p for level in moved.levels[1:] for p in level.values() if p != e]
    return stabiliser_chain([after(s, after(p, s)) for p in kept], len(e))


@dataclass(frozen=True, eq=False)
class Orbits:
    """The orbits of a group on the legs (outputs, inputs) of maps of tensors of order k to tensors of order l.

    Args:
        labels: (n,) * (l + k), number of the orbit of every entry.
        n: number of points.
        k: order of the input.
        l: order of the output.
    """

    labels: NDArray[np.int64]
    n: int
    k: int
    l: int

    @cached_property
    def sizes(self) -> NDArray[np.int64]:  # (D,)
        """Number of entries of every orbit: the squared Frobenius norm of its indicator."""
        return np.bincount(self.labels.reshape(-1))

    @cached_property
    def representatives(self) -> NDArray[np.int64]:  # (D, l + k)
        """The first tuple of every orbit."""
        first = np.unique(self.labels, return_index=True)[1]
        shape = self.labels.shape
        return np.stack(np.unravel_index(first, shape), 1) if shape else np.zeros((1, 0), dtype=np.int64)

    @cached_property
    def row_sizes(self) -> NDArray[np.int64]:  # (D,)
        """Number of inputs that every output of an orbit sums over: what a mean divides by."""
        rows = self.labels.reshape(self.n**self.l, -1)
        row = self.representatives[:, : self.l] @ (self.n ** np.arange(self.l - 1, -1, -1))
        return (rows[row] == np.arange(len(row))[:, None]).sum(1)

    def __len__(self) -> int:
        return len(self.sizes)


@lru_cache(maxsize=64)
def _orbits(generators: tuple[Perm, ...], n: int, k: int, l: int) -> Orbits:
    labels = orbit_labels(generators, n, k + l)
    labels.setflags(write=False)
    return Orbits(labels, n, k, l)


def orbits(group: PermGroup, k: int, l: int, *, limit: int = LARGEST) -> Orbits:
    """Return the orbits of a group of permutations on outputs and inputs; the same call returns the same object.

    Args:
        group: of kind ``"orbits"``.
        k: order of the input.
        l: order of the output.
        limit: largest number of tuples.

    Raises:
        InvalidInput: more tuples than ``limit``.

    >>> from geomlib.algebra.diagrams.orbit_groups import AutGraph
    >>> found = orbits(AutGraph([(0, 1), (0, 2), (0, 3)], 4), 1, 1)
    >>> len(found), found.sizes.tolist(), found.row_sizes.tolist()
    (5, [1, 3, 3, 3, 6], [1, 3, 1, 1, 2])
    """
    if limit > LARGEST:
        labels = orbit_labels(group.generators, group.n, k + l, limit=limit)
        return Orbits(labels, group.n, k, l)
    if group.n ** (k + l) > limit:
        orbit_labels(group.generators, group.n, k + l, limit=limit)
    return _orbits(group.generators, group.n, k, l)


def applied(
    matrix: Tensor, x: Tensor, n: int, k: int, l: int
) -> Tensor:  # (..., n, .., n) -> (..., n, .., n)
    """Return the image of a tensor of order k under an (n^l, n^k) matrix."""
    lead = x.shape[: x.dim() - k]
    return (x.reshape(*lead, n**k) @ matrix.to(x.device).mT).reshape(*lead, *[n] * l)


@dataclass(frozen=True)
class OrbitMap:
    """The indicator of one orbit: 1 at its entries, 0 elsewhere.

    Args:
        first: the first tuple of the orbit in lexicographic order, outputs before inputs.
        k: order of the input.
        l: order of the output.
        number: of the orbit.
    """

    first: tuple[int, ...]
    k: int
    l: int
    number: int

    @property
    def label(self) -> list[Any]:
        """A list that JSON can hold: ``["orbit", first tuple]``."""
        return ["orbit", list(self.first)]

    def matrix(self, group: PermGroup, dtype: torch.dtype = torch.float64) -> Tensor:  # (n^l, n^k)
        """Return the dense indicator."""
        found = orbits(group, self.k, self.l)
        return torch.from_numpy(found.labels.reshape(group.n**self.l, -1) == self.number).to(dtype)

    def apply(self, x: Tensor, group: PermGroup) -> Tensor:  # (..., n, .., n) -> (..., n, .., n)
        """Return the image of a tensor, by the dense indicator."""
        return applied(self.matrix(group, x.dtype), x, group.n, self.k, self.l)

    def __repr__(self) -> str:
        return f"Orbit[{','.join(map(str, self.first))}: {self.k} -> {self.l}]"


def orbit_maps(group: PermGroup, k: int, l: int, *, limit: int = LARGEST) -> list[OrbitMap]:
    """Return the indicators of all orbits, in the order of their first tuples.

    Args:
        group: of kind ``"orbits"``.
        k: order of the input.
        l: order of the output.
        limit: largest number of tuples.

    Raises:
        InvalidInput: more tuples than ``limit``.

    >>> from geomlib.algebra.diagrams.orbit_groups import AutGraph
    >>> orbit_maps(AutGraph([(0, 1), (1, 2)], 3), 1, 1)[:3]
    [Orbit[0,0: 1 -> 1], Orbit[0,1: 1 -> 1], Orbit[0,2: 1 -> 1]]
    """
    found = orbits(group, k, l, limit=limit)
    return [OrbitMap(tuple(t), k, l, d) for d, t in enumerate(found.representatives.tolist())]
