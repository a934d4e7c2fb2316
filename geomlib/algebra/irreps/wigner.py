r"""Wigner matrices without Euler angles or quaternions, which lose digits near the identity and at half turns.

The solid harmonics of degree l + 1 are the stretched coupling of those of degree l with the vector, through an isometry
:math:`C_l` of exact Clebsch-Gordan coefficients, so

.. math:: D^{l+1}(R) = C_l^\top \left(D^l(R) \otimes R\right) C_l, \qquad D^1(R) = R .

The order of components is e3nn's: l = 1 is (x, y, z).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["aligning_rotation", "coupling", "stretched", "wigner_D", "wigner_matrices"]

Real: TypeAlias = "NDArray[np.longdouble]"
Complex: TypeAlias = "NDArray[np.clongdouble]"


def wigner_D(l: int, R: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 2l+1, 2l+1)  # noqa: N802 - as the field writes it
    r"""Return the Wigner matrices of rotations, in the basis of real spherical harmonics.

    .. math:: Y_l(R x) = D^l(R)\, Y_l(x), \qquad D^l(R)\, D^l(S) = D^l(R S)

    Polynomials in the entries of the matrix: differentiable with respect to ``R`` to any order, also at the identity and
    at half turns. :meth:`geomlib.algebra.irreps.Irreps.D` takes reflections, too.

    **Group** SO(3). **Shapes** ``R`` (..., 3, 3) to (..., 2l+1, 2l+1), of the type of ``R``.

    Args:
        l: degree.
        R: rotation matrices.

    Raises:
        InvalidInput: a negative degree, a wrong shape, matrices that are no rotations.

    >>> quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    >>> bool(torch.allclose(wigner_D(2, quarter) @ wigner_D(2, quarter), wigner_D(2, quarter @ quarter)))
    True
    """
    if l < 0:
        raise InvalidInput(f"wigner_D: degree {l} must not be negative.")
    if R.shape[-2:] != (3, 3) or not R.is_floating_point():
        raise InvalidInput(
            f"wigner_D: expected matrices (..., 3, 3), got {R.dtype} of shape {tuple(R.shape)}."
        )
    given = R.detach()
    bad = (given.mT @ given - torch.eye(3, dtype=R.dtype, device=R.device)).abs().amax((-2, -1))
    proper = (bad < max(1e-6, 100 * torch.finfo(R.dtype).eps)) & (torch.linalg.det(given) > 0)
    if not bool(proper.all()):
        raise InvalidInput(
            f"wigner_D: matrix {int((~proper).flatten().nonzero()[0])} is not a rotation. For reflections use "
            "Irrep('1o').D(R) or Irreps('8x0e+4x1o').D(R); for rounded input, orthogonalise it first."
        )
    return wigner_matrices(l, R)[l]


def _real_from_complex(degree: int) -> Complex:  # (2l+1, 2l+1)
    """Return the unitary matrix from complex to real spherical harmonics, both in the order m = -l..l."""
    u = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=np.clongdouble)
    u[degree, degree] = 1.0
    root = np.sqrt(np.longdouble(0.5))
    for m in range(1, degree + 1):
        sign = -1.0 if m % 2 else 1.0
        plus, minus = degree + m, degree - m
        u[plus, plus], u[plus, minus] = sign * root, root
        u[minus, plus], u[minus, minus] = -1j * sign * root, 1j * root
    return u


@functools.cache
def stretched(degree: int) -> Real:  # (2l+3, 2l+1, 3)
    r"""Return the isometry of :math:`l \otimes 1 \to l + 1` in the real basis, in extended precision.

    From :math:`\langle l, M; 1, 0 | l+1, M\rangle = \sqrt{(l-M+1)(l+M+1) / ((2l+1)(l+1))}` and
    :math:`\langle l, M \mp 1; 1, \pm 1 | l+1, M\rangle = \sqrt{(l \pm M)(l \pm M + 1) / ((2l+1)(2l+2))}`.
    """
    n = degree
    c = np.zeros((2 * n + 3, 2 * n + 1, 3), dtype=np.clongdouble)
    for m in range(-n - 1, n + 2):
        squares = {
            -1: ((n - m) * (n - m + 1), (2 * n + 1) * (2 * n + 2)),
            0: ((n - m + 1) * (n + m + 1), (2 * n + 1) * (n + 1)),
            1: ((n + m) * (n + m + 1), (2 * n + 1) * (2 * n + 2)),
        }
        for s, (above, below) in squares.items():
            if abs(m - s) <= n:
                c[m + n + 1, m - s + n, s + 1] = np.sqrt(np.longdouble(above) / below)
    u, v, w = (_real_from_complex(k) for k in (n + 1, n, 1))
    return np.einsum("NM,Mas,ba,is->Nbi", u, c, v.conj(), w.conj(), optimize=True).real.astype(np.longdouble)


def coupling(degree: int) -> Tensor:  # (2l+3, 2l+1, 3)
    r"""Return the isometry of :math:`l \otimes 1 \to l + 1` in the real basis, l at least 1."""
    return torch.from_numpy(stretched(degree).astype(np.float64))


def wigner_matrices(
    degree: int, r: Tensor, couplings: Sequence[Tensor] | None = None
) -> list[Tensor]:  # (..., 3, 3) -> (..., 2l+1, 2l+1) for l = 0..degree
    r"""Return :math:`D^0(R), \ldots, D^l(R)`, differentiable and in batches, to about :math:`l \cdot 10^{-15}`.

    Args:
        degree: highest l.
        r: rotations.
        couplings: those of degrees 1 to l - 1, where they are at hand, as in a module that is compiled.
    """
    found = [torch.ones_like(r[..., :1, :1]), r]
    for n in range(1, degree):
        c = (coupling(n) if couplings is None else couplings[n - 1]).to(r)
        half = torch.einsum("...ab,Nbj->...aNj", found[-1], c)
        half = torch.einsum("...aNj,...ij->...aNi", half, r)
        found.append(torch.einsum("Mai,...aNi->...MN", c, half))
    return found[: degree + 1]


def aligning_rotation(direction: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    r"""Return rotations that take unit vectors to the polar axis y.

    The second row is the vector; the first is the coordinate axis farthest from it, made orthogonal. No direction is
    special: the freedom of a turn about y is used to stay away from divisions by small numbers. Where the farthest axis
    changes, so does that turn, which nothing that commutes with turns about y can notice.

    **Group** SO(2) acts on the choice. **Shapes** (..., 3) to (..., 3, 3).

    Args:
        direction: unit vectors.

    >>> up = torch.tensor([0.0, 1.0, 0.0])
    >>> (aligning_rotation(up) @ up).tolist()
    [0.0, 1.0, 0.0]
    """
    nearest = direction.detach().abs().argmin(-1, keepdim=True)
    axis = torch.zeros_like(direction).scatter(-1, nearest, 1.0)
    first = axis - (axis * direction).sum(-1, keepdim=True) * direction
    first = first / torch.linalg.vector_norm(first, dim=-1, keepdim=True)
    return torch.stack([first, direction, torch.linalg.cross(first, direction)], dim=-2)
