r"""Representations: how an element of a group acts on a tensor of a given type.

All matrices are made in float64 directly from the entries of Q, never through Euler angles or quaternions,
which lose eight digits near the identity. Improper elements enter through the parity,
:math:`\rho(Q) = \det(Q)^{[p = -1]} D^l(\det(Q)\, Q)`.

A representation is checked when it is first used or registered: :math:`\rho(e) = 1`,
:math:`\rho(gh) = \rho(g)\rho(h)` and :math:`\rho(g^{-1})\rho(g) = 1` to 1e-12.

>>> import torch
>>> from geomlib.algebra.groups import Element, rotation
>>> turn = Element(rotation(torch.tensor([0.0, 0.0, 1.0]), torch.pi / 2), torch.zeros(3, dtype=torch.float64))
>>> act("vector", turn, torch.tensor([[1.0, 0.0, 0.0]])).round(decimals=6) + 0.0
tensor([[0., 1., 0.]])
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache, reduce

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Euclidean, compose, inverse
from geomlib.algebra.symmetry import Irrep, TensorType, parse_type
from geomlib.errors import InvalidInput

__all__ = [
    "Representation",
    "act",
    "check_representation",
    "irrep_matrix",
    "matrix",
    "register_representation",
    "representation",
    "symmetric_traceless_basis",
]

#: Round-off allowed to the three laws of a representation.
TOLERANCE = 1e-12


@lru_cache(maxsize=1)
def symmetric_traceless_basis() -> Tensor:  # (5, 3, 3)
    r"""Return the orthonormal symmetric traceless matrices in e3nn's order of l = 2.

    The coefficients of S are
    :math:`\sqrt2 S_{xz}, \sqrt2 S_{xy}, \sqrt{3/2}\,S_{yy}, \sqrt2 S_{yz}, (S_{zz} - S_{xx})/\sqrt2`.
    """
    basis = torch.zeros(5, 3, 3, dtype=torch.float64)
    x, y, z = 0, 1, 2
    for row, (i, j) in {0: (x, z), 1: (x, y), 3: (y, z)}.items():
        basis[row, i, j] = basis[row, j, i] = math.sqrt(0.5)
    basis[2] = torch.diag(torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64) / math.sqrt(6.0))
    basis[4] = torch.diag(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) / math.sqrt(2.0))
    return basis


def irrep_matrix(degree: int, parity: int, q: Tensor) -> Tensor:  # (3, 3) -> (2l+1, 2l+1)
    r"""Return :math:`\rho(Q)` of one irrep, l <= 2.

    :math:`D^1(R) = R` in the order (x, y, z), and :math:`D^2(R)_{kl} = \langle E_k, R E_l R^\top\rangle` with
    the basis of `symmetric_traceless_basis`.

    Args:
        degree: l.
        parity: +1 (even) or -1 (odd).
        q: orthogonal matrix, float64.

    Raises:
        InvalidInput: l above 2.
    """
    sign = math.copysign(1.0, float(torch.linalg.det(q)))
    if degree == 0:
        d = torch.ones(1, 1, dtype=torch.float64)
    elif degree == 1:
        d = sign * q
    elif degree == 2:
        e = symmetric_traceless_basis()
        d = torch.einsum("kij,ia,lab,jb->kl", e, q, e, q)
    else:
        raise InvalidInput(f"irrep_matrix: degree {degree} is above 2, the highest known here.")
    return d if parity == 1 else sign * d


class Representation(ABC):
    """Action of the linear and translational part of an element on tensors of one type."""

    @abstractmethod
    def matrix(self, g: Element) -> Tensor:
        """Return the float64 matrix of ``g``; points use homogeneous coordinates (n + 1, n + 1)."""

    @abstractmethod
    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``g`` acting on ``x``."""

    def dual(self) -> Representation:
        """Return the representation of gradients with respect to ``x``; the same for orthogonal ones."""
        return self


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


class Sign(Representation):
    """Multiplication by det(Q): ``pseudoscalar``."""

    def matrix(self, g: Element) -> Tensor:
        """Return the 1x1 matrix det(Q)."""
        return torch.full((1, 1), g.det, dtype=torch.float64)

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``det(Q) x``."""
        return g.det * x


class Linear(Representation):
    """Q, or det(Q) Q, on one axis: ``vector``, ``pseudovector``, ``cell``."""

    def __init__(self, *, pseudo: bool = False):
        self.pseudo = pseudo

    def matrix(self, g: Element) -> Tensor:
        """Return Q or det(Q) Q."""
        return g.det * g.linear if self.pseudo else g.linear

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the vectors in the last axis of ``x``, turned."""
        return x @ self.matrix(g).to(x).mT


