"""Numba loops of what layers of multivectors do around their products: lengths, gates, normalisations, and turning axes.

Rows are multivectors, one per channel. What several loops share is stored blade by blade, rows contiguous, as matrix products
want it; rooms for tiles are given by the caller, numbers come in arrays so that they have the type of the features.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from geomlib.kernels.geometric_product.cpu import _accumulate, _load, _negate, _pull, _store
from geomlib.kernels.jit import jit, jit_inline

__all__ = [
    "from_blades",
    "gate",
    "gate_slopes",
    "invariants",
    "sigmoid_gate",
    "sigmoid_gate_slopes",
    "size_slopes",
    "sizes",
    "steerable",
    "steerable_slopes",
    "to_blades",
]


@jit
def to_blades(start, stop, x, out, size, total):
    """Turn rows of blades into blades of rows."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, total, m, out[r:])


@jit
def from_blades(start, stop, x, out, size, total):
    """Turn blades of rows into rows of blades."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _store(x[r:], size, total, m, out[r * size : (r + m) * size])


@jit_inline
def _cut_in(source, size, total, wide, offset, channels, r, m, width, target):
    """Copy lanes r to r + m of every blade, where a row holds ``wide`` numbers of which ``channels`` are meant."""
    for b in range(size):
        t = 0
        while t < m:
            row, c = (r + t) // channels, (r + t) % channels
            k = min(channels - c, m - t)
            at = b * total * wide + row * wide + offset + c
            s, to = source[at : at + k], target[b * width + t : b * width + t + k]
            for u in range(k):
                to[u] = s[u]
            t += k


@jit_inline
def _cut_out(source, size, total, wide, offset, channels, r, m, width, target):
    """Copy lanes back."""
    for b in range(size):
        t = 0
        while t < m:
            row, c = (r + t) // channels, (r + t) % channels
            k = min(channels - c, m - t)
            at = b * total * wide + row * wide + offset + c
            s, to = source[b * width + t : b * width + t + k], target[at : at + k]
            for u in range(k):
                to[u] = s[u]
            t += k


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


@jit_inline
def _normalise(y, ends, share, limits, width, m, length, factor, out):
    """Put y over ``share (|y| - 1) + 1 + 1e-6``, grade by grade."""
    one, base = limits[3], limits[4]
    for g in range(ends.shape[0] - 1):
        s, l, f = (
            share[g * width : g * width + m],
            length[g * width : g * width + m],
            factor[g * width : g * width + m],
        )
        for c in range(m):
            f[c] = one / (s[c] * (l[c] - one) + base)
        for b in range(ends[g], ends[g + 1]):
            row, to = y[b * width : b * width + m], out[b * width : b * width + m]
            for c in range(m):
                to[c] = row[c] * f[c]


@jit_inline
def _normalise_slopes(gy, y, ends, sign, share, limits, width, m, length, slope, factor, gshare, out):
    """Put the gradient by y in place of gy and add that by the share."""
    one, top, zero = limits[3], limits[0], limits[3] - limits[3]
    for g in range(ends.shape[0] - 1):
        p = g * width
        s, l, d, f = share[p : p + m], length[p : p + m], slope[p : p + m], factor[p : p + m]
        gs, by = gshare[p : p + m], out[:m]
        for c in range(m):
            by[c] = zero
        for b in range(ends[g], ends[g + 1]):
            row, grad = y[b * width : b * width + m], gy[b * width : b * width + m]
            for c in range(m):
                by[c] += row[c] * grad[c]
        for c in range(m):
            v = -(by[c] * f[c]) * f[c]
            gs[c] += v * (l[c] - one)
            by[c] = v * s[c] * d[c]
        for b in range(ends[g], ends[g + 1]):
            k, row, grad = sign[b], y[b * width : b * width + m], gy[b * width : b * width + m]
            for c in range(m):
                v = zero if abs(row[c]) > top else by[c]
                grad[c] = grad[c] * f[c] + k * (v * row[c])


@jit
def steerable(
    first, group, term, start, stop, lane, channels, ends, sign, limits, mixed, normed, x, linear, share, w, out,
    size, total, wide, width, tx, ty, tn, to, tq, tl,
):  # fmt: skip
    """Write ``(left + product of x and normalised right) / sqrt 2``, or the product where nothing is mixed in."""
    zero = limits[3] - limits[3]
    scale, lanes = limits[5], total * channels
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _cut_in(x, size, 1, lanes, 0, lanes, r, m, width, tx)
        _negate(size, width, tx)
        _cut_in(linear, size, total, wide, wide - channels, channels, r, m, width, ty)
        if normed:
            _squares(ty, ends, sign, limits, width, m, tq)
            _lengths(tq, limits, (ends.shape[0] - 1) * width, tl)
            _normalise(ty, ends, share[lane[n]], limits, width, m, tl, tq, tn)
        for c in range(size * width):
            to[c] = zero
        _accumulate(first, group, term, width, m, tx, tn if normed else ty, w[lane[n]], to)
        if mixed:
            _cut_in(linear, size, total, wide, 0, channels, r, m, width, tx)
            for c in range(size * width):
                to[c] = (to[c] + tx[c]) * scale
        _store(to, size, width, m, out[r * size : (r + m) * size])


@jit
def steerable_slopes(
    first_x, group_x, term_x, first_y, group_y, term_y, first_w, group_w, term_w, sizes, start, stop, lane, channels,
    ends, sign, limits, mixed, normed, want_w, x, right, g, share, w, gx, glinear, gshare, gw,
    size, total, wide, width, tx, ty, tn, tg, to, tq, tl, ts, room,
):  # fmt: skip
    """Write the gradients of the product's left factor and of both linear images, and add those of the weights."""
    zero = limits[3] - limits[3]
    scale, lanes = limits[5], total * channels
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        wn = w[lane[n]]
        _cut_in(x, size, 1, lanes, 0, lanes, r, m, width, tx)
        _negate(size, width, tx)
        _cut_in(right, size, 1, lanes, 0, lanes, r, m, width, ty)
        if normed:
            _squares(ty, ends, sign, limits, width, m, tq)
            _lengths(tq, limits, (ends.shape[0] - 1) * width, tl)
            _length_slopes(tq, tl, limits, (ends.shape[0] - 1) * width, ts)
            _normalise(ty, ends, share[lane[n]], limits, width, m, tl, tq, tn)
        else:
            for c in range(size * width):
                tn[c] = ty[c]
        _load(g[r * size : (r + m) * size], size, width, m, tg)
        if mixed:
            for c in range(size * width):
                tg[c] *= scale
            _cut_out(tg, size, total, wide, 0, channels, r, m, width, glinear)
        _negate(size, width, tg)
        for c in range(size * width):
            to[c] = zero
        _accumulate(first_x, group_x, term_x, width, m, tg, tn, wn, to)
        _cut_out(to, size, 1, lanes, 0, lanes, r, m, width, gx)
        for c in range(size * width):
            to[c] = zero
        _accumulate(first_y, group_y, term_y, width, m, tx, tg, wn, to)
        if want_w:
            _pull(first_w, group_w, term_w, sizes, width, m, tx, tn, tg, room, gw[lane[n]])
        if normed:
            _normalise_slopes(
                to, ty, ends, sign, share[lane[n]], limits, width, m, tl, ts, tq, gshare[lane[n]], room
            )
        _cut_out(to, size, total, wide, wide - channels, channels, r, m, width, glinear)


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


