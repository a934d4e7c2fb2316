"""Numba loops of what the steerable product does around the product: normalisation, residual, and turning axes.

Rows are multivectors, one per channel. What several loops share is stored blade by blade, rows contiguous, as matrix products
want it; rooms for tiles are given by the caller, numbers come in arrays so that they have the type of the features.
"""

from __future__ import annotations

from geomlib.kernels.geometric_product.cpu import _accumulate, _load, _negate, _pull, _store
from geomlib.kernels.geometric_product.cpu_lengths import _length_slopes, _lengths, _squares
from geomlib.kernels.jit import jit, jit_inline

__all__ = ["from_blades", "steerable", "steerable_slopes", "to_blades"]


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
