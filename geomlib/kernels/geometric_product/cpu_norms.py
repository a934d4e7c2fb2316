"""Numba loops of norms over channels: absolute forms of rows, and their derivatives."""

from __future__ import annotations

import math

from geomlib.kernels.geometric_product.cpu import _load, _store
from geomlib.kernels.geometric_product.cpu_lengths import _squares
from geomlib.kernels.jit import jit, jit_inline

__all__ = ["size_slopes", "sizes"]


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
