r"""Spherical tensors as Cartesian ones: degree l is a symmetric traceless tensor of rank l."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps.wigner import stretched
from geomlib.errors import InvalidInput

__all__ = ["from_spherical", "spherical_basis", "to_spherical"]

#: Rank 10 has 59,049 entries per basis tensor.
_MAX_RANK = 9


@lru_cache(maxsize=16)
def _basis(l: int) -> Tensor:
    if not 0 <= l <= _MAX_RANK:
        raise InvalidInput(f"spherical_basis: degree {l} is not in 0..{_MAX_RANK}.")
    if l == 0:
        return torch.ones(1, dtype=torch.float64)
    found = np.eye(3, dtype=np.longdouble)
    for k in range(1, l):
        found = np.tensordot(stretched(k), found.reshape(2 * k + 1, -1), ([1], [0]))  # (2k+3, 3, 3^k)
        found = found.reshape(2 * k + 3, -1)
    return torch.from_numpy(found.astype(np.float64)).reshape(2 * l + 1, *[3] * l)


def spherical_basis(
    l: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Tensor:  # (2l+1, 3, ..., 3)
    """Return the orthonormal symmetric traceless tensors of rank l, in e3nn's order of the irrep of degree l.

    Args:
        l: degree, at most 9.
        dtype: of the result; the numbers are made in extended precision.
        device: of the result.

    Raises:
        InvalidInput: another degree.

    >>> b = spherical_basis(3).flatten(1)
    >>> torch.allclose(b @ b.T, torch.eye(7, dtype=torch.float64), atol=1e-15)
    True
    """
    return _basis(l).to(dtype=dtype, device=device)


def from_spherical(x: Tensor) -> Tensor:  # (..., 2l+1) -> (..., 3, ..., 3)
    """Return the Cartesian form of spherical tensors, whose degree is read from the last axis.

    Raises:
        InvalidInput: a last axis of even length.

    >>> from_spherical(torch.randn(4, 5)).shape
    torch.Size([4, 3, 3])
    """
    if x.dim() == 0 or x.shape[-1] % 2 == 0:
        raise InvalidInput(f"from_spherical: shape {tuple(x.shape)}, expected a last axis of length 2l + 1.")
    return torch.tensordot(x, spherical_basis(x.shape[-1] // 2, dtype=x.dtype, device=x.device), 1)


def to_spherical(x: Tensor, l: int) -> Tensor:  # (..., 3, ..., 3) -> (..., 2l+1)
    """Return the spherical form of Cartesian tensors of rank l: of any others, that of their part of degree l.

    Raises:
        InvalidInput: not l axes of length 3.

    >>> x = torch.randn(7, dtype=torch.float64)
    >>> torch.allclose(to_spherical(from_spherical(x), 3), x)
    True
    """
    basis = spherical_basis(l, dtype=x.dtype, device=x.device)
    if tuple(x.shape[x.dim() - l :]) != (3,) * l or x.dim() < l:
        raise InvalidInput(f"to_spherical: shape {tuple(x.shape)}, expected {l} last axes of length 3.")
    return torch.tensordot(x, basis.movedim(0, -1), l)
