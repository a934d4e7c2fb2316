"""Actions of a matrix and a shift: scalars, vectors, points, tensors, positive matrices, subspaces."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.representations.base import Contragredient, Representation, linear_part
from geomlib.errors import InvalidInput

__all__ = ["Affine", "Linear", "Sign", "Subspace", "TensorPower", "Trivial"]


class Trivial(Representation):
    """Nothing moves: ``scalar``, ``inv``, ``index``."""

    def matrix(self, g: Element) -> Tensor:
        """Return the 1x1 identity."""
        del g
        return torch.ones(1, 1, dtype=torch.float64)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x``."""
        del g
        return x

    def dual(self) -> Representation:
        """Return this representation."""
        return self


class Sign(Representation):
    """Multiplication by the sign of det(A): ``pseudoscalar``."""

    def matrix(self, g: Element) -> Tensor:
        """Return the 1x1 matrix sign(det A)."""
        return torch.full((1, 1), g.det, dtype=torch.float64)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``sign(det A) x``."""
        return g.det * x

    def dual(self) -> Representation:
        """Return this representation."""
        return self


class Linear(Representation):
    """A, or sign(det A) A, on one axis: ``vector``, ``pseudovector``, ``cell``.

    Args:
        pseudo: whether the sign of the determinant is included.
        rows: whether a matrix of n rows is expected: ``cell``.
    """

    def __init__(self, *, pseudo: bool = False, rows: bool = False):
        self.pseudo, self.rows = pseudo, rows

    def matrix(self, g: Element) -> Tensor:
        """Return A or sign(det A) A."""
        a = linear_part(g)
        return g.det * a if self.pseudo else a

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the vectors in the last axis of ``x``, turned."""
        return x @ self.matrix(g).to(x).mT

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(n,)``, or ``(n, n)`` for the rows of a cell."""
        return (g.dim,) * (2 if self.rows else 1)


class Affine(Representation):
    """A x + t: ``point``."""

    def matrix(self, g: Element) -> Tensor:
        """Return [[A, t], [0, 1]]."""
        a = linear_part(g)
        n = a.shape[0]
        shift = g.shift if g.dim else torch.zeros(n, dtype=torch.float64)
        bottom = torch.eye(n + 1, dtype=torch.float64)[n:]
        return torch.cat([torch.cat([a, shift[:, None]], 1), bottom])

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the points in the last axis of ``x``, turned and shifted."""
        return x @ g.linear.to(x).mT + g.shift.to(x)

    def dual(self) -> Representation:
        """Return covectors: a gradient with respect to positions does not shift."""
        return Contragredient(Linear())

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(n,)``."""
        return (g.dim,)


class TensorPower(Representation):
    """A on each of the last k axes: ``tensor(k)``, ``sym2``, ``spd(n)``.

    Args:
        order: k.
        n: dimension, where the type states it.
    """

    def __init__(self, order: int, n: int | None = None):
        self.order, self.n = order, n

    def matrix(self, g: Element) -> Tensor:
        """Return the k-fold Kronecker power of A."""
        return reduce(torch.kron, [self._linear(g)] * self.order, torch.ones(1, 1, dtype=torch.float64))

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with every tensor axis turned."""
        a = self._linear(g).to(x)
        for axis in range(-self.order, 0):
            x = torch.movedim(torch.movedim(x, axis, -1) @ a.mT, -1, axis)
        return x

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return n, k times."""
        return (g.dim if self.n is None else self.n,) * self.order

    def _linear(self, g: Element) -> Tensor:
        return linear_part(g) if self.n is None else g.on(self.n)


class Subspace(Representation):
    r"""Subspaces of dimension p: :math:`Q P Q^\top` on projectors, :math:`Q U R^\top` on frames.

    Args:
        n: dimension of space.
        p: dimension of the subspaces. R is the factor of the group that acts on p dimensions, if it has one; where it has none
            that acts on n, frames alone turn, :math:`U R^\top`, and projectors stay.
    """

    def __init__(self, n: int, p: int):
        self.n, self.p = n, p

    def matrix(self, g: Element) -> Tensor:
        """Return the Kronecker square of Q, which acts on projectors."""
        q = self._orthogonal(g)
        return torch.kron(q, q)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return projectors (..., n, n) or frames (..., n, p), turned."""
        acting = {a.shape[0]: a for a in (*g.others, g.linear)}
        right = acting.get(self.p)
        if (
            right is not None and self.n not in acting
        ):  # the choice of a frame alone, which projectors do not see
            return x if x.shape[-1] == self.n else x @ right.to(x).mT
        q = self._orthogonal(g).to(x)
        if x.shape[-1] == self.n:
            return q @ x @ q.mT
        return q @ x if right is None else q @ x @ right.to(x).mT

    def dual(self) -> Representation:
        """Return this representation: its matrices are orthogonal."""
        return self

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(n, None)``: the last axis is n or p."""
        del g
        return (self.n, None)

    def _orthogonal(self, g: Element) -> Tensor:
        if not g.orthogonal:
            raise InvalidInput(
                f"type 'grassmann({self.n},{self.p})' needs orthogonal matrices, the group has others. "
                f"Use O({self.n}), or type the projectors as sym2."
            )
        return g.on(self.n)
