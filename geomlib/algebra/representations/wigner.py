r"""Irreducible representations of O(3), in float64 directly from the entries of the matrix.

The solid harmonics of degree l + 1 are the stretched coupling of those of degree l with the vector, through an isometry
:math:`C_l` of exact Clebsch-Gordan coefficients, so

.. math:: D^{l+1}(R) = C_l^\top \left(D^l(R) \otimes R\right) C_l, \qquad D^1(R) = R .

No Euler angles and no quaternions, which lose eight digits near the identity and at half turns. The order of components
is e3nn's: l = 1 is (x, y, z). Improper elements enter through the parity,
:math:`\rho(Q) = \det(Q)^{[p = -1]} D^l(\det(Q)\,Q)`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.representations.base import Representation
from geomlib.algebra.types import MAX_L, Irrep
from geomlib.errors import InvalidInput

__all__ = ["Irreps", "coupling", "irrep_matrix", "symmetric_traceless_basis", "wigner_matrices"]


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


def _real_from_complex(degree: int) -> Tensor:  # (2l+1, 2l+1)
    """Return the unitary matrix from complex to real spherical harmonics, both in the order m = -l..l."""
    u = torch.zeros(2 * degree + 1, 2 * degree + 1, dtype=torch.complex128)
    u[degree, degree] = 1.0
    root = math.sqrt(0.5)
    for m in range(1, degree + 1):
        sign = -1.0 if m % 2 else 1.0
        plus, minus = degree + m, degree - m
        u[plus, plus], u[plus, minus] = sign * root, root
        u.imag[minus, plus], u.imag[minus, minus] = -sign * root, root
    return u


@lru_cache(maxsize=MAX_L)
def coupling(degree: int) -> Tensor:  # (2l+3, 2l+1, 3)
    r"""Return the isometry of :math:`l \otimes 1 \to l + 1` in the real basis.

    From :math:`\langle l, M; 1, 0 | l+1, M\rangle = \sqrt{(l-M+1)(l+M+1) / ((2l+1)(l+1))}` and
    :math:`\langle l, M \mp 1; 1, \pm 1 | l+1, M\rangle = \sqrt{(l \pm M)(l \pm M + 1) / ((2l+1)(2l+2))}`.

    Args:
        degree: l, at least 1.
    """
    n = degree
    c = torch.zeros(2 * n + 3, 2 * n + 1, 3, dtype=torch.complex128)
    for m in range(-n - 1, n + 2):
        values = {
            -1: (n - m) * (n - m + 1) / ((2 * n + 1) * (2 * n + 2)),
            0: (n - m + 1) * (n + m + 1) / ((2 * n + 1) * (n + 1)),
            1: (n + m) * (n + m + 1) / ((2 * n + 1) * (2 * n + 2)),
        }
        for s, square in values.items():
            if abs(m - s) <= n:
                c[m + n + 1, m - s + n, s + 1] = math.sqrt(square)
    u, v, w = (_real_from_complex(k) for k in (n + 1, n, 1))
    return torch.einsum("NM,Mas,ba,is->Nbi", u, c, v.conj(), w.conj()).real.contiguous()


def wigner_matrices(
    degree: int, r: Tensor
) -> list[Tensor]:  # (..., 3, 3) -> (..., 2l+1, 2l+1) for l = 0..degree
    r"""Return :math:`D^0(R), \ldots, D^l(R)`.

    Args:
        degree: highest l.
        r: rotations, float64.
    """
    found = [torch.ones_like(r[..., :1, :1]), r]
    for n in range(1, degree):
        c = coupling(n).to(r.device)
        half = torch.einsum("...ab,Nbj->...aNj", found[-1], c)
        found.append(torch.einsum("Mai,...aNj,...ij->...MN", c, half, r))
    return found[: degree + 1]


def _checked(q: Tensor) -> Tensor:
    """Return the determinants (..., 1, 1) of orthogonal 3 x 3 matrices, and refuse any others."""
    shape, a = tuple(q.shape), q.detach()
    if shape[-2:] != (3, 3) or bool(
        (a.mT @ a - torch.eye(3, dtype=a.dtype, device=a.device)).abs().amax() > 1e-6
    ):
        what = "a matrix that is not orthogonal" if shape[-2:] == (3, 3) else f"a matrix of shape {shape}"
        raise InvalidInput(
            f"irreps belong to O(3): the group gives {what}. Use O(3), SO(3), E(3) or a point group, or the types "
            "vector, covector, tensor(k) and mv(p,q,r) for other groups."
        )
    return torch.linalg.det(a).sign()[..., None, None]


def irrep_matrix(degree: int, parity: int, q: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 2l+1, 2l+1)
    r"""Return :math:`\rho(Q)` of one irrep.

    Args:
        degree: l.
        parity: +1 (even) or -1 (odd).
        q: orthogonal matrices, float64.

    Raises:
        InvalidInput: l above `MAX_L`, or matrices that are not orthogonal.
    """
    if not 0 <= degree <= MAX_L:
        raise InvalidInput(f"irrep_matrix: degree {degree} is not in 0..{MAX_L}.")
    sign = _checked(q)
    d = wigner_matrices(degree, sign * q)[degree]
    return d if parity == 1 else sign * d


class Irreps(Representation):
    """Direct sum of irreps on one axis: irreps strings on the last, ``cartesian`` on the next to last."""

    def __init__(self, blocks: tuple[Irrep, ...], axis: int = -1):
        self.blocks, self.axis = blocks, axis

    def matrix(self, g: Element) -> Tensor:
        """Return the block diagonal matrix."""
        found = self._matrices(g)
        return torch.block_diag(*(found[b.l, b.p] for b in self.blocks for _ in range(b.mul)))

    def apply(self, g: Element, x: Tensor) -> Tensor:
        """Return ``x`` with each block turned, multiplicities outermost."""
        found = self._matrices(g)
        moved = torch.movedim(x, self.axis, -1)
        pieces = torch.split(moved, [b.dim for b in self.blocks], -1)
        turned = [
            (p.unflatten(-1, (b.mul, 2 * b.l + 1)) @ found[b.l, b.p].to(x).mT).flatten(-2)
            for b, p in zip(self.blocks, pieces, strict=True)
            if b.mul
        ]
        return torch.movedim(torch.cat(turned, -1), -1, self.axis) if turned else x

    def dual(self) -> Representation:
        """Return this representation: its matrices are orthogonal."""
        return self

    def shape(self, g: Element) -> tuple[int | None, ...]:
        """Return ``(dim,)``, followed by any number of channels for ``cartesian``."""
        del g
        dim = sum(b.dim for b in self.blocks)
        return (dim, *[None] * (-1 - self.axis))

    def _matrices(self, g: Element) -> dict[tuple[int, int], Tensor]:
        q = g.on(3) if any(a.shape[0] == 3 for a in (g.linear, *g.others)) or not g.dim else g.linear
        sign = _checked(q)
        found = wigner_matrices(max((b.l for b in self.blocks), default=0), sign * q)
        return {(b.l, b.p): found[b.l] if b.p == 1 else sign * found[b.l] for b in self.blocks}
