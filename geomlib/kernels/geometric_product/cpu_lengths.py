"""Lengths of the grades of tiles of multivectors, for the Numba loops of layers."""

from __future__ import annotations

import math

from geomlib.kernels.jit import jit_inline

__all__: list[str] = []


@jit_inline
def _squares(x, ends, sign, limits, width, m, q):
    """Put the capped quadratic form of every grade; a NaN stays one."""
    top, most, zero = limits[0], limits[1], limits[3] - limits[3]
    for g in range(ends.shape[0] - 1):
        to = q[g * width : g * width + m]
        for c in range(m):
            to[c] = zero
        for b in range(ends[g], ends[g + 1]):
            s, row = sign[b], x[b * width : b * width + m]
            if top > most:  # no cap
                for c in range(m):
                    to[c] += s * (row[c] * row[c])
            else:
                for c in range(m):
                    v = row[c]
                    v = top if v > top else v
                    v = -top if v < -top else v
                    to[c] += s * (v * v)
        for c in range(m):
            v = to[c]
            v = most if v > most else v
            to[c] = -most if v < -most else v


@jit_inline
def _lengths(q, limits, count, length):
    """Put (q^2 + e^2)^(1/4); a square that would overflow needs no e."""
    small, large = limits[2], limits[6]
    for c in range(count):
        v = abs(q[c])
        length[c] = math.sqrt(v if v > large else math.sqrt(v * v + small))


@jit_inline
def _length_slopes(q, length, limits, count, slope):
    """Put twice the derivative of the length, which is zero where the form was capped."""
    most, one, zero = limits[1], limits[3], limits[3] - limits[3]
    for c in range(count):
        inverse = one / length[c]
        slope[c] = ((q[c] * inverse) * inverse) * inverse if abs(q[c]) < most else zero
