r"""Exterior powers: compound matrices, the action on multivectors, alternating values on simplices.

Blades and subsets are in short-lexicographic order: by size, then lexicographic.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from geomlib.algebra.groups import Element, metric
from geomlib.algebra.representations.base import Representation
from geomlib.errors import InvalidInput

__all__ = ["Cochains", "Multivectors", "NodeAxes", "compound", "permute"]


Indices: TypeAlias = "NDArray[np.int64]"


class _Minors(NamedTuple):
    """Index tables of the expansion of the minors of size j along their first row."""

    first: Indices  # (C,) first row of each subset
    rest: Indices  # (C,) number of the subset without its first entry, among those of size j - 1
    column: Indices  # (j, C) b-th column of each subset
    dropped: Indices  # (j, C) number of the subset without its b-th entry


@lru_cache(maxsize=256)
def _tables(n: int, j: int) -> _Minors:
    subsets = list(combinations(range(n), j))
    smaller = {s: k for k, s in enumerate(combinations(range(n), j - 1))}
    return _Minors(
        np.array([s[0] for s in subsets]),
        np.array([smaller[s[1:]] for s in subsets]),
        np.array(subsets).T,
        np.array([[smaller[s[:b] + s[b + 1 :]] for s in subsets] for b in range(j)]),
    )


def _minors(a: Any, j: int) -> Any:
    """Return all minors of size j of a tensor or an array."""
    n, found = a.shape[-1], a
    for size in range(2, j + 1):
        t = _tables(n, size)
        rows, below = a[..., t.first, :], found[..., t.rest, :]
        terms = ((-1.0) ** b * rows[..., t.column[b]] * below[..., t.dropped[b]] for b in range(size))
        found = cast(Any, sum(terms))
    return found


def compound(a: Tensor, j: int) -> Tensor:  # (..., n, n) -> (..., C(n, j), C(n, j))
    r"""Return the j-th compound matrix, all minors of size j: :math:`\Lambda^j(A)`.

    Minors are expanded along their first row from those one smaller, a polynomial without division; in extended
    precision and rounded once, unless a derivative is being taken.

    >>> compound(torch.diag(torch.tensor([2.0, 3.0, 5.0])), 2).diagonal()
    tensor([ 6., 10., 15.])
    """
    n = a.shape[-1]
    if j == 0 or n == 0:
        return a.new_ones(*a.shape[:-2], 1, 1)
    if a.requires_grad or forward_ad.unpack_dual(a).tangent is not None:
        return _minors(a, j)
    wide = a.detach().cpu().numpy().astype(np.longdouble)
    return torch.from_numpy(_minors(wide, j).astype(np.float64)).to(a)


class Multivectors(Representation):
    r"""``mv(p,q,r)``: the j-th compound matrix of the matrix on vectors acts on grade j.

    For a Pin element this is the twisted adjoint action. An element of E(n) acts on ``mv(n,0,1)``, the projective
    algebra, through :math:`\begin{pmatrix} 1 & -t^\top Q\\ 0 & Q\end{pmatrix}` on planes
    :math:`n_i e_i - d\, e_0`.

    Args:
        p: number of generators that square to 1.
        q: number of generators that square to -1.
        r: number of null generators, which come first.
        grades: grades held, all when empty.
        dual: whether the inverse transpose acts: gradients.
    """

    def __init__(self, p: int, q: int, r: int, grades: tuple[int, ...] = (), *, dual: bool = False):
        self.p, self.q, self.r, self.n, self.is_dual = p, q, r, p + q + r, dual
        self.grades = grades or tuple(range(self.n + 1))
        self.eta = metric(p, q, r)
        subsets = [len(list(combinations(range(self.n), j))) for j in self.grades]
        self.sizes = subsets

    def matrix(self, g: Element) -> Tensor:
        """Return the block diagonal matrix of the compounds."""
        m = self._vectors(g)
        return torch.block_diag(*(compound(m, j) for j in self.grades))

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the multivectors in the last axis of ``x``, moved."""
        m = self._vectors(g)
        pieces = torch.split(x, self.sizes, -1)
        moved = [
            piece @ compound(m, j).to(x).mT if j else piece
            for j, piece in zip(self.grades, pieces, strict=True)
        ]
        return torch.cat(moved, -1)

    def dual(self) -> Representation:
        """Return the representation by inverse transposes."""
        return Multivectors(self.p, self.q, self.r, self.grades, dual=not self.is_dual)

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return the number of blades."""
        del g
        return (sum(self.sizes),)

    def _vectors(self, g: Element) -> Tensor:
        m = self._embedded(g)
        a = m.detach()
        kept = (a.mT @ self.eta @ a - self.eta).abs().amax() <= 1e-6 * max(1.0, float(a.abs().amax()) ** 2)
        radical = torch.equal(a[:, : self.r], torch.eye(self.n, dtype=a.dtype)[:, : self.r])
        if not bool(kept) or not radical:
            name = f"mv({self.p},{self.q},{self.r})"
            named = [f"Pin({self.p},{self.q},{self.r})"]
            named += [f"O({self.p},{self.q})"] if not self.r else []
            named += [f"E({self.p})"] if self.r == 1 and not self.q else []
            raise InvalidInput(
                f"type {name!r} needs a group that keeps its metric and fixes its null directions: "
                f"{' or '.join(named)}."
            )
        return torch.linalg.inv(m).mT if self.is_dual else m

    def _embedded(self, g: Element) -> Tensor:
        n = self.n
        known = any(a.shape[0] == n for a in (g.linear, *g.others))
        if known or self.r != 1 or self.q or g.dim != n - 1:
            return g.on(n)
        q = g.linear
        top = torch.cat([torch.ones(1, 1, dtype=q.dtype), -(g.shift @ q)[None]], 1)
        return torch.cat([top, torch.cat([torch.zeros(n - 1, 1, dtype=q.dtype), q], 1)])


def permute(x: Tensor, order: Tensor, axis: int) -> Tensor:
    """Return ``x`` with row k moved to row ``order[k]`` of ``axis``."""
    return x.index_select(axis, torch.argsort(order).to(x.device))


class NodeAxes(Representation):
    """``perm(k)``: a permutation of the nodes on k axes.

    Args:
        order: k.
        first: whether the first k axes are meant, with channels after them, instead of the last k.
    """

    by_nodes = True

    def __init__(self, order: int, *, first: bool = False):
        self.order, self.first = order, first

    def matrix(self, g: Element) -> Tensor:
        """Return the Kronecker power of the permutation matrix; 1 x 1 without a permutation."""
        p = torch.ones(1, 1, dtype=torch.float64)
        if g.nodes is not None:
            one = torch.eye(len(g.nodes), dtype=torch.float64)[:, g.nodes]
            for _ in range(self.order):
                p = torch.kron(p, one)
        return p

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with the nodes of k axes in their new order."""
        for axis in range(self.order) if self.first else range(-self.order, 0):
            x = x if g.nodes is None else permute(x, g.nodes, axis)
        return x

    def dual(self) -> Representation:
        """Return this representation: its matrices are orthogonal."""
        return self

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return N, k times."""
        return (None if g.nodes is None else len(g.nodes),) * self.order


class Cochains(Representation):
    """``simplex(k)`` on floats: alternating values on all sets of k + 1 nodes, the exterior power of the nodes.

    Args:
        order: k.
        first: whether the first axis counts the simplices instead of the last.
    """

    by_nodes = True

    def __init__(self, order: int, *, first: bool = False):
        self.order, self.first = order, first

    def matrix(self, g: Element) -> Tensor:
        """Return the signed permutation of the simplices; 1 x 1 without a permutation."""
        if g.nodes is None:
            return torch.ones(1, 1, dtype=torch.float64)
        to, sign = self._moved(g.nodes)
        m = torch.zeros(len(to), len(to), dtype=torch.float64)
        m[to, torch.arange(len(to))] = sign
        return m

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with the simplices in their new order and orientation."""
        if g.nodes is None:
            return x
        to, sign = self._moved(g.nodes)
        moved = torch.movedim(x, 0, -1) if self.first else x
        moved = permute(moved * sign.to(x), to, -1)
        return torch.movedim(moved, -1, 0) if self.first else moved

    def dual(self) -> Representation:
        """Return this representation: its matrices are orthogonal."""
        return self

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return the number of sets of k + 1 nodes."""
        return (None if g.nodes is None else len(list(combinations(range(len(g.nodes)), self.order + 1))),)

    def _moved(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each simplex goes, and whether its orientation flips."""
        p: list[int] = nodes.tolist()
        subsets = list(combinations(range(len(p)), self.order + 1))
        number = {s: k for k, s in enumerate(subsets)}
        images = [[p[k] for k in s] for s in subsets]
        swaps = [sum(a > b for a, b in combinations(image, 2)) for image in images]
        to = torch.tensor([number[tuple(sorted(image))] for image in images], dtype=torch.long)
        return to, torch.tensor([-1.0 if s % 2 else 1.0 for s in swaps], dtype=torch.float64)
