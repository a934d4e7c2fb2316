"""What every group can do, and stratified sampling."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

from torch import Generator

from geomlib.algebra.groups.element import Element, Flow, compose, inverse
from geomlib.errors import InvalidInput

__all__ = ["ENUMERATED", "Group", "stratified"]

#: Finite groups up to this order are enumerated, larger ones sampled.
ENUMERATED = 48


class Group(ABC):
    """A group, or a coset of one, from which elements are drawn component by component."""

    name: str

    @abstractmethod
    def components(self) -> tuple[str, ...]:
        """Return the names of the connected components."""

    @abstractmethod
    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a random element of a component; translations have length about ``scale``."""

    @abstractmethod
    def special(self, generator: Generator) -> list[Element]:
        """Return the elements that random sampling never hits: identity, half turns, mirrors, tiny angles."""

    def generators(self) -> list[Flow]:
        """Return one named one-parameter subgroup per direction of the Lie algebra; none for a finite group."""
        return []

    def discrete(self, generator: Generator) -> list[Element]:
        """Return elements that, with the flows of `generators`, generate the whole group: mirrors, a cycle."""
        del generator
        return []

    def sized(self, nodes: int) -> Group:
        """Return the group acting on this number of nodes; only permutations depend on it."""
        del nodes
        return self

    def elements(self) -> list[Element] | None:
        """Return all elements of a finite group of order at most `ENUMERATED`, else ``None``."""
        return None

    def identity(self) -> Element:
        """Return the neutral element."""
        return Element(label="identity")

    def compose(self, g: Element, h: Element) -> Element:
        """Return the element that applies ``h`` first and then ``g``."""
        return compose(g, h)

    def inverse(self, g: Element) -> Element:
        """Return the element that undoes ``g``."""
        return inverse(g)

    def draw(self, trials: int, generator: Generator, scale: float = 1.0) -> list[Element]:
        """Return at least ``trials`` elements, at least ``ceil(trials / 4)`` of every component."""
        names = self.components()
        all_of_them = self.elements()
        if all_of_them is not None:
            rounds = math.ceil(trials / len(all_of_them))
            return [replace(g) for _ in range(rounds) for g in all_of_them]
        each = max(math.ceil(trials / 4), math.ceil(trials / len(names)))
        return [self.sample(name, generator, scale) for _ in range(each) for name in names]

    def require(self, component: str) -> None:
        """Raise `InvalidInput` unless the group has this component."""
        if component not in self.components():
            raise InvalidInput(
                f"{self.name} has no component {component!r}, only {'; '.join(self.components())}."
            )

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


def stratified(group: Group, trials: int, generator: Generator, scale: float = 1.0) -> list[Element]:
    """Return at least ``trials`` random elements, at least ``ceil(trials / 4)`` of every component.

    A finite group of order at most 48 is enumerated instead, as often as the trials allow.
    """
    return group.draw(trials, generator, scale)
