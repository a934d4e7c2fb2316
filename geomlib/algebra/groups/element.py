r"""Elements of groups, and one-parameter subgroups.

>>> import torch
>>> quarter = Flow("Rz", torch.tensor([[0.0, -1.0], [1.0, 0.0]]))(torch.pi / 2)
>>> quarter.linear.round(decimals=6) + 0.0
tensor([[ 0., -1.],
        [ 1.,  0.]], dtype=torch.float64)
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from geomlib.errors import InvalidInput

__all__ = ["Element", "Flow", "compose", "contragredient", "inverse", "polished"]

#: Largest entry of Q^T Q - 1 of a matrix that counts as orthogonal.
ORTHOGONAL = 1e-10


def _no_matrix() -> Tensor:
    return torch.zeros(0, 0, dtype=torch.float64)


def _no_vector() -> Tensor:
    return torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Element:
    """One transformation, all parts in float64.

    Args:
        linear: (n, n) matrix A acting on vectors; (0, 0) for the identity in every dimension, the linear part of
            a permutation.
        shift: (n,) translation t acting on points after A; zero when left out.
        nodes: (N,) permutation, node k becomes node ``nodes[k]``; ``None`` leaves the order alone.
        edges: (E,) reordering of the edges in the same convention.
        label: where it comes from, for reports.
        others: matrices of further factors of a product, told apart by their dimension.
        versor: (k, n) vectors whose Clifford product is the versor of a Pin element.
    """

    linear: Tensor = field(default_factory=_no_matrix)
    shift: Tensor = field(default_factory=_no_vector)
    nodes: Tensor | None = None
    edges: Tensor | None = None
    label: str = ""
    others: tuple[Tensor, ...] = ()
    versor: Tensor | None = None

    def __post_init__(self) -> None:
        if self.linear.shape[0] and not self.shift.numel():
            object.__setattr__(self, "shift", torch.zeros(self.linear.shape[0], dtype=torch.float64))

    @property
    def dim(self) -> int:
        """Dimension n of the linear part; 0 where there is none."""
        return self.linear.shape[0]

    @property
    def det(self) -> float:
        """Sign of the determinant of the linear part."""
        return math.copysign(1.0, float(torch.linalg.det(self.linear))) if self.dim else 1.0

    @property
    def condition(self) -> float:
        r"""Condition number :math:`\kappa` of the linear part; 1 for orthogonal ones."""
        return float(torch.linalg.cond(self.linear)) if self.dim else 1.0

    @property
    def orthogonal(self) -> bool:
        """Whether the linear part is orthogonal."""
        a = self.linear.detach()
        return (
            bool((a.mT @ a - torch.eye(self.dim, dtype=a.dtype)).abs().amax() <= ORTHOGONAL)
            if self.dim
            else True
        )

    def on(self, n: int) -> Tensor:
        """Return the matrix that acts on n dimensions; the identity for an element without a linear part.

        Raises:
            InvalidInput: the element acts on other dimensions only.
        """
        for a in (self.linear, *self.others):
            if a.shape[0] == n:
                return a
        if not self.dim:
            return torch.eye(n, dtype=torch.float64)
        found = ", ".join(str(a.shape[0]) for a in (self.linear, *self.others))
        raise InvalidInput(
            f"a type of dimension {n} meets a group that acts on dimension {found}. "
            "Change the type or the group; a product 'G*H' may hold one factor per dimension."
        )


def _after(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a[b]


def _matrix(g: Element, n: int) -> Tensor | None:
    return next((a for a in (g.linear, *g.others) if a.shape[0] == n), None)


def _shift(g: Element, h: Element, n: int) -> Tensor:
    """Return the shift of a product in the n dimensions of its linear part."""
    a, zero = _matrix(g, n), torch.zeros(n, dtype=torch.float64)
    first, second = (e.shift if e.shift.numel() == n else zero for e in (g, h))
    return first + (second if a is None else a @ second)


def compose(g: Element, h: Element) -> Element:
    """Return the element that applies ``h`` first and then ``g``."""
    sizes = dict.fromkeys(a.shape[0] for e in (g, h) for a in (e.linear, *e.others) if a.shape[0])
    blocks: list[Tensor] = []
    for n in sizes:
        a, b = _matrix(g, n), _matrix(h, n)
        blocks.append(a if b is None else b if a is None else a @ b)  # pyright: ignore[reportArgumentType]
    versor = (
        h.versor if g.versor is None else g.versor if h.versor is None else torch.cat([g.versor, h.versor])
    )
    return Element(
        blocks[0] if blocks else _no_matrix(),
        _shift(g, h, blocks[0].shape[0] if blocks else 0),
        _after(g.nodes, h.nodes),
        _after(g.edges, h.edges),
        label=f"{g.label} after {h.label}",
        others=tuple(blocks[1:]),
        versor=versor,
    )


def _inverted(a: Tensor) -> Tensor:
    eye = torch.eye(a.shape[0], dtype=a.dtype)
    if forward_ad.unpack_dual(a).tangent is not None:  # the direction need not be that of a rotation
        return torch.linalg.inv(a)
    # The transpose is exact where the matrix is orthogonal to round-off.
    close = a.shape[0] == 0 or float((a.detach().mT @ a.detach() - eye).abs().amax()) <= 2.0**-48
    return a.mT if close else torch.linalg.inv(a)


def inverse(g: Element) -> Element:
    """Return the element that undoes ``g``."""
    linear, others = _inverted(g.linear), tuple(_inverted(a) for a in g.others)
    nodes, edges = (None if p is None else torch.argsort(p) for p in (g.nodes, g.edges))
    undone = Element(linear, nodes=nodes, edges=edges, label=f"inverse of {g.label}", others=others)
    a = _matrix(undone, g.shift.numel())
    shift = -(g.shift if a is None else a @ g.shift)
    return replace(undone, shift=shift, versor=None if g.versor is None else g.versor.flip(0))


def contragredient(g: Element) -> Element:
    r"""Return the element with :math:`A^{-\top}` for A and no shift: how gradients of vectors transform."""
    linear, *others = (_inverted(a).mT for a in (g.linear, *g.others))
    return replace(g, linear=linear, shift=torch.zeros_like(g.shift), others=tuple(others), versor=None)


def polished(a: Tensor, form: Tensor | None = None) -> Tensor:
    r"""Return the matrix nearest to ``a`` with :math:`A^\top F A = F`, rounded once.

    Newton's iteration :math:`A \leftarrow A\,(3 - F^{-1} A^\top F A)/2` in extended precision. A matrix off by a
    few units of round-off acts as a scaling, which a check would blame on its target.

    Args:
        a: (n, n) matrix that keeps the form to about 1e-6.
        form: (n, n) metric F, invertible; the identity for orthogonal matrices.
    """
    b = a.numpy().astype(np.longdouble)
    eye = np.eye(len(b), dtype=np.longdouble)
    f = eye if form is None else form.numpy().astype(np.longdouble)
    # All forms in use are signed permutation matrices: the transpose is the inverse.
    for _ in range(2):
        b = 0.5 * b @ (3.0 * eye - f.T @ b.T @ f @ b)
    return torch.from_numpy(b.astype(np.float64))


@dataclass(frozen=True, eq=False)
class Flow:
    r"""A one-parameter subgroup :math:`t \mapsto \exp(tX)`, named after what it does: ``Rx``, ``Ty``, ``K03``.

    Args:
        name: for reports.
        linear: (n, n) tangent X of the linear part.
        shift: (n,) velocity of the translation; zero when left out.
    """

    name: str
    linear: Tensor = field(default_factory=_no_matrix)
    shift: Tensor = field(default_factory=_no_vector)

    def __call__(self, t: float) -> Element:
        r"""Return :math:`\exp(tX)`, from the exponential of the homogeneous matrix."""
        n = self.linear.shape[0]
        x = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        x[:n, :n] = self.linear
        if self.shift.numel():
            x[:n, n] = self.shift
        e = torch.linalg.matrix_exp(t * x)
        return Element(e[:n, :n].clone(), e[:n, n].clone(), label=f"exp({t:g} {self.name})")
