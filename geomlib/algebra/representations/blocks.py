"""Actions on channels of a series, and on matrices of several blocks of channels."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.representations.base import Representation, linear_part

__all__ = ["BlockTensor", "Columns"]


class Columns(Representation):
    """A on the axis before the last, whose columns are vectors: ``columns``."""

    def matrix(self, g: Element) -> Tensor:
        """Return A."""
        return linear_part(g)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return A x."""
        return linear_part(g).to(x) @ x

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(n, None)``: any number of columns."""
        return (g.dim, None)


class BlockTensor(Representation):
    r"""A on each of p blocks of rows and columns, :math:`(1_p \otimes A)\, X\, (1_p \otimes A)^\top`: ``blocks(p)``.

    Args:
        p: number of blocks.
    """

    def __init__(self, p: int):
        self.p = p

    def matrix(self, g: Element) -> Tensor:
        """Return the Kronecker square of 1 ⊗ A."""
        a = self._blocks(g)
        return torch.kron(a, a)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the matrix with all of its blocks turned."""
        a = self._blocks(g).to(x)
        return a @ x @ a.mT

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(p n, p n)``."""
        return (self.p * g.dim,) * 2

    def _blocks(self, g: Element) -> Tensor:
        return torch.kron(torch.eye(self.p, dtype=torch.float64), linear_part(g).contiguous())
