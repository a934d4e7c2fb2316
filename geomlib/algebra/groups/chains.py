r"""Stabiliser chains of permutation groups: order, membership and exactly uniform samples.

Level i holds one permutation for every image of point i under the subgroup that fixes 0, ..., i - 1. Every
element of the group is then a unique product :math:`u_0 u_1 \cdots` of one permutation per level (D. E. Knuth,
"Efficient representation of perm groups", Combinatorica 11, 1991, algorithms A and B).

>>> chain = stabiliser_chain([(1, 2, 3, 0), (3, 2, 1, 0)], 4)  # the symmetries of a square
>>> chain.order, (2, 3, 0, 1) in chain, (1, 0, 2, 3) in chain
(8, True, False)
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator

__all__ = ["Chain", "Perm", "after", "stabiliser_chain", "undone"]

Perm = tuple[int, ...]


def after(p: Perm, q: Perm) -> Perm:
    """Return the permutation that applies ``q`` first and then ``p``."""
    return tuple(p[k] for k in q)


def undone(p: Perm) -> Perm:
    """Return the inverse of a permutation."""
    q = [0] * len(p)
    for k, image in enumerate(p):
        q[image] = k
    return tuple(q)


@dataclass(frozen=True)
class Chain:
    """A permutation group of n points.

    Args:
        levels: one table per point, from each image of the point to a permutation that takes it there and fixes
            all earlier points.
    """

    levels: tuple[dict[int, Perm], ...]

    @property
    def order(self) -> int:
        """Number of elements."""
        return math.prod(len(level) for level in self.levels)

    def __contains__(self, p: Perm) -> bool:
        """Whether a permutation belongs to the group."""
        return _sifted(p, self.levels, 0) is None

    def __iter__(self) -> Iterator[Perm]:
        """Yield every element once."""
        found: list[Perm] = [tuple(range(len(self.levels)))]
        for level in reversed(self.levels):
            found = [after(u, p) for u in level.values() for p in found]
        return iter(found)

    def sample(self, generator: Generator) -> Perm:
        """Return a uniformly distributed element."""
        p: Perm = tuple(range(len(self.levels)))
        for level in self.levels:
            choices = list(level.values())
            p = after(p, choices[int(torch.randint(len(choices), (), generator=generator))])
        return p


def _sifted(p: Perm, levels: Sequence[dict[int, Perm]], start: int) -> tuple[int, Perm] | None:
    """Return the level at which the chain cannot take ``p`` apart, and what is left, or None."""
    for i in range(start, len(levels)):
        u = levels[i].get(p[i])
        if u is None:
            return i, p
        if p[i] != i:
            p = after(undone(u), p)
    return None


def stabiliser_chain(generators: Iterable[Perm], n: int) -> Chain:
    """Return the chain of the group that some permutations of n points generate.

    Args:
        generators: permutations as tuples, point k goes to ``p[k]``.
        n: number of points.
    """
    e: Perm = tuple(range(n))
    levels: list[dict[int, Perm]] = [{i: e} for i in range(n)]
    strong: list[list[Perm]] = [[] for _ in range(n)]
    todo: list[tuple[int, Perm]] = []
    for g in generators:
        todo.append((0, g))
        while todo:
            level, p = todo.pop()
            left = _sifted(p, levels, level)
            if left is None:
                continue
            _insert(*left, levels, strong, todo, first=level)
    return Chain(tuple(levels))


def _insert(
    i: int,
    p: Perm,
    levels: list[dict[int, Perm]],
    strong: list[list[Perm]],
    todo: list[tuple[int, Perm]],
    *,
    first: int,
) -> None:
    """Add a new strong generator that fixes 0..i-1 and queue every product that it makes possible."""
    for k in range(first, i + 1):
        strong[k].append(p)
        queue: list[tuple[Perm, Perm]] = [(p, u) for u in levels[k].values()]
        while queue:
            s, u = queue.pop()
            product = after(s, u)
            if product[k] in levels[k]:
                todo.append((k, product))
            else:
                levels[k][product[k]] = product
                queue += [(t, product) for t in strong[k]]
