"""Numba loops of gates: numbers for every grade from its invariant, and rows times these numbers."""

from __future__ import annotations

import numpy as np

from geomlib.kernels.geometric_product.cpu import _load, _store
from geomlib.kernels.geometric_product.cpu_lengths import _length_slopes, _lengths, _squares
from geomlib.kernels.jit import jit, jit_inline, power_of_two

__all__ = ["gate", "gate_slopes", "invariants", "sigmoid_gate", "sigmoid_gate_slopes"]


@jit_inline
def _invariants(x, ends, sign, limits, rooted, width, m, q, u):
    """Put the scalar itself, then the quadratic forms of the other grades or the lengths."""
    most, count = limits[1], (ends.shape[0] - 1) * width
    _squares(x, ends, sign, limits, width, m, q)
    if rooted:
        _lengths(q, limits, count, u)
    else:
        for c in range(count):
            u[c] = q[c]
    for c in range(m):
        v = x[c]
        v = most if v > most else v
        u[c] = -most if v < -most else v


@jit
def invariants(start, stop, lane, ends, sign, limits, rooted, x, a, b, v, size, total, width, tx, tq, tu):
    """Write ``a u + b`` for the invariants u of every grade, (grades, rows)."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        an, bn = a[lane[n]], b[lane[n]]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _invariants(tx, ends, sign, limits, rooted, width, m, tq, tu)
        for g in range(ends.shape[0] - 1):
            p = g * width
            u, to = tu[p : p + m], v[g * total + r : g * total + r + m]
            by, plus = an[p : p + m], bn[p : p + m]
            for c in range(m):
                to[c] = by[c] * u[c] + plus[c]


@jit_inline
def _sigmoid(v, e, count, s):
    """Put 1 / (1 + exp(-v)): the power of two next to the exponential times a Taylor series; a NaN stays one."""
    low, high, log2, part, rest, half, one = e[0], e[1], e[2], e[3], e[4], e[5], e[6]
    c2, c3, c4, c5, c6, c7 = e[7], e[8], e[9], e[10], e[11], e[12]
    c8, c9, c10, c11, c12, c13 = e[13], e[14], e[15], e[16], e[17], e[18]
    zero = one - one
    for c in range(count):
        x = -v[c]
        y = high if x > high else x
        y = low if y < low else y
        k = np.floor(y * log2 + half)
        r = (y - k * part) - k * rest
        p = c12 + c13 * r
        p = c11 + p * r
        p = c10 + p * r
        p = c9 + p * r
        p = c8 + p * r
        p = c7 + p * r
        p = c6 + p * r
        p = c5 + p * r
        p = c4 + p * r
        p = c3 + p * r
        p = c2 + p * r
        p = one + p * r
        p = one + p * r
        f = one / (one + p * power_of_two(k))
        f = zero if x > high else f
        s[c] = f if v[c] == v[c] else v[c]


@jit_inline
def _gated(tx, ends, s, at, step, width, m, to):
    """Put every grade times its number; those of grade g start at ``at + g step``."""
    for g in range(ends.shape[0] - 1):
        f = s[at + g * step : at + g * step + m]
        for b in range(ends[g], ends[g + 1]):
            row, put = tx[b * width : b * width + m], to[b * width : b * width + m]
            for c in range(m):
                put[c] = f[c] * row[c]


@jit_inline
def _gate_slopes(
    tx, tg, ends, sign, limits, rooted, s, slope, at, step, an, gan, gbn, width, m, tq, tu, ts, to, room
):
    """Put the gradient by x of the gated rows, from the gates and their slopes, and add those by a and b."""
    zero, top, most = limits[3] - limits[3], limits[0], limits[1]
    if rooted:
        _length_slopes(tq, tu, limits, (ends.shape[0] - 1) * width, ts)
    for k in range(ends.shape[0] - 1):
        p, q = k * width, at + k * step
        u, d, by = tu[p : p + m], ts[p : p + m], room[:m]
        f, e = s[q : q + m], slope[q : q + m]
        ak, gak, gbk = an[p : p + m], gan[p : p + m], gbn[p : p + m]
        for c in range(m):
            by[c] = zero
        for b in range(ends[k], ends[k + 1]):
            row, grad = tx[b * width : b * width + m], tg[b * width : b * width + m]
            for c in range(m):
                by[c] += row[c] * grad[c]
        for c in range(m):
            v = by[c] * e[c]
            gak[c] += v * u[c]
            gbk[c] += v
            by[c] = v * ak[c]
        if k == 0:
            grad, put = tg[:m], to[:m]
            for c in range(m):
                v = by[c] if abs(u[c]) < most else zero
                put[c] = f[c] * grad[c] + v
        else:
            if rooted:
                for c in range(m):
                    by[c] *= d[c]
            else:
                for c in range(m):
                    by[c] = (by[c] + by[c]) if abs(u[c]) < most else zero
            for b in range(ends[k], ends[k + 1]):
                sb = sign[b]
                row, grad = tx[b * width : b * width + m], tg[b * width : b * width + m]
                put = to[b * width : b * width + m]
                for c in range(m):
                    v = zero if abs(row[c]) > top else by[c]
                    put[c] = f[c] * grad[c] + sb * (v * row[c])


@jit
def gate(start, stop, ends, s, x, out, size, total, width, tx, to):
    """Write rows with every grade multiplied by its number, (grades, rows)."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _gated(tx, ends, s, r, total, width, m, to)
        _store(to, size, width, m, out[r * size : (r + m) * size])