def _power_of_two(k):
    """Return 2^k of a whole number; compiled for each type."""
    raise NotImplementedError("only compiled loops call this")


@overload(_power_of_two, inline="always")
def _power_of_two_of(k):
    if k == types.float32:

        def single(k):
            return np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)

        return single

    def double(k):
        return np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)

    return double


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
        f = one / (one + p * _power_of_two(k))
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


@jit_inline
def _sizes(q, count, small, large, size):
    """Put absolute values that are smooth at zero."""
    for c in range(count):
        v = abs(q[c])
        size[c] = v if v > large else math.sqrt(v * v + small)


@jit_inline
def _joined(q, grades, width, m, total):
    """Put the sum over grades."""
    for c in range(m):
        total[c] = q[c]
    for g in range(1, grades):
        part = q[g * width : g * width + m]
        for c in range(m):
            total[c] += part[c]


@jit
def sizes(start, stop, ends, sign, limits, shift, joined, dotted, x, g, h, t, size, width, tx, tg, tq, ts):
    """Write the absolute form of every row, of each grade or of their sum, and, if dotted, the product with g."""
    zero, grades = limits[3] - limits[3], ends.shape[0] - 1
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        to = h[r : r + m]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _squares(tx, ends, sign, limits, width, m, tq)
        if joined:
            _joined(tq, grades, width, m, ts)
            _sizes(ts, m, shift[0], limits[6], to)
        else:
            _sizes(tq, grades * width, shift[0], limits[6], ts)
            _joined(ts, grades, width, m, to)
        if dotted:
            by = t[r : r + m]
            _load(g[r * size : (r + m) * size], size, width, m, tg)
            for c in range(m):
                by[c] = zero
            for b in range(size):
                row, grad = tx[b * width : b * width + m], tg[b * width : b * width + m]
                for c in range(m):
                    by[c] += row[c] * grad[c]


@jit
def size_slopes(
    start, stop, ends, sign, limits, shift, joined, f, e, x, g, gx, size, width, tx, tg, tq, ts, room
):
    """Write ``f g``, plus e times the derivative of the absolute form of every row."""
    zero, top, most, grades = limits[3] - limits[3], limits[0], limits[1], ends.shape[0] - 1
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        fn, en = f[r : r + m], e[r : r + m]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _load(g[r * size : (r + m) * size], size, width, m, tg)
        _squares(tx, ends, sign, limits, width, m, tq)
        total, ratio = room[:m], room[width : width + m]
        if joined:
            _joined(tq, grades, width, m, total)
            _sizes(total, m, shift[0], limits[6], ts)
        else:
            _sizes(tq, grades * width, shift[0], limits[6], ts)
        for k in range(grades):
            q, own = (
                tq[k * width : k * width + m],
                ts[(0 if joined else k * width) : (0 if joined else k * width) + m],
            )
            form = total if joined else q
            for c in range(m):
                v = en[c] * (form[c] / own[c])
                ratio[c] = v + v if abs(q[c]) < most else zero
            for b in range(ends[k], ends[k + 1]):
                s, row, grad = sign[b], tx[b * width : b * width + m], tg[b * width : b * width + m]
                for c in range(m):
                    v = zero if abs(row[c]) > top else ratio[c]
                    grad[c] = fn[c] * grad[c] + s * (v * row[c])
        _store(tg, size, width, m, gx[r * size : (r + m) * size])
