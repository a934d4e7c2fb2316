"""Products of groups whose factors act on different axes, or on the same one where they commute."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from torch import Generator

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element, Flow, compose

__all__ = ["Product"]


class Product(Group):
    """Independent factors that act on different axes, ``E(3)*S_n``.

    A second spatial factor acts on types that state its dimension: in ``O(5)*O(2)``, ``grassmann(5,2)`` frames
    turn from the left by the first factor and from the right by the second.
    """

    def __init__(self, factors: Sequence[Group]):
        self.factors = tuple(factors)
        self.name = "*".join(f.name for f in self.factors)

    def sized(self, nodes: int) -> Product:
        """Return the product with every factor sized."""
        return Product([f.sized(nodes) for f in self.factors])

    def identity(self) -> Element:
        """Return the neutral element of all factors."""
        return replace(reduce(compose, (f.identity() for f in self.factors)), label="identity")

    def components(self) -> tuple[str, ...]:
        """Return every combination of components of the factors."""
        return tuple(", ".join(names) for names in itertools.product(*(f.components() for f in self.factors)))

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a product of independent random elements."""
        self.require(component)
        combinations = itertools.product(*(f.components() for f in self.factors))
        names = next(names for names in combinations if ", ".join(names) == component)
        drawn = [f.sample(name, generator, scale) for f, name in zip(self.factors, names, strict=True)]
        return replace(reduce(compose, drawn), label=component)

    def draw(self, trials: int, generator: Generator, scale: float = 1.0) -> list[Element]:
        """Return random elements of every component, then every element of each small finite factor once."""
        found = super().draw(trials, generator, scale)
        for k, factor in enumerate(self.factors):
            for g in factor.elements() or []:
                drawn: list[Element] = []
                for j, f in enumerate(self.factors):
                    name = f.components()[len(found) % len(f.components())]
                    drawn.append(g if j == k else f.sample(name, generator, scale))
                label = ", ".join(e.label for e in drawn)
                found.append(replace(reduce(compose, drawn), label=label))
        return found

    def special(self, generator: Generator) -> list[Element]:
        """Return the special elements of each factor in turn, the other factors at the identity."""
        e, found = self.identity(), dict[str, Element]()
        for f in self.factors:
            for g in f.special(generator):
                label = g.label if g.label not in found or g.label == "identity" else f"{g.label} of {f.name}"
                if label not in found:
                    found[label] = replace(compose(e, g), label=label)
        identities = [g for g in found.values() if g.label == "identity"]
        return [*identities, *(g for g in found.values() if g.label != "identity")]

    def generators(self) -> list[Flow]:
        """Return the flows of all factors."""
        return [flow for f in self.factors for flow in f.generators()]

    def discrete(self, generator: Generator) -> list[Element]:
        """Return the discrete generators of all factors."""
        e = self.identity()
        return [replace(compose(e, g), label=g.label) for f in self.factors for g in f.discrete(generator)]
