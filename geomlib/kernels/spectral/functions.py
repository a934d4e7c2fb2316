r"""The functions of eigenvalues and their divided differences, lane by lane.

They follow `geomlib.algebra.manifolds.spectral.scalar`: every difference is right to rounding at equal, close and distant
arguments. The logarithm and its differences use :math:`\log(a/b) = 2 \operatorname{artanh} z`, z = (a - b) / (a + b).
"""

from __future__ import annotations

from geomlib.kernels.jit import jit_inline
from geomlib.kernels.lane_arithmetic import (
    exponent,
    lowest,
    magnitude,
    mantissa,
    root,
    scale_power,
    where,
    wide_load,
    wide_store,
)
from geomlib.kernels.spectral.eigen import W

__all__ = [
    "CLAMP",
    "CODES",
    "EXP",
    "INV",
    "INVSQRT",
    "LOG",
    "POW",
    "SQRT",
    "TOP",
    "difference",
    "logarithm",
    "values",
]

LOG, SQRT, INVSQRT, INV, EXP, POW, CLAMP, TOP = range(8)
#: The names of `geomlib.algebra.manifolds.spectral` to the numbers that the loops know.
CODES = {
    "log": LOG, "sqrt": SQRT, "invsqrt": INVSQRT, "inv": INV, "exp": EXP, "pow": POW, "clamp": CLAMP, "top": TOP,
}  # fmt: skip

_LN2_HIGH, _LN2_LOW = (
    0.69314718036912381649,
    1.9082149292705877e-10,
)  # their sum is log 2; the first has 21 zeros at its end
_S = tuple(1.0 / (2 * k + 1) for k in range(10))
_S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9 = _S[1:]
_E2, _E3, _E4, _E5, _E6, _E7 = 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040
_E8, _E9, _E10, _E11, _E12, _E13 = (
    1 / 40320,
    1 / 362880,
    1 / 3628800,
    1 / 39916800,
    1 / 479001600,
    1 / 6227020800,
)
_E15 = 1 / 1307674368000


@jit_inline
def _slope(y):
    """Return artanh(z) / z for y = z^2 up to 1/33."""
    p = _S8 + y * _S9
    p = _S6 + y * (_S7 + y * p)
    p = _S3 + y * (_S4 + y * (_S5 + y * p))
    return 1.0 + y * (_S1 + y * (_S2 + y * p))


@jit_inline
def _bulge(y):
    """Return sinh(x) / x for y = x^2 up to 1/4."""
    return 1.0 + y * (_E3 + y * (_E5 + y * (_E7 + y * (_E9 + y * (_E11 + y * (_E13 + y * _E15))))))


@jit_inline
def logarithm(x):
    """Return the logarithm of positive numbers, NaN for others."""
    small = x < 1e-30
    raised = where(small, x * 1e30 * 1e8, x)  # subnormal numbers have no mantissa to take
    m, k = mantissa(raised), exponent(raised)
    upper = m > 1.4142135623730951
    m, k = where(upper, 0.5 * m, m), where(upper, k + 1.0, k)
    s = (m - 1.0) / (m + 1.0)
    found = k * _LN2_HIGH + (2.0 * s * _slope(s * s) + k * _LN2_LOW)
    found = where(small, found - 87.49823353377374, found)
    return where(x > 0.0, found, (x - x) / (x - x))


@jit_inline
def _exponential(x):
    """Return e^x; too large numbers give infinity."""
    k = lowest(x * 1.4426950408889634 + 0.5)
    k = where(k < 2040.0, k, 2040.0)
    k = where(k > -2040.0, k, -2040.0)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _E10 + r * (_E11 + r * (_E12 + r * _E13))
    p = _E6 + r * (_E7 + r * (_E8 + r * (_E9 + r * p)))
    p = 1.0 + r * (1.0 + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * p)))))
    half = lowest(0.5 * k)
    return p * scale_power(half) * scale_power(k - half)


@jit_inline
def values(code, t, n, D, F, G, R):
    """Write f of every eigenvalue to F and what its differences need besides to G; R holds the places in ascending order."""
    for i in range(n):
        w = wide_load(D, i, W)
        f, g = w, w
        if code == LOG:
            f = logarithm(w)
        elif code == SQRT or code == INVSQRT:
            g = root(w)
            f = g if code == SQRT else 1.0 / g
        elif code == INV:
            f = 1.0 / w
        elif code == EXP:
            f, g = _exponential(w), _exponential(0.5 * w)
        elif code == POW:
            l = logarithm(w)
            f, g = _exponential(t * l), l
        elif code == CLAMP:
            f = where(w > t, w, t)
        else:
            f = where(wide_load(R, i, W) >= n - t, w - w + 1.0, w - w)
        wide_store(F, i, f)
        wide_store(G, i, g)


@jit_inline
def _log_difference(a, b, la, lb):
    z = (a - b) / (a + b)
    near = magnitude(z) < 0.16
    return where(near, 2.0 * _slope(z * z), la - lb) / where(near, a + b, a - b)


@jit_inline
def difference(code, t, a, b, fa, fb, ga, gb):
    """Return f[a, b]."""
    if code == LOG:
        return _log_difference(a, b, fa, fb)
    if code == SQRT:
        return 1.0 / (ga + gb)
    if code == INVSQRT:
        return -1.0 / (ga * gb * (ga + gb))
    if code == INV:
        return 0.0 - fa * fb
    apart = a - b
    if code == EXP:
        near = magnitude(apart) < 1.0
        half = where(near, 0.5 * apart, 0.0)
        return where(near, ga * gb * _bulge(half * half), (fa - fb) / where(near, 1.0, apart))
    if code == POW:
        half = 0.5 * t * (ga - gb)
        near = magnitude(half) < 0.5
        half = where(near, half, 0.0)
        close = t * _log_difference(a, b, ga, gb) * root(fa) * root(fb) * _bulge(half * half)
        return where(near, close, (fa - fb) / where(near, 1.0, apart))
    if code == CLAMP:
        over, under = where(a > t, 1.0 + 0.0 * a, 0.0 * a), where(b > t, 1.0 + 0.0 * b, 0.0 * b)
        alike = over == under
        return where(alike, over, (fa - fb) / where(alike, 1.0, apart))
    alike = fa == fb
    return where(alike, 0.0 * a, (fa - fb) / where(alike, 1.0, apart))
