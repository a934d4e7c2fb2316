r"""Grids on the sphere that integrate polynomials exactly, and harmonics on them, in float64.

Gauss-Legendre nodes in :math:`\cos\beta` times uniform azimuths: n nodes are exact to degree 2n - 1, n azimuths to degree
n - 1. The polar axis is y, (x, y, z) = (sin b sin a, cos b, sin b cos a), as everywhere in the library.

Source: products by quadrature on the sphere are those of Xie, Daigavane, Kotak, Smidt, *The Price of Freedom*, arXiv
2506.13523.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geomlib.algebra.irreps.harmonics import solid_harmonics
from geomlib.errors import InvalidInput

__all__ = ["SphereGrid", "polar_functions", "sphere_grid"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SphereGrid:
    r"""Polar nodes times azimuths, with the solid angle of each point.

    .. math:: \int f\, d\Omega = \sum_{ta} w_t\, \Delta\alpha\, f(\beta_t, \alpha_a)

    for polynomials f in x, y, z of total degree up to ``degree``.

    Args:
        degree: largest total degree that is integrated exactly.
        beta: polar angles, (T,), none of them at a pole.
        polar_weight: Gauss-Legendre weights, (T,).
        alpha: azimuths, (A,).
        azimuth_weight: weight of every azimuth.
        half: the azimuths cover half a turn; even functions are integrated by them alone.
    """

    degree: int
    beta: Array
    polar_weight: Array
    alpha: Array
    azimuth_weight: float
    half: bool

    @property
    def points(self) -> int:
        """Number of points."""
        return len(self.beta) * len(self.alpha)

    @property
    def weight(self) -> Array:  # (T * A,)
        """Solid angle of every point; their sum is 4 pi."""
        return np.repeat(self.polar_weight, len(self.alpha)) * self.azimuth_weight

    @property
    def xyz(self) -> Array:  # (T * A, 3)
        """Points, azimuth fastest."""
        b, a = np.repeat(self.beta, len(self.alpha)), np.tile(self.alpha, len(self.beta))
        return np.stack([np.sin(b) * np.sin(a), np.cos(b), np.sin(b) * np.cos(a)], axis=1)

    def harmonics(self, degrees: tuple[int, ...]) -> Array:  # (P, sum 2l + 1)
        r"""Return orthonormal harmonics at the points, :math:`Y_{l,\pm m} = \Theta_{lm}(\beta) \{\cos, \sin\} m\alpha`.

        >>> grid = sphere_grid(2)
        >>> y = grid.harmonics((0, 1))
        >>> bool(np.allclose(y.T @ (grid.weight[:, None] * y), np.eye(4)))
        True
        """
        return self._expand(degrees, polar_functions(max(degrees, default=0), self.beta)[0])

    def gradients(self, degrees: tuple[int, ...]) -> tuple[Array, Array]:  # 2 x (P, sum 2l + 1)
        r"""Return :math:`\partial_\beta Y` and :math:`\partial_\alpha Y / \sin\beta` at the points."""
        value, slope = polar_functions(max(degrees, default=0), self.beta)
        by_alpha = self._expand(degrees, value / np.sin(self.beta)[:, None, None])
        turned = np.zeros_like(by_alpha)
        start = 0
        for l in degrees:
            for m in range(-l, l + 1):  # cos m a becomes -m sin m a, sin m a becomes m cos m a
                turned[:, start + l + m] = -m * by_alpha[:, start + l - m]
            start += 2 * l + 1
        return self._expand(degrees, slope), turned

    def _expand(self, degrees: tuple[int, ...], polar: Array) -> Array:
        columns = [
            np.outer(polar[:, l, abs(m)], _azimuthal(m, self.alpha)).reshape(-1)
            for l in degrees
            for m in range(-l, l + 1)
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((self.points, 0))


@functools.cache
def sphere_grid(degree: int, half: bool = False) -> SphereGrid:
    r"""Return a grid exact for polynomials of a total degree.

    .. math:: \cos\beta_t: \text{ nodes of Gauss and Legendre}, \qquad \alpha_a = 2\pi a / (D + 1)

    It has :math:`\lfloor D/2 \rfloor + 1` polar nodes and D + 1 azimuths. With ``half`` the number of azimuths is made even
    and those of half a turn are kept: the other points are the antipodes.

    Args:
        degree: D, the sum of the degrees of all factors under the integral.
        half: for integrands that are even under the inversion.

    Raises:
        InvalidInput: a negative degree.

    >>> grid = sphere_grid(6)
    >>> grid.points, sphere_grid(6, half=True).points, bool(abs(grid.weight.sum() - 4 * math.pi) < 1e-13)
    (28, 16, True)
    """
    if degree < 0:
        raise InvalidInput(f"sphere_grid: degree {degree} must not be negative.")
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    azimuths = degree + 1
    if half:
        azimuths += azimuths % 2
    alpha = 2 * math.pi * np.arange(azimuths // 2 if half else azimuths) / azimuths
    step = 2 * math.pi / azimuths * (2 if half else 1)
    return SphereGrid(degree, np.arccos(nodes[::-1]), weights[::-1], alpha, step, half)


def polar_functions(lmax: int, beta: Array) -> tuple[Array, Array]:  # 2 x (T, lmax + 1, lmax + 1)
    r"""Return :math:`\Theta_{lm}(\beta)` with :math:`Y_{l,\pm m} = \Theta_{lm} \{\cos, \sin\} m\alpha`, and its derivative.

    .. math:: \sin\beta\,\Theta_{lm}' = l\cos\beta\,\Theta_{lm}
              - \sqrt{\tfrac{(2l+1)(l-m)(l+m)}{2l-1}}\;\Theta_{l-1,m}

    Args:
        lmax: largest degree.
        beta: polar angles (T,), none of them at a pole.

    >>> value, slope = polar_functions(1, np.array([math.pi / 3]))
    >>> bool(np.isclose(slope[0, 1, 0] / value[0, 1, 0], -math.tan(math.pi / 3)))  # cos has the derivative -sin
    True
    """
    cosine, sine = np.cos(beta), np.sin(beta)
    meridian = torch.from_numpy(np.stack([np.zeros_like(beta), cosine, sine], axis=1))
    flat = solid_harmonics(lmax, meridian).numpy()
    value = np.zeros((len(beta), lmax + 1, lmax + 1))
    slope = np.zeros_like(value)
    for l in range(lmax + 1):
        value[:, l, : l + 1] = flat[:, l * l + l : (l + 1) ** 2]
        for m in range(l + 1):
            below = (
                value[:, l - 1, m] * math.sqrt((2 * l + 1) * (l - m) * (l + m) / (2 * l - 1)) if l else 0.0
            )
            slope[:, l, m] = (l * cosine * value[:, l, m] - below) / sine
    return value, slope


def _azimuthal(m: int, alpha: Array) -> Array:
    return np.cos(m * alpha) if m >= 0 else np.sin(-m * alpha)
