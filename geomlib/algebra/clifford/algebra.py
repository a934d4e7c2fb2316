"""The Clifford algebra of a diagonal metric, as pure functions on tensors (..., 2^n)."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford import motors, versors
from geomlib.algebra.clifford.blades import (
    blade_masks,
    blade_names,
    complement_signs,
    grades_of,
    signs_of,
    xor_indices,
)
from geomlib.algebra.clifford.matrices import MatrixRep, matrix_rep
from geomlib.algebra.clifford.products import bilinear, check_multivectors
from geomlib.algebra.clifford.spaces import GradeSpace
from geomlib.errors import InvalidInput

__all__ = ["MAX_GENERATORS", "CliffordAlgebra"]

MAX_GENERATORS = 10


class CliffordAlgebra:
    r"""Cl(p,q,r): generators with :math:`e_i^2 \in \{1, -1, 0\}` that anticommute.

    Multivectors are tensors (..., 2^n) whose blades are ordered by grade, then lexicographically. Null generators come first,
    then positive, then negative ones; ``metric`` keeps the order in which it is given. dtype and device follow the input.

    Args:
        p: number of generators that square to 1.
        q: number of generators that square to -1.
        r: number of generators that square to 0.
        metric: the squares themselves, instead of p, q and r.

    Raises:
        InvalidInput: no generators or more than ten, or squares other than -1, 0 and 1.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(3)
    >>> e1, e2 = alg.blade("e1"), alg.blade("e2")
    >>> alg.blade_names[int(alg.gp(e1, e2).argmax())]
    'e12'
    """

    def __init__(self, p: int | None = None, q: int = 0, r: int = 0, *, metric: Sequence[int] | None = None):
        if (p is None) == (metric is None):
            raise InvalidInput("CliffordAlgebra: give p, q, r or metric=, such as metric=(0, 1, 1, 1).")
        if metric is None:
            if p is None or min(p, q, r) < 0:
                raise InvalidInput(f"CliffordAlgebra: p, q and r count generators, got {p}, {q}, {r}.")
            metric = [0] * r + [1] * p + [-1] * q
        squares = tuple(int(m) for m in metric)
        if not 1 <= len(squares) <= MAX_GENERATORS:
            raise InvalidInput(
                f"CliffordAlgebra: {len(squares)} generators; 1 to {MAX_GENERATORS} are known."
            )
        if any(m not in (-1, 0, 1) for m in squares) or any(float(m) != int(m) for m in metric):
            raise InvalidInput(f"CliffordAlgebra: metric {tuple(metric)}: every square is -1, 0 or 1.")
        self.metric, self.n, self.size = squares, len(squares), 2 ** len(squares)
        self.p, self.q_, self.r = (squares.count(m) for m in (1, -1, 0))
        #: Triples (left grade, output grade, right grade) of products that are not zero, in order.
        self.paths = _paths(self.n, self.p + self.q_)

    @property
    def signature(self) -> tuple[int, int, int]:
        """Return p, q and r."""
        return self.p, self.q_, self.r

    @property
    def is_sorted(self) -> bool:
        """Return whether null generators come first, then positive, then negative ones."""
        return list(self.metric) == [0] * self.r + [1] * self.p + [-1] * self.q_

    @property
    def type_name(self) -> str:
        """Return the type of a multivector, ``mv(p,q,r)``.

        Raises:
            InvalidInput: the generators are not ordered null, positive, negative.
        """
        if not self.is_sorted:
            raise InvalidInput(
                f"metric {self.metric}: types order generators null, positive, negative; sort them to declare a symmetry."
            )
        return f"mv({self.p},{self.q_},{self.r})"

    @property
    def group_name(self) -> str:
        """Return the group that its versors form, ``Pin(p,q,r)``."""
        return self.type_name.replace("mv", "Pin")

    @property
    def grades(self) -> tuple[int, ...]:
        """Return the grade of every blade."""
        return tuple(grades_of(self.n).tolist())

    @property
    def grade_sizes(self) -> tuple[int, ...]:
        """Return how many blades each grade has."""
        return tuple(comb(self.n, g) for g in range(self.n + 1))

    @property
    def grade_slices(self) -> tuple[slice, ...]:
        """Return where each grade lies."""
        ends = np.cumsum(self.grade_sizes).tolist()
        return tuple(slice(b - s, b) for b, s in zip(ends, self.grade_sizes, strict=True))

    @property
    def blade_masks(self) -> tuple[int, ...]:
        """Return the generators of every blade as bits."""
        return tuple(blade_masks(self.n).tolist())

    @property
    def blade_names(self) -> tuple[str, ...]:
        """Return the names of the blades; a single null generator in front is e0."""
        return blade_names(self.n, 0 if self.metric[0] == 0 and self.r == 1 else 1)

    @property
    def cayley(self) -> np.ndarray[Any, Any]:  # (2^n, 2^n)
        """Return the sign of the product of a left and a right blade."""
        return signs_of(self.metric)

    def blade(self, name: str, like: Tensor | None = None) -> Tensor:
        """Return a basis blade.

        Raises:
            InvalidInput: a name that this algebra does not have.
        """
        if name not in self.blade_names:
            raise InvalidInput(f"blade {name!r}: this algebra has {', '.join(self.blade_names)}.")
        found = torch.zeros(self.size) if like is None else like.new_zeros(self.size)
        found[self.blade_names.index(name)] = 1
        return found

    # Products

    def gp(self, x: Tensor, y: Tensor, *, method: str = "auto") -> Tensor:
        """Return the geometric product, by the ``"dense"`` Cayley tensor, its ``"table"``, or real matrices (``"matrix"``)."""
        return bilinear(self.metric, "gp", x, y, method)

    def wedge(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the exterior product, grade j + k of the products of grades j and k."""
        return bilinear(self.metric, "wedge", x, y)

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Return grade abs(j - k) of the products of grades j and k."""
        return bilinear(self.metric, "inner", x, y)

    def left_contraction(self, x: Tensor, y: Tensor) -> Tensor:
        """Return grade k - j of the products of grades j and k."""
        return bilinear(self.metric, "left_contraction", x, y)

    def right_contraction(self, x: Tensor, y: Tensor) -> Tensor:
        """Return grade j - k of the products of grades j and k."""
        return bilinear(self.metric, "right_contraction", x, y)

    def regressive(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the product that joins where the wedge meets: undual(dual(x) ^ dual(y)); needs no metric."""
        return self.undual(self.wedge(self.dual(x), self.dual(y)))

    def scalar_product(self, x: Tensor, y: Tensor) -> Tensor:  # (..., 1)
        """Return the scalar part of the geometric product."""
        return (x * self._diagonal("square", x) * y).sum(-1, keepdim=True)

    # Involutions and duals

    def involute(self, x: Tensor) -> Tensor:
        """Return the grade involution, (-1)^g."""
        return x * self._diagonal("involute", x)

    def reverse(self, x: Tensor) -> Tensor:
        """Return the reversion, (-1)^{g (g - 1) / 2}."""
        return x * self._diagonal("reverse", x)

    def conjugate(self, x: Tensor) -> Tensor:
        """Return the Clifford conjugation, (-1)^{g (g + 1) / 2}."""
        return x * self._diagonal("conjugate", x)

    def dual(self, x: Tensor) -> Tensor:
        """Return the complement, which needs no metric: e_A times its complement, by the wedge, is e_{1...n}."""
        return (x * self._diagonal("complement", x))[..., self._opposite(x)]

    def undual(self, x: Tensor) -> Tensor:
        """Return the inverse of :meth:`dual`."""
        return x[..., self._opposite(x)] * self._diagonal("complement", x)

    # Forms and norms

    def b(self, x: Tensor, y: Tensor) -> Tensor:  # (..., 1)
        """Return the extended bilinear form, the scalar part of ~x y."""
        check_multivectors("b", self.size, x, y)
        return (x * self._diagonal("form", x) * y).sum(-1, keepdim=True)

    def q(self, x: Tensor) -> Tensor:  # (..., 1)
        """Return the extended quadratic form, the scalar part of ~x x."""
        return self.b(x, x)

    def qs(self, x: Tensor) -> Tensor:  # (..., n + 1)
        """Return the quadratic form of every grade."""
        check_multivectors("qs", self.size, x)
        parts = (x * x * self._diagonal("form", x)).split(self.grade_sizes, -1)
        return torch.stack([p.sum(-1) for p in parts], -1)

    def norm(self, x: Tensor) -> Tensor:  # (..., 1)
        """Return ``(q^2 + 1e-16)^(1/4)``, a length with finite derivatives everywhere."""
        return versors.smooth_root(self.q(versors.bounded(x)))

    def grade_norms(self, x: Tensor) -> Tensor:  # (..., n + 1)
        """Return the smooth length of every grade."""
        return versors.smooth_root(self.qs(versors.bounded(x)))

    def normalize(self, x: Tensor) -> Tensor:
        """Return x divided by its smooth length."""
        return x / self.norm(x)

    # Matrices

    def matrix_rep(self) -> MatrixRep:
        """Return the faithful representation by real matrices of the method ``"matrix"``."""
        return matrix_rep(self.metric)

    def to_matrix(self, x: Tensor) -> Tensor:  # (..., blocks, N, N)
        """Return real matrices that multiply as the multivectors do, in ``matrix_rep().shape``."""
        check_multivectors("to_matrix", self.size, x)
        return self.matrix_rep().to_matrix(x)

    def from_matrix(self, matrix: Tensor) -> Tensor:  # (..., 2^n)
        """Return the inverse of :meth:`to_matrix`.

        Raises:
            InvalidInput: matrices of another shape.
        """
        return self.matrix_rep().from_matrix(matrix)

    # Versors

    def sandwich(self, w: Tensor, x: Tensor) -> Tensor:
        """Return w x ~w."""
        return self.gp(self.gp(w, x), self.reverse(w))

    def versor_inverse(self, w: Tensor) -> Tensor:
        """Return ~w / q(w), the inverse of a versor."""
        return self.reverse(w) / self.q(w)

    def versor_action(self, w: Tensor, x: Tensor, parity: int | None = None) -> Tensor:
        """Return w alpha^k(x) w^-1, the twisted adjoint action of a product of k vectors.

        Args:
            w: the versor.
            x: multivectors.
            parity: k modulo 2; the larger of the odd and even parts of w by default.
        """
        return versors.versor_action(self, w, x, parity)

    def inverse(self, x: Tensor) -> Tensor:
        """Return the inverse of any invertible multivector.

        Raises:
            InvalidInput: one of them has none.
        """
        return versors.inverse(self, x)

    def orthogonal_action(self, matrix: Tensor) -> Tensor:  # (..., n, n) -> (..., 2^n, 2^n)
        """Return how a linear map of vectors acts on multivectors: its compound matrices, grade by grade."""
        return versors.orthogonal_action(self, matrix)

    def exp(self, x: Tensor) -> Tensor:
        """Return the exponential of bivectors; see :func:`geomlib.algebra.clifford.motors.exp`."""
        return motors.exp(self, x)

    def log(self, x: Tensor) -> Tensor:
        """Return the bivector whose exponential is a rotor or motor; see :func:`geomlib.algebra.clifford.motors.log`."""
        return motors.log(self, x)

    def project_unit(self, x: Tensor) -> Tensor:
        """Return the even multivector scaled so that x ~x = 1; see :func:`geomlib.algebra.clifford.motors.project_unit`."""
        return motors.project_unit(self, x)

    # Storage

    def space(self, grades: Sequence[int]) -> GradeSpace:
        """Return the storage of some grades only."""
        return GradeSpace(self, tuple(grades))

    def indices(
        self, grade: int | Sequence[int] | None = None, blades: Sequence[str] | None = None
    ) -> list[int]:
        """Return the numbers of the blades of some grades, or of the named ones.

        Raises:
            InvalidInput: both or neither are given, or unknown ones.
        """
        if (grade is None) == (blades is None):
            raise InvalidInput("give either grade= or blades=.")
        if blades is not None:
            names = self.blade_names
            unknown = [b for b in blades if b not in names]
            if unknown:
                raise InvalidInput(f"unknown blades {unknown}: this algebra has {', '.join(names)}.")
            return [names.index(b) for b in blades]
        wanted = [grade] if isinstance(grade, int) else list(grade or ())
        if any(not 0 <= g <= self.n for g in wanted):
            raise InvalidInput(f"grade {wanted}: this algebra has grades 0..{self.n}.")
        return [k for k, g in enumerate(self.grades) if g in wanted]

    def embed(
        self, x: Tensor, grade: int | Sequence[int] | None = None, *, blades: Sequence[str] | None = None
    ) -> Tensor:
        """Return multivectors whose given blades are the last axis of ``x``, and zero elsewhere.

        Raises:
            InvalidInput: the last axis has another length.
        """
        where = self.indices(grade, blades)
        if x.dim() < 1 or x.shape[-1] != len(where):
            raise InvalidInput(f"embed: {len(where)} blades were asked for, `x` has shape {tuple(x.shape)}.")
        out = x.new_zeros(*x.shape[:-1], self.size)
        return out.index_copy(-1, torch.tensor(where, device=x.device), x)

    def extract(
        self, x: Tensor, grade: int | Sequence[int] | None = None, *, blades: Sequence[str] | None = None
    ) -> Tensor:
        """Return some blades."""
        check_multivectors("extract", self.size, x)
        return x[..., self.indices(grade, blades)]

    def _diagonal(self, name: str, like: Tensor) -> Tensor:
        return _diagonal_on(self.metric, name, like.device).to(like.dtype)

    def _opposite(self, like: Tensor) -> Tensor:
        return _opposite_on(self.n, like.device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CliffordAlgebra) and self.metric == other.metric

    def __hash__(self) -> int:
        return hash((CliffordAlgebra, self.metric))

    def __repr__(self) -> str:
        return (
            f"CliffordAlgebra({self.p}, {self.q_}, {self.r})"
            if self.is_sorted
            else f"CliffordAlgebra(metric={self.metric})"
        )


def _paths(n: int, squares: int) -> tuple[tuple[int, int, int], ...]:
    """Blades of grades i and k that share m generators, none of them null, multiply to grade i + k - 2 m."""
    found = {
        (i, i + k - 2 * m, k)
        for i in range(n + 1)
        for k in range(n + 1)
        for m in range(min(i, k, squares) + 1)
        if i + k - m <= n
    }
    return tuple(sorted(found))


@lru_cache(maxsize=256)
def _diagonal_on(metric: tuple[int, ...], name: str, device: torch.device) -> Tensor:
    g = grades_of(len(metric))
    square = np.diagonal(signs_of(metric))
    values = {
        "involute": 1 - 2 * (g % 2),
        "reverse": 1 - 2 * (g * (g - 1) // 2 % 2),
        "conjugate": 1 - 2 * (g * (g + 1) // 2 % 2),
        "square": square,
        "form": square * (1 - 2 * (g * (g - 1) // 2 % 2)),
        "complement": complement_signs(len(metric)),
    }[name]
    with torch.inference_mode(False):
        return torch.from_numpy(values.astype(np.float64)).to(device)


@lru_cache(maxsize=64)
def _opposite_on(n: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(xor_indices(n)[:, -1].copy()).to(device)