@jit
def gate_slopes(
    start, stop, lane, ends, sign, limits, rooted, s, slope, x, g, a, gx, ga, gb, size, total, width,
    tx, tg, to, tq, tu, ts, room,
):  # fmt: skip
    """Write the gradient by x, from the gates, their slopes and the cotangent, and add those by a and b."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _load(g[r * size : (r + m) * size], size, width, m, tg)
        _invariants(tx, ends, sign, limits, rooted, width, m, tq, tu)
        _gate_slopes(
            tx, tg, ends, sign, limits, rooted, s, slope, r, total, a[lane[n]], ga[lane[n]], gb[lane[n]], width, m,
            tq, tu, ts, to, room,
        )  # fmt: skip
        _store(to, size, width, m, gx[r * size : (r + m) * size])


@jit_inline
def _arguments(tu, an, bn, grades, width, m, tv):
    """Put ``a u + b``."""
    for g in range(grades):
        p = g * width
        u, by, plus, to = tu[p : p + m], an[p : p + m], bn[p : p + m], tv[p : p + m]
        for c in range(m):
            to[c] = by[c] * u[c] + plus[c]


@jit
def sigmoid_gate(
    start, stop, lane, ends, sign, limits, rooted, e, x, a, b, out, size, width, tx, to, tq, tu, tv, ts
):
    """Write rows whose grades are multiplied by the sigmoid of ``a u + b``, in one pass."""
    grades = ends.shape[0] - 1
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _invariants(tx, ends, sign, limits, rooted, width, m, tq, tu)
        _arguments(tu, a[lane[n]], b[lane[n]], grades, width, m, tv)
        _sigmoid(tv, e, grades * width, ts)
        _gated(tx, ends, ts, 0, width, width, m, to)
        _store(to, size, width, m, out[r * size : (r + m) * size])


@jit
def sigmoid_gate_slopes(
    start, stop, lane, ends, sign, limits, rooted, e, x, g, a, b, gx, ga, gb, size, width,
    tx, tg, to, tq, tu, td, tv, ts, room,
):  # fmt: skip
    """Write the gradient by x and add those by a and b, in one pass."""
    one, grades = limits[3], ends.shape[0] - 1
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _load(g[r * size : (r + m) * size], size, width, m, tg)
        _invariants(tx, ends, sign, limits, rooted, width, m, tq, tu)
        _arguments(tu, a[lane[n]], b[lane[n]], grades, width, m, tv)
        _sigmoid(tv, e, grades * width, ts)
        for c in range(grades * width):
            tv[c] = ts[c] * (one - ts[c])
        _gate_slopes(
            tx, tg, ends, sign, limits, rooted, ts, tv, 0, width, a[lane[n]], ga[lane[n]], gb[lane[n]], width, m,
            tq, tu, td, to, room,
        )  # fmt: skip
        _store(to, size, width, m, gx[r * size : (r + m) * size])