class Affine(Representation):
    """Q x + t: ``point``."""

    def matrix(self, g: Element) -> Tensor:
        """Return [[Q, t], [0, 1]]."""
        n = g.shift.numel()
        m = torch.eye(n + 1, dtype=torch.float64)
        m[:n, :n], m[:n, n] = g.linear, g.shift
        return m

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return the points in the last axis of ``x``, turned and shifted."""
        return x @ g.linear.to(x).mT + g.shift.to(x)

    def dual(self) -> Representation:
        """Return vectors: a gradient with respect to positions does not shift."""
        return Linear()


class TensorPower(Representation):
    """Q on each of the last k axes: ``tensor(k)``, ``sym2``."""

    def __init__(self, order: int):
        self.order = order

    def matrix(self, g: Element) -> Tensor:
        """Return the k-fold Kronecker power of Q."""
        return reduce(torch.kron, [g.linear] * self.order, torch.ones(1, 1, dtype=torch.float64))

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with every tensor axis turned."""
        q = g.linear.to(x)
        for axis in range(-self.order, 0):
            x = torch.movedim(torch.movedim(x, axis, -1) @ q.mT, -1, axis)
        return x


class Irreps(Representation):
    """Direct sum of irreps on one axis: irreps strings on the last, ``cartesian`` on the next to last."""

    def __init__(self, blocks: tuple[Irrep, ...], axis: int = -1):
        self.blocks, self.axis = blocks, axis

    def matrix(self, g: Element) -> Tensor:
        """Return the block diagonal matrix."""
        return torch.block_diag(
            *(irrep_matrix(b.l, b.p, g.linear) for b in self.blocks for _ in range(b.mul))
        )

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with each block turned, multiplicities outermost."""
        moved = torch.movedim(x, self.axis, -1)
        pieces = torch.split(moved, [b.dim for b in self.blocks], -1)
        turned = [
            (p.unflatten(-1, (b.mul, 2 * b.l + 1)) @ irrep_matrix(b.l, b.p, g.linear).to(x).mT).flatten(-2)
            for b, p in zip(self.blocks, pieces, strict=True)
            if b.mul
        ]
        return torch.movedim(torch.cat(turned, -1), -1, self.axis) if turned else x


#: The compact Cartesian tensor; its antisymmetric part is a polar vector.
_CARTESIAN = (Irrep(1, 0, 1), Irrep(1, 1, -1), Irrep(1, 2, 1))

_KINDS: dict[str, Callable[[TensorType], Representation]] = {
    "point": lambda _: Affine(),
    "vector": lambda _: Linear(),
    "cell": lambda _: Linear(),
    "pseudovector": lambda _: Linear(pseudo=True),
    "scalar": lambda _: Trivial(),
    "inv": lambda _: Trivial(),
    "index": lambda _: Trivial(),
    "pseudoscalar": lambda _: Sign(),
    "tensor": lambda t: TensorPower(t.order),
    "sym2": lambda _: TensorPower(2),
    "cartesian": lambda _: Irreps(_CARTESIAN, axis=-2),
    "irreps": lambda t: Irreps(t.irreps),
}


def check_representation(rho: Callable[[Element], Tensor], *, seed: int = 0, trials: int = 2) -> float:
    """Return the largest violation of the three laws of a representation over random elements of E(3).

    Args:
        rho: gives the matrix of an element.
        seed: seed of the random elements.
        trials: pairs drawn from each pair of components.
    """
    generator = Generator().manual_seed(seed)
    group = Euclidean("E(3)", signs=(1, -1), translations=True)
    e = rho(group.identity())
    one = torch.eye(e.shape[0], dtype=torch.float64)
    worst = float((e - one).abs().amax())
    for _ in range(trials):
        for a in group.components():
            for b in group.components():
                g, h = group.sample(a, generator), group.sample(b, generator)
                product = rho(compose(g, h)) - rho(g) @ rho(h)
                undone = rho(inverse(g)) @ rho(g) - one
                worst = max(worst, float(product.abs().amax()), float(undone.abs().amax()))
    return worst


def _certified(name: str, rho: Representation) -> Representation:
    error = check_representation(rho.matrix)
    if not error <= TOLERANCE:
        raise InvalidInput(
            f"representation {name!r} is not one: rho(e) = 1, rho(gh) = rho(g) rho(h), rho(g^-1) rho(g) = 1 "
            f"fail by {error:.1e}, allowed {TOLERANCE:.0e}. Check the order of factors and the parity."
        )
    return rho


@lru_cache(maxsize=256)
def _build(type_: TensorType) -> Representation:
    rho = _KINDS[type_.kind](type_)
    if isinstance(rho, Irreps):  # the laws hold block by block: check one copy of each
        _certified(str(type_), Irreps(tuple(Irrep(1, b.l, b.p) for b in dict.fromkeys(rho.blocks))))
    elif not (isinstance(rho, TensorPower) and rho.order > 4):
        _certified(str(type_), rho)
    return rho


def representation(type_: TensorType | str) -> Representation:
    """Return the certified representation of a type."""
    parsed = parse_type(type_) if isinstance(type_, str) else type_
    return _build(TensorType(parsed.kind, None, parsed.order, parsed.irreps))


def register_representation(kind: str, build: Callable[[TensorType], Representation]) -> None:
    """Replace or add the representation behind a kind, after checking that it is one.

    Args:
        kind: name of the kind.
        build: gives the representation of a parsed type.

    Raises:
        InvalidInput: the laws of a representation do not hold to 1e-12.
    """
    _certified(kind, build(TensorType(kind, None, order=2, irreps=_CARTESIAN)))
    _KINDS[kind] = build
    _build.cache_clear()


def matrix(type_: TensorType | str, g: Element) -> Tensor:
    """Return the float64 matrix by which ``g`` acts on a type; points use homogeneous coordinates.

    >>> from geomlib.algebra.groups import parse_group
    >>> matrix("8x0e+4x1o", parse_group("O(3)").identity()).shape
    torch.Size([20, 20])
    """
    return representation(type_).matrix(g)


def act(type_: TensorType | str, g: Element, x: Tensor, *, name: str = "x") -> Tensor:
    """Return ``g`` acting on ``x``: the representation on its axis, permutations on rows and node numbers.

    Args:
        type_: how ``x`` transforms.
        g: the element.
        x: tensor of that type.
        name: name of the argument, for errors and for the scope it implies.

    Raises:
        InvalidInput: ``x`` has not the axis that the type needs, or a node number outside the permutation.
    """
    t = (parse_type(type_) if isinstance(type_, str) else type_).named(name)
    _check_shape(t, g, x, name)
    if t.moves and x.is_floating_point():
        x = representation(t).apply(g, x)
    if t.scope == "node" and g.nodes is not None:
        x = permute(x, g.nodes, 0, name)
    elif t.scope == "edge" and t.kind == "index":
        x = _relabel(x, g, name)
    elif t.scope == "edge" and g.edges is not None:
        x = permute(x, g.edges, 0, name)
    return x


def permute(x: Tensor, order: Tensor, axis: int, name: str = "x") -> Tensor:
    """Return ``x`` with row k moved to row ``order[k]`` of ``axis``."""
    if x.dim() == 0 or x.shape[axis] != order.numel():
        raise InvalidInput(
            f"`{name}` of shape {tuple(x.shape)} is typed as one row per node or edge, but the permutation "
            f"has {order.numel()} entries. Check its scope."
        )
    return x.index_select(axis, torch.argsort(order).to(x.device))


def _relabel(x: Tensor, g: Element, name: str) -> Tensor:
    if g.nodes is not None and x.numel():
        if int(x.min()) < 0 or int(x.max()) >= g.nodes.numel():
            raise InvalidInput(
                f"`{name}` is typed `index` but holds {int(x.min())}..{int(x.max())}, "
                f"not node numbers 0..{g.nodes.numel() - 1}."
            )
        x = g.nodes.to(x.device)[x]
    return x if g.edges is None else permute(x, g.edges, -1, name)


def _check_shape(t: TensorType, g: Element, x: Tensor, name: str) -> None:
    n = g.linear.shape[0]
    axes = {"tensor": t.order, "sym2": 2, "cell": 2, "cartesian": 2, "scalar": 0, "pseudoscalar": 0}.get(
        t.kind, 1
    )
    if not t.moves or axes == 0:
        return
    want = t.dim if t.kind in ("irreps", "cartesian") else n
    where = x.shape[-2:-1] if t.kind == "cartesian" else x.shape[-axes:]
    if x.dim() < axes or any(size != want for size in where):
        found = where[0] if x.dim() >= axes and len(where) else None
        raise InvalidInput(
            f"`{name}` has shape {tuple(x.shape)}, but type {str(t)!r} acts on axes of "
            f"length {want}, found {found}. Did you drop a channel or name the wrong type?"
        )
