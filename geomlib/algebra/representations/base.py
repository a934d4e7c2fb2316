"""What every representation can do."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from geomlib.algebra.groups import Element, contragredient

__all__ = ["Contragredient", "Representation", "linear_part"]


def linear_part(g: Element) -> Tensor:
    """Return the linear part of an element, the 3 x 3 identity for one that has none."""
    return g.linear if g.dim else torch.eye(3, dtype=torch.float64)


class Representation(ABC):
    """Action of an element on tensors of one type, the permutation of rows aside."""

    #: Whether the action goes through the permutation of the nodes instead of the linear part.
    by_nodes = False

    @abstractmethod
    def matrix(self, g: Element) -> Tensor:
        """Return the float64 matrix of ``g``; points use homogeneous coordinates (n + 1, n + 1)."""

    @abstractmethod
    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``g`` acting on ``x``."""

    def dual(self) -> Representation:
        """Return the representation of gradients with respect to ``x``."""
        return Contragredient(self)

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return the lengths that the last axes of a tensor must have; ``None`` for any length."""
        del g
        return ()


class Contragredient(Representation):
    r"""A representation evaluated at :math:`A^{-\top}`: ``covector`` from ``vector``."""

    def __init__(self, inner: Representation):
        self.inner = inner

    def matrix(self, g: Element) -> Tensor:
        """Return the matrix at the contragredient element."""
        return self.inner.matrix(contragredient(g))

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the contragredient element acting on ``x``."""
        return self.inner.apply(contragredient(g), x)

    def dual(self) -> Representation:
        """Return the representation that this one is the dual of."""
        return self.inner

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return the lengths that the inner representation asks for."""
        return self.inner.shape(g)
