r"""Two groups on one axis: :math:`g_1 \otimes g_2` acts on :math:`\mathbb R^{n_1 n_2}`."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element, Flow
from geomlib.errors import InvalidInput

__all__ = ["Kronecker"]


class Kronecker(Group):
    r"""A product of two groups whose elements act on one axis of length :math:`n_1 n_2` by :math:`g_1 \otimes g_2`.

    It is written ``"Kron(S_3, O(2))"``. Index (i, a) of the two factors is number :math:`i n_2 + a` of the axis.

    Args:
        first: a group of matrices, or of permutations that has its size.
        second: likewise.

    Raises:
        InvalidInput: a factor with translations, or without a size.

    >>> from geomlib.algebra.groups import parse_group
    >>> parse_group("Kron(S_3, O(2))").identity().linear.shape
    torch.Size([6, 6])
    """

    def __init__(self, first: Group, second: Group):
        self.factors = (first, second)
        self.name = f"Kron({_written(first)}, {_written(second)})"
        sizes = [len(_matrix(g.identity(), g)) for g in self.factors]
        for g in self.factors:
            if any(bool(flow.shift.any()) for flow in g.generators()):
                raise InvalidInput(
                    f"group {self.name!r}: {g.name} has translations, which do not act on an axis. Use its linear part, "
                    "O(n) for E(n)."
                )
        self.sizes = (sizes[0], sizes[1])

    def components(self) -> tuple[str, ...]:
        """Return every pair of components of the factors."""
        return tuple(", ".join(names) for names in itertools.product(*(g.components() for g in self.factors)))

    def identity(self) -> Element:
        """Return the identity in n1 n2 dimensions."""
        return Element(torch.eye(self.sizes[0] * self.sizes[1], dtype=torch.float64), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return the Kronecker product of independent random elements."""
        self.require(component)
        pairs = itertools.product(*(g.components() for g in self.factors))
        names = next(p for p in pairs if ", ".join(p) == component)
        drawn = [g.sample(name, generator, scale) for g, name in zip(self.factors, names, strict=True)]
        return self._joined(drawn[0], drawn[1], component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the special elements of one factor after the other, the other factor at the identity."""
        found = {"identity": self.identity()}
        for g, label in self._lifted(lambda g: g.special(generator)):
            found.setdefault(label, g)
        return list(found.values())

    def generators(self) -> list[Flow]:
        """Return the flows of both factors."""
        flows: list[Flow] = []
        for k, group in enumerate(self.factors):
            for flow in group.generators():
                one = torch.eye(self.sizes[1 - k], dtype=torch.float64)
                x = torch.kron(flow.linear, one) if k == 0 else torch.kron(one, flow.linear)
                flows.append(Flow(f"{flow.name} of factor {k}", x))
        return flows

    def discrete(self, generator: Generator) -> list[Element]:
        """Return the discrete generators of both factors."""
        return [g for g, _ in self._lifted(lambda g: g.discrete(generator))]

    def _lifted(self, of: Callable[[Group], list[Element]]) -> list[tuple[Element, str]]:
        one, two = (g.identity() for g in self.factors)
        found: list[tuple[Element, str]] = []
        for k, group in enumerate(self.factors):
            for g in of(group):
                label = g.label if g.label == "identity" else f"{g.label} of factor {k}"
                found.append((self._joined(g, two, label) if k == 0 else self._joined(one, g, label), label))
        return found

    def _joined(self, g: Element, h: Element, label: str) -> Element:
        a, b = _matrix(g, self.factors[0]), _matrix(h, self.factors[1])
        return Element(torch.kron(a, b), label=label)


def _matrix(g: Element, group: Group) -> Tensor:
    """Return the matrix of an element; node k goes to row nodes[k]."""
    if g.dim:
        return g.linear
    if g.nodes is None:
        raise InvalidInput(
            f"Kron: {group.name} has no size. Write S_3 or A_3, or give a group of matrices such as 'O(3)'."
        )
    return torch.eye(len(g.nodes), dtype=torch.float64)[:, g.nodes]


def _written(group: Group) -> str:
    size = getattr(group, "size", None)
    return f"{group.name[:2]}{size}" if group.name in ("S_n", "A_n") and size is not None else group.name
