r"""Irreducible representations of O(3), in float64 directly from the entries of the matrix.

By the recursion of :mod:`geomlib.algebra.irreps.wigner`. Improper elements enter through the parity,
:math:`\rho(Q) = \det(Q)^{[p = -1]} D^l(\det(Q)\,Q)`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from geomlib.algebra.groups import Element
from geomlib.algebra.irreps.irreps import MulIrrep
from geomlib.algebra.irreps.wigner import coupling, stretched, wigner_matrices
from geomlib.algebra.representations.base import Representation
from geomlib.algebra.types import MAX_L
from geomlib.errors import InvalidInput

__all__ = ["Irreps", "coupling", "irrep_matrix", "symmetric_traceless_basis", "wigner_matrices"]

Real: TypeAlias = "NDArray[np.longdouble]"


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


@lru_cache(maxsize=512)
def _exact(entries: bytes, degree: int) -> tuple[Tensor, ...]:
    """Return the same matrices for one rotation, by the same recursion in extended precision, rounded once.

    A matrix off by a few units of round-off acts as a scaling, which a check would blame on its target.
    """
    q = np.frombuffer(entries).reshape(3, 3)
    r = q.astype(np.longdouble)
    found: list[Real] = [np.ones((1, 1), dtype=np.longdouble), r]
    for n in range(1, degree):
        c = stretched(n)
        half = (found[-1] @ c.transpose(0, 2, 1).reshape(-1, 2 * n + 1).T).reshape(2 * n + 1, -1, 3) @ r.T
        d = c.reshape(len(c), -1) @ half.transpose(0, 2, 1).reshape(-1, len(c))
        # The rotation is orthogonal to round-off only; one Newton step makes the representation so.
        eye = np.eye(len(c), dtype=np.longdouble)
        found.append((0.5 * d @ (3.0 * eye - d.T @ d)).astype(np.longdouble))
    return tuple(torch.from_numpy(d.astype(np.float64)) for d in found)


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


def _all_degrees(degree: int, r: Tensor) -> Sequence[Tensor]:
    """Return the matrices of one rotation, exact unless a derivative is being taken."""
    if r.requires_grad or forward_ad.unpack_dual(r).tangent is not None:
        return wigner_matrices(degree, r)
    return _exact(r.detach().to(device="cpu", dtype=torch.float64).numpy().tobytes(), max(degree, 1))


def irrep_matrix(degree: int, parity: int, q: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 2l+1, 2l+1)
    r"""Return :math:`\rho(Q)` of one irrep, correctly rounded to about :math:`10^{-16}`.

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
    turns = (sign * q).reshape(-1, 3, 3)
    d = torch.stack([_all_degrees(degree, r)[degree] for r in turns])
    d = d.reshape(*q.shape[:-2], *d.shape[-2:])
    return d if parity == 1 else sign * d


class Irreps(Representation):
    """Direct sum of irreps on one axis: irreps strings on the last, ``cartesian`` on the next to last."""

    def __init__(self, blocks: tuple[MulIrrep, ...], axis: int = -1):
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
        found = _all_degrees(max((b.l for b in self.blocks), default=0), sign * q)
        return {(b.l, b.p): found[b.l] if b.p == 1 else sign * found[b.l] for b in self.blocks}
