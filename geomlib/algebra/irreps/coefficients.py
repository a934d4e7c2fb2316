r"""Coupling coefficients of real spherical harmonics: Clebsch-Gordan, Gaunt and bracket.

All are made in float64 from integers and checked by identities in the tests; signs and order of components are e3nn's
(polar axis y, components m = -l..l, so that degree 1 is (x, y, z)).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["bracket", "bracket_constant", "gaunt_constant", "real_gaunt", "wigner_3j"]


def wigner_3j(
    l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Tensor:
    r"""Return the invariant tensor of three degrees, of unit Frobenius norm.

    .. math:: C_{ijk} = \sum_{i'j'k'} D^{l_1}_{ii'} D^{l_2}_{jj'} D^{l_3}_{kk'} C_{i'j'k'}

    Shapes: to (2 l1 + 1, 2 l2 + 1, 2 l3 + 1).

    Raises:
        InvalidInput: the degrees break the triangle inequality.

    >>> bool(torch.allclose(wigner_3j(1, 1, 0).squeeze() * 3**0.5, torch.eye(3).double()))
    True
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise InvalidInput(
            f"wigner_3j({l1}, {l2}, {l3}): degrees must be >= 0 with |l1 - l2| <= l3 <= l1 + l2."
        )
    return torch.from_numpy(_w3j(l1, l2, l3).copy()).to(dtype=dtype, device=device)


@functools.cache
def _w3j(l1: int, l2: int, l3: int) -> np.ndarray:
    q1, q2, q3 = _real_to_complex(l1), _real_to_complex(l2), _real_to_complex(l3)
    complex_tensor = np.einsum(
        "mi,nj,pk,mnp->ijk", q1, q2, q3.conj(), _clebsch_gordan(l1, l2, l3), optimize=True
    )
    tensor = complex_tensor.real
    return tensor / np.linalg.norm(tensor)


def _clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    r"""Return <l1 m1 l2 m2 | l3 m3> from binomial coefficients.

    .. math:: \sqrt{\frac{\binom{2l_1}{s}\binom{2l_2}{s}}{\binom{l_1+l_2+l_3+1}{s}\binom{2l_1}{l_1-m_1}
              \binom{2l_2}{l_2-m_2}\binom{2l_3}{l_3-m_3}}}
              \sum_k (-1)^k \binom{s}{k}\binom{l_1-l_2+l_3}{l_1-m_1-k}\binom{-l_1+l_2+l_3}{l_2+m_2-k},
              \quad s = l_1+l_2-l_3

    The alternating sum is one of integers, so no digit is lost.
    """
    s, a, b = l1 + l2 - l3, l1 - l2 + l3, -l1 + l2 + l3
    out = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    top, bottom = math.comb(2 * l1, s) * math.comb(2 * l2, s), math.comb(l1 + l2 + l3 + 1, s)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            m3 = m1 + m2
            low, high = max(0, l1 - m1 - a, l2 + m2 - b), min(s, l1 - m1, l2 + m2)
            total = sum(
                (-1) ** k * math.comb(s, k) * math.comb(a, l1 - m1 - k) * math.comb(b, l2 + m2 - k)
                for k in range(low, high + 1)
            )
            under = (
                bottom * math.comb(2 * l1, l1 - m1) * math.comb(2 * l2, l2 - m2) * math.comb(2 * l3, l3 - m3)
            )
            out[l1 + m1, l2 + m2, l3 + m3] = total * math.sqrt(top / under)
    return out


@functools.cache
def _real_to_complex(l: int) -> np.ndarray:
    """Return the unitary matrix from real to complex components, with the phase (-i)^l that makes couplings real."""
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    r = 1 / math.sqrt(2)
    for m in range(1, l + 1):
        q[l - m, l + m], q[l - m, l - m] = r, -1j * r
        q[l + m, l + m], q[l + m, l - m] = (-1) ** m * r, 1j * (-1) ** m * r
    q[l, l] = 1
    return (-1j) ** l * q


def _triple(l1: int, l2: int, l3: int) -> float:
    return math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * math.pi))


def _size(l1: int, l2: int, l3: int, m1: int, m2: int) -> float:
    """Return the absolute value of the 3j symbol with orders m1, m2, -(m1 + m2)."""
    entry = _clebsch_gordan(l1, l2, l3)[l1 + m1, l2 + m2, l3 + m1 + m2]
    return abs(float(entry)) / math.sqrt(2 * l3 + 1)


@functools.cache
def gaunt_constant(l1: int, l2: int, l3: int) -> float:
    r"""Return c >= 0 with Gaunt block = c * :func:`wigner_3j`; 0 where the sum of degrees is odd.

    .. math:: c = \sqrt{\tfrac{(2l_1+1)(2l_2+1)(2l_3+1)}{4\pi}}\;\left|\begin{pmatrix} l_1&l_2&l_3\\0&0&0\end{pmatrix}\right|

    >>> round(gaunt_constant(0, 0, 0) * (4 * 3.141592653589793) ** 0.5, 12), gaunt_constant(1, 1, 1)
    (1.0, 0.0)
    """
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    return _triple(l1, l2, l3) * _size(l1, l2, l3, 0, 0)


@functools.cache
def bracket_constant(l1: int, l2: int, l3: int) -> float:
    r"""Return d >= 0 with bracket block = d * :func:`wigner_3j`; 0 where the sum of degrees is even.

    .. math:: d = \sqrt{\tfrac{(2l_1+1)(2l_2+1)(2l_3+1)}{4\pi}} \sqrt{l_1(l_1+1)l_2(l_2+1)}\;
              \left|\begin{pmatrix} l_1&l_2&l_3\\1&-1&0\end{pmatrix}\right|
    """
    if (l1 + l2 + l3) % 2 == 0 or min(l1, l2, l3) < 1 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    return _triple(l1, l2, l3) * math.sqrt(l1 * (l1 + 1) * l2 * (l2 + 1)) * _size(l1, l2, l3, 1, -1)


def real_gaunt(l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64) -> Tensor:
    r"""Return the integrals of three orthonormal real spherical harmonics, :math:`\int Y_i Y_j Y_k\, d\Omega`.

    Shapes: to (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); zero for an odd sum of degrees.

    Raises:
        InvalidInput: the degrees break the triangle inequality.
    """
    return (gaunt_constant(l1, l2, l3) * wigner_3j(l1, l2, l3)).to(dtype)


def bracket(l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64) -> Tensor:
    r"""Return the Poisson brackets of real spherical harmonics.

    .. math:: B_{ijk} = \int Y_k\,\hat r\cdot(\nabla Y_i\times\nabla Y_j)\,d\Omega

    Shapes: to (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); zero for an even sum of degrees. Together with :func:`real_gaunt` it
    covers every coupling of :func:`wigner_3j`.

    Raises:
        InvalidInput: the degrees break the triangle inequality.
    """
    return (bracket_constant(l1, l2, l3) * wigner_3j(l1, l2, l3)).to(dtype)
