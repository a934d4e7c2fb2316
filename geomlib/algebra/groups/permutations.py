"""Permutations of the nodes: S_n, A_n, and the automorphisms of a graph."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element
from geomlib.errors import InvalidInput

__all__ = ["Permutations", "parity"]


def parity(p: Sequence[int]) -> str:
    """Return ``"even"`` or ``"odd"``: the parity of a permutation, counted by its cycles.

    >>> parity([1, 2, 0])
    'even'
    """
    seen, cycles = set[int](), 0
    for start in range(len(p)):
        cycles += start not in seen
        while start not in seen:
            seen.add(start)
            start = p[start]
    return "even" if (len(p) - cycles) % 2 == 0 else "odd"


class Permutations(Group):
    """All orders of N nodes, or the even ones; ``size=None`` until the data say how many there are.

    Args:
        size: number of nodes.
        even: whether only even permutations belong to the group: A_n.
    """

    def __init__(self, size: int | None = None, *, even: bool = False):
        self.name, self.size, self.even = "A_n" if even else "S_n", size, even

    def sized(self, nodes: int) -> Permutations:
        """Return the permutations of this number of nodes."""
        return Permutations(nodes, even=self.even)

    def components(self) -> tuple[str, ...]:
        """Return ``even`` and ``odd`` permutations; fewer than two nodes have no odd one."""
        return ("even",) if self.even or (self.size is not None and self.size < 2) else ("even", "odd")

    def identity(self) -> Element:
        """Return the order as it is."""
        return Element(nodes=None if self.size is None else torch.arange(self.size), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a uniformly distributed permutation of the asked parity."""
        del scale
        self.require(component)
        p = torch.randperm(self._size(), generator=generator)
        order: list[int] = p.tolist()
        if self._size() > 1 and parity(order) != component:
            p[:2] = p[:2].flip(0)
        return Element(nodes=p, label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, a transposition, a 3-cycle, an n-cycle and the reversal, as far as they belong."""
        del generator
        n = self._size()
        eye = torch.arange(n)
        found: dict[str, Tensor] = {"identity": eye}
        if n > 1:
            swap = eye.clone()
            swap[[0, n - 1]] = swap[[n - 1, 0]]
            found |= {"transposition": swap, "n-cycle": eye.roll(1), "reversal": eye.flip(0)}
        if n > 2 and self.even:
            found |= {"3-cycle": torch.cat([eye[:3].roll(1), eye[3:]])}
        if n > 3 and self.even:
            found |= {"(n-1)-cycle": torch.cat([eye[:1], eye[1:].roll(1)])}
        elements = [Element(nodes=p, label=label) for label, p in found.items()]
        return [g for g in elements if not self.even or parity(_list(g.nodes)) == "even"]

    def discrete(self, generator: Generator) -> list[Element]:
        """Return a transposition and an n-cycle; for A_n a 3-cycle and the longest even cycle."""
        names = ("3-cycle", "n-cycle", "(n-1)-cycle") if self.even else ("transposition", "n-cycle")
        return [e for e in self.special(generator) if e.label in names]

    def _size(self) -> int:
        if self.size is None:
            raise InvalidInput(
                f"{self.name} has no size yet: call group.sized(number_of_nodes) before drawing elements."
            )
        return self.size


def _list(p: Tensor | None) -> list[int]:
    return [] if p is None else p.tolist()
