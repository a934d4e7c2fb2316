r"""Cartesian rank-2 tensors and their irreducible parts.

A 3x3 matrix is the sum of three parts that a rotation never mixes,

.. math:: X = \tfrac{\mathrm{tr} X}{3}\,\mathbb 1 + \tfrac12 (X - X^\top) + S,

with 1, 3 and 5 components. geomlib stores features *compactly*: nine rows, ``0 | 1..3 | 4..8``, which are the
coefficients in an orthonormal basis of matrices. Row norms therefore add up to the Frobenius norm, and the rows
are the irreps ``0e + 1o + 2e`` in e3nn's order (the vector of the antisymmetric part is *polar*: in TensorNet it is
built from bond directions, so under an improper Q it goes to ``det(Q) Q A Q^T``).

Source: Simeon and De Fabritiis, *TensorNet*, arXiv 2306.06482.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "PART_SLICES",
    "compose",
    "cross_matrix",
    "decompose",
    "directions",
    "norm2",
    "orthonormal_basis",
    "part_norms2",
    "parts",
]

#: Rows of the scalar, antisymmetric and symmetric traceless parts of a compact tensor.
PART_SLICES = (slice(0, 1), slice(1, 4), slice(4, 9))

_R2 = math.sqrt(0.5)
_R3 = math.sqrt(1.0 / 3.0)
_Q = math.sqrt(2.0 / 3.0)


def orthonormal_basis(
    *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Tensor:  # (9, 3, 3)
    r"""Return the nine matrices :math:`E_k` of the compact basis, :math:`\langle E_k, E_l\rangle = \delta_{kl}`.

    >>> basis = orthonormal_basis()
    >>> torch.allclose(torch.einsum("kij,lij->kl", basis, basis), torch.eye(9, dtype=torch.float64))
    True
    """
    e = torch.zeros(9, 3, 3, dtype=torch.float64)
    e[0] = torch.eye(3, dtype=torch.float64) * _R3
    for row, (i, j) in enumerate([(2, 1), (0, 2), (1, 0)], start=1):
        e[row, i, j], e[row, j, i] = _R2, -_R2
    for row, (i, j) in zip((4, 5, 7), [(0, 2), (0, 1), (1, 2)], strict=True):
        e[row, i, j] = e[row, j, i] = _R2
    e[6] = torch.diag(torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)) / math.sqrt(6.0)
    e[8] = torch.diag(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)) * _R2
    return e.to(dtype=dtype, device=device)


def compose(x: Tensor) -> Tensor:  # (..., 9, C) -> (..., C, 3, 3)
    r"""Return the matrices :math:`X = \sum_k x_k E_k` of compact features.

    Shapes: ``x`` (..., 9, C) to (..., C, 3, 3).
    """
    x0, x1, x2, x3, x4, x5, x6, x7, x8 = x.unbind(-2)
    i, yy, d = _R3 * x0, _Q * x6, _R2 * x8
    rows = [
        i - 0.5 * yy - d, _R2 * (x5 - x3), _R2 * (x4 + x2),
        _R2 * (x5 + x3), i + yy, _R2 * (x7 - x1),
        _R2 * (x4 - x2), _R2 * (x7 + x1), i - 0.5 * yy + d,
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*x.shape[:-2], x.shape[-1], 3, 3)


def decompose(matrices: Tensor) -> Tensor:  # (..., C, 3, 3) -> (..., 9, C)
    r"""Return the compact coefficients :math:`x_k = \langle E_k, X\rangle`; the inverse of :func:`compose`.

    Shapes: ``matrices`` (..., C, 3, 3) to (..., 9, C).

    >>> X = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    >>> torch.allclose(compose(decompose(X)), X)
    True
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrices.flatten(-2).unbind(-1)
    trace = m00 + m11 + m22
    rows = [
        _R3 * trace,
        _R2 * (m21 - m12), _R2 * (m02 - m20), _R2 * (m10 - m01),
        _R2 * (m02 + m20), _R2 * (m01 + m10), math.sqrt(1.5) * (m11 - trace / 3.0), _R2 * (m12 + m21),
        _R2 * (m22 - m00),
    ]  # fmt: skip
    return torch.stack(rows, -2)


def parts(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the parts :math:`I = \mathrm{tr}X/3`, :math:`A = (X - X^\top)/2` and :math:`S = (X + X^\top)/2 - I\,\mathbb 1`.

    Shapes: ``matrices`` (..., 3, 3) to (...), (..., 3, 3), (..., 3, 3).
    """
    scalar = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)
    transposed = matrices.transpose(-1, -2)
    identity = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    return (
        scalar,
        0.5 * (matrices - transposed),
        0.5 * (matrices + transposed) - scalar[..., None, None] * identity,
    )


def cross_matrix(v: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    r"""Return :math:`[v]_\times`, the matrix with :math:`[v]_\times w = v \times w`.

    >>> cross_matrix(torch.tensor([1.0, 2.0, 3.0])) @ torch.tensor([0.0, 1.0, 0.0])
    tensor([-3.,  0.,  1.])
    """
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


def norm2(matrices: Tensor) -> Tensor:
    r"""Return the squared Frobenius norm :math:`\|X\|^2 = \sum_{ab} X_{ab}^2` of (..., 3, 3) matrices."""
    return matrices.square().sum((-1, -2))


def part_norms2(x: Tensor) -> Tensor:  # (..., 9, C) -> (..., 3, C)
    r"""Return :math:`(3I^2, \|A\|^2, \|S\|^2)` of compact features; their sum is :math:`\|X\|^2`.

    Shapes: ``x`` (..., 9, C) to (..., 3, C).
    """
    square = x.square()
    return torch.stack([square[..., s, :].sum(-2) for s in PART_SLICES], -2)


def directions(u: Tensor) -> Tensor:  # (..., 3) -> (..., 9)
    r"""Return the compact rows of :math:`\mathbb 1`, :math:`[u]_\times` and :math:`uu^\top - |u|^2\mathbb 1/3`.

    These are the three tensors a bond direction gives (arXiv 2306.06482).

    Shapes: ``u`` (..., 3) to (..., 9).
    """
    x, y, z = u.unbind(-1)
    one = torch.full_like(x, math.sqrt(3.0))
    r2 = math.sqrt(2.0)
    third = (x * x + y * y + z * z) / 3.0
    rows = [one, r2 * x, r2 * y, r2 * z, r2 * x * z, r2 * x * y, math.sqrt(1.5) * (y * y - third), r2 * y * z]
    return torch.stack([*rows, _R2 * (z * z - x * x)], -1)
