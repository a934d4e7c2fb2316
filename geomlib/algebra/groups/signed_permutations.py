r"""Signed permutations B(n): matrices with one entry :math:`\pm 1` in every row and column."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import ENUMERATED, Group
from geomlib.algebra.groups.element import Element
from geomlib.errors import InvalidInput

__all__ = ["SignedPermutations"]


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


class SignedPermutations(Group):
    """The hyperoctahedral group of n axes: it permutes and flips them; ``proper`` and ``improper`` are its components.

    Args:
        n: dimension of space.

    Raises:
        InvalidInput: n below 1.

    >>> SignedPermutations(3).order, len(SignedPermutations(3).elements())
    (48, 48)
    """

    def __init__(self, n: int):
        if n < 1:
            raise InvalidInput(f"group 'B({n})': the number of axes must be positive. Write B(3).")
        self.n, self.name = n, f"B({n})"

    @property
    def order(self) -> int:
        """Number of elements, 2^n n!."""
        return 2**self.n * math.factorial(self.n)

    def components(self) -> tuple[str, ...]:
        """Return ``proper`` and ``improper``."""
        return ("proper", "improper")

    def identity(self) -> Element:
        """Return the identity in n dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a uniformly distributed element of the asked determinant."""
        del scale
        self.require(component)
        order = torch.randperm(self.n, generator=generator)
        signs = 2.0 * torch.randint(2, (self.n,), generator=generator).double() - 1.0
        a = _eye(self.n)[order] * signs[:, None]
        if (float(torch.linalg.det(a)) > 0) != (component == "proper"):
            a[0] = -a[0]
        return Element(a, label=component)

    def elements(self) -> list[Element] | None:
        """Return every element, unless there are more than 48."""
        if self.order > ENUMERATED:
            return None
        found: list[Element] = []
        for order in itertools.permutations(range(self.n)):
            for signs in itertools.product((1.0, -1.0), repeat=self.n):
                a = _eye(self.n)[list(order)] * torch.tensor(signs, dtype=torch.float64)[:, None]
                found.append(Element(a, label="proper" if float(torch.linalg.det(a)) > 0 else "improper"))
        return found

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, the inversion, a mirror, an exchange of axes, a quarter turn, the cycle of all axes."""
        del generator
        n, mirror = self.n, _eye(self.n)
        mirror[0, 0] = -1.0
        found = {"identity": _eye(n), "mirror of axis 0": mirror}
        if n > 1:
            swap = _eye(n)[[1, 0, *range(2, n)]]
            found |= {"inversion": -_eye(n), "exchange of two axes": swap, "quarter turn": mirror @ swap}
        if n > 2:
            found["cycle of the axes"] = _eye(n).roll(1, 0)
        return [Element(a, label=label) for label, a in found.items()]

    def discrete(self, generator: Generator) -> list[Element]:
        """Return a mirror, an exchange of two axes and the cycle of all."""
        names = ("mirror of axis 0", "exchange of two axes", "cycle of the axes")
        return [g for g in self.special(generator) if g.label in names]
