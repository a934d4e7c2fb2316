r"""Symmetric matrices as vectors: the upper triangle, isometric where off-diagonal entries are multiplied by √2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.errors import InvalidInput

__all__ = ["from_triangle", "triangle", "triangle_size", "unvech", "vech"]


def _rows_columns(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(n, n, device=device).unbind()
    return rows, columns


def triangle(A: Tensor) -> Tensor:  # (..., n, n) -> (..., n(n+1)/2)
    r"""Return the entries :math:`A_{ij}` with :math:`i \le j`, row by row.

    **Shapes** ``A`` (..., n, n) to (..., n(n+1)/2).

    >>> triangle(torch.arange(9.0).view(3, 3))
    tensor([0., 1., 2., 4., 5., 8.])
    """
    n = A.shape[-1]
    rows, columns = _rows_columns(n, A.device)
    return A.flatten(-2).index_select(-1, rows * n + columns)


def triangle_size(entries: int, name: str = "v") -> int:
    """Return n of a triangle of n(n+1)/2 entries.

    Raises:
        InvalidInput: there is no such n.

    >>> triangle_size(6)
    3
    """
    n = (math.isqrt(8 * entries + 1) - 1) // 2
    if n * (n + 1) // 2 != entries:
        near = (n * (n + 1) // 2, (n + 1) * (n + 2) // 2)
        raise InvalidInput(
            f"`{name}` has {entries} entries, but the triangle of an n x n matrix has n(n+1)/2: {near[0]} for n = {n}, "
            f"{near[1]} for n = {n + 1}."
        )
    return n


def from_triangle(v: Tensor) -> Tensor:  # (..., n(n+1)/2) -> (..., n, n)
    r"""Return the symmetric matrix with this upper triangle.

    **Shapes** ``v`` (..., n(n+1)/2) to (..., n, n).

    Raises:
        InvalidInput: a number of entries that no triangle has.

    >>> from_triangle(torch.tensor([0.0, 1.0, 2.0]))
    tensor([[0., 1.],
            [1., 2.]])
    """
    n = triangle_size(v.shape[-1])
    i = torch.arange(n, device=v.device)
    low, high = torch.minimum(i[:, None], i), torch.maximum(i[:, None], i)
    where = torch.div(low * (2 * n - 1 - low), 2, rounding_mode="floor") + high
    return v.index_select(-1, where.flatten()).reshape(*v.shape[:-1], n, n)


def _scaled(v: Tensor, n: int, factor: float) -> Tensor:
    rows, columns = _rows_columns(n, v.device)
    one: Tensor = torch.ones(rows.shape, dtype=v.dtype, device=v.device)
    return v * one.masked_fill(rows != columns, factor)


def vech(A: Tensor, *, symmetric: bool = False) -> Tensor:  # (..., n, n) -> (..., n(n+1)/2)
    r"""Return a symmetric matrix as a vector of the same norm.

    .. math:: v = (A_{11}, \sqrt2 A_{12}, \dots, A_{22}, \dots), \qquad \langle v(A), v(B)\rangle = \operatorname{tr} AB

    The matrix is symmetrised first, and so is its gradient. Where both is done elsewhere, as by spectral functions,
    ``symmetric=True`` saves the work.

    **Shapes** ``A`` (..., n, n) to (..., n(n+1)/2).

    Args:
        A: symmetric matrices.
        symmetric: take the upper triangle as it is.

    >>> vech(torch.ones(2, 2, dtype=torch.float64)).square().sum()
    tensor(4., dtype=torch.float64)
    """
    return _scaled(triangle(A if symmetric else symmetrize(A)), A.shape[-1], math.sqrt(2.0))


def unvech(v: Tensor) -> Tensor:  # (..., n(n+1)/2) -> (..., n, n)
    r"""Return the symmetric matrix of a vector, the inverse of :func:`vech`.

    **Shapes** ``v`` (..., n(n+1)/2) to (..., n, n).

    Raises:
        InvalidInput: a number of entries that no triangle has.

    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> torch.allclose(unvech(vech(A)), A)
    True
    """
    return from_triangle(_scaled(v, triangle_size(v.shape[-1]), math.sqrt(0.5)))
