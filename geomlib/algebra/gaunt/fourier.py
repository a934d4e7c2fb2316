r"""Spherical harmonics as trigonometric polynomials in both angles.

.. math:: Y_{lm}(\beta, \alpha) = \sum_{|u| \le l,\; v = \pm m} y^{lm}_{uv}\, e^{i(u\beta + v\alpha)}

The formula continues to :math:`\beta \in [0, 2\pi)` without any change of sign, so products of functions on the sphere are
convolutions of these coefficients.

Source: Luo, Chen, Krishnapriyan, *Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products*,
arXiv 2401.10216.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray

from geomlib.algebra.irreps.harmonics import solid_harmonics
from geomlib.errors import InvalidInput

__all__ = ["fourier_coefficients", "fourier_projection", "smooth_size"]

Complex = NDArray[np.complex128]


@functools.cache
def fourier_coefficients(lmax: int) -> Complex:  # ((lmax + 1)^2, 2 lmax + 1, 2 lmax + 1)
    r"""Return y, axes (lm, u, v) with u and v from -lmax to lmax; zero except where v is m or -m.

    .. math:: y^{lm}_{uv} = \frac{1}{4\pi^2} \int_0^{2\pi}\!\!\int_0^{2\pi} Y_{lm}(\beta, \alpha)\,
              e^{-i(u\beta + v\alpha)}\, d\beta\, d\alpha

    Raises:
        InvalidInput: a negative degree.

    >>> fourier_coefficients(1).shape
    (4, 3, 3)
    """
    if lmax < 0:
        raise InvalidInput(f"fourier_coefficients: degree {lmax} must not be negative.")
    size = 2 * lmax + 1
    angle = 2 * math.pi * np.arange(size) / size
    b, a = np.meshgrid(angle, angle, indexing="ij")
    torus = np.stack([np.sin(b) * np.sin(a), np.cos(b), np.sin(b) * np.cos(a)], axis=-1)
    samples = solid_harmonics(lmax, torch.from_numpy(torus)).numpy()
    full = np.fft.fftshift(np.fft.fft2(samples, axes=(0, 1)), axes=(0, 1)).transpose(2, 0, 1) / size**2
    out = np.zeros_like(full)
    for l in range(lmax + 1):
        for m in range(-l, l + 1):
            rows, columns = slice(lmax - l, lmax + l + 1), [lmax + m, lmax - m]
            out[l * l + l + m][rows, columns] = full[l * l + l + m][rows, columns]
    out.setflags(write=False)
    return out


@functools.cache
def fourier_projection(
    lmax: int, band: int, solid_angle: bool = True
) -> Complex:  # ((lmax + 1)^2, 2 band + 1, 2 band + 1)
    r"""Return z, the integrals of harmonics against waves, axes (lm, u, v) with u and v from -band to band.

    .. math:: z^{lm}_{uv} = \int Y_{lm}\, e^{i(u\beta + v\alpha)}\, d\Omega = 2\pi \sum_{u'} y^{lm}_{u',-v}\, I(u + u'),
              \quad I(k) = \frac{1 + e^{i\pi k}}{1 - k^2},\; I(\pm 1) = \pm\frac{i\pi}{2}

    Without ``solid_angle`` the measure is :math:`d\beta\,d\alpha`, which is what a Poisson bracket needs: its factor
    1 / sin b cancels that of the solid angle.

    Args:
        lmax: largest degree of the harmonics.
        band: largest u and v.
        solid_angle: integrate over the sphere.

    >>> fourier_projection(1, 2).shape
    (4, 5, 5)
    """
    y = fourier_coefficients(lmax)
    out = np.zeros(((lmax + 1) ** 2, 2 * band + 1, 2 * band + 1), dtype=np.complex128)
    u = np.arange(-band, band + 1)
    integral = (_sine if solid_angle else _plain)(u[:, None] + np.arange(-lmax, lmax + 1)[None, :])
    for v in range(-min(lmax, band), min(lmax, band) + 1):
        out[:, :, band + v] = 2 * math.pi * y[:, :, lmax - v] @ integral.T
    out.setflags(write=False)
    return out


def _sine(k: NDArray[np.int64]) -> Complex:
    """Return the integral of exp(ikb) sin b over [0, pi]."""
    out = np.zeros(k.shape, dtype=np.complex128)
    even = k % 2 == 0
    out[even] = 2.0 / (1.0 - k[even].astype(np.float64) ** 2)
    out[np.abs(k) == 1] = 0.5j * math.pi * k[np.abs(k) == 1]
    return out


def _plain(k: NDArray[np.int64]) -> Complex:
    """Return the integral of exp(ikb) over [0, pi]."""
    out = np.zeros(k.shape, dtype=np.complex128)
    odd = k % 2 == 1
    out[odd] = 2j / k[odd]
    out[k == 0] = math.pi
    return out


def smooth_size(least: int) -> int:
    """Return the smallest number without prime factors above 5 that is at least ``least``.

    >>> [smooth_size(n) for n in (1, 7, 41)]
    [1, 8, 45]
    """
    size = max(1, least)
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
