"""Numba loops of products of multivectors, driven by tables.

Rows of multivectors, one per channel, are turned into tiles in which blades are outermost and rows contiguous; the tile of the
first factor is followed by its negative, so that a sign is an offset. Groups of terms are sorted by size: no branch depends on
the table. Rooms for tiles are given by the caller.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline

__all__ = ["contract", "gradients", "pull"]


@jit_inline
def _four_in(source, stride, b, width, m, target):
    """Turn four columns of rows into lanes; the stride is known to the compiler where it matters."""
    o = b * width
    t0 = target[o : o + m]
    t1 = target[o + 1 * width : o + 1 * width + m]
    t2 = target[o + 2 * width : o + 2 * width + m]
    t3 = target[o + 3 * width : o + 3 * width + m]
    for u in range(m):
        t0[u] = source[stride * u + b]
        t1[u] = source[stride * u + b + 1]
        t2[u] = source[stride * u + b + 2]
        t3[u] = source[stride * u + b + 3]


@jit_inline
def _eight_in(source, stride, b, width, m, target):
    """Turn eight columns of rows into lanes; the stride is known to the compiler where it matters."""
    o = b * width
    t0 = target[o : o + m]
    t1 = target[o + 1 * width : o + 1 * width + m]
    t2 = target[o + 2 * width : o + 2 * width + m]
    t3 = target[o + 3 * width : o + 3 * width + m]
    t4 = target[o + 4 * width : o + 4 * width + m]
    t5 = target[o + 5 * width : o + 5 * width + m]
    t6 = target[o + 6 * width : o + 6 * width + m]
    t7 = target[o + 7 * width : o + 7 * width + m]
    for u in range(m):
        t0[u] = source[stride * u + b]
        t1[u] = source[stride * u + b + 1]
        t2[u] = source[stride * u + b + 2]
        t3[u] = source[stride * u + b + 3]
        t4[u] = source[stride * u + b + 4]
        t5[u] = source[stride * u + b + 5]
        t6[u] = source[stride * u + b + 6]
        t7[u] = source[stride * u + b + 7]


@jit_inline
def _four_out(source, stride, b, width, m, target):
    """Turn four columns of rows back from lanes; the stride is known to the compiler where it matters."""
    o = b * width
    s0 = source[o : o + m]
    s1 = source[o + 1 * width : o + 1 * width + m]
    s2 = source[o + 2 * width : o + 2 * width + m]
    s3 = source[o + 3 * width : o + 3 * width + m]
    for u in range(m):
        target[stride * u + b] = s0[u]
        target[stride * u + b + 1] = s1[u]
        target[stride * u + b + 2] = s2[u]
        target[stride * u + b + 3] = s3[u]


@jit_inline
def _eight_out(source, stride, b, width, m, target):
    """Turn eight columns of rows back from lanes; the stride is known to the compiler where it matters."""
    o = b * width
    s0 = source[o : o + m]
    s1 = source[o + 1 * width : o + 1 * width + m]
    s2 = source[o + 2 * width : o + 2 * width + m]
    s3 = source[o + 3 * width : o + 3 * width + m]
    s4 = source[o + 4 * width : o + 4 * width + m]
    s5 = source[o + 5 * width : o + 5 * width + m]
    s6 = source[o + 6 * width : o + 6 * width + m]
    s7 = source[o + 7 * width : o + 7 * width + m]
    for u in range(m):
        target[stride * u + b] = s0[u]
        target[stride * u + b + 1] = s1[u]
        target[stride * u + b + 2] = s2[u]
        target[stride * u + b + 3] = s3[u]
        target[stride * u + b + 4] = s4[u]
        target[stride * u + b + 5] = s5[u]
        target[stride * u + b + 6] = s6[u]
        target[stride * u + b + 7] = s7[u]


@jit_inline
def _load(source, size, width, m, target):
    """Turn m rows of blades into blades of m rows, ``width`` apart."""
    if size == 4:
        _four_in(source, 4, 0, width, m, target)
    elif size == 8:
        _eight_in(source, 8, 0, width, m, target)
    elif size == 16:
        _eight_in(source, 16, 0, width, m, target)
        _eight_in(source, 16, 8, width, m, target)
    elif size == 32:
        for b in range(0, 32, 8):
            _eight_in(source, 32, b, width, m, target)
    elif size % 8 == 0:
        for b in range(0, size, 8):
            _eight_in(source, size, b, width, m, target)
    else:
        for b in range(size):
            t0 = target[b * width : b * width + m]
            for u in range(m):
                t0[u] = source[u * size + b]


@jit_inline
def _turn(stages, width, m, t):
    """Put sums and differences of components of a tile in their places, stage after stage."""
    for q in range(stages.shape[0]):
        a, b = stages[q, 0] * width, stages[q, 1] * width
        ta, tb = t[a : a + m], t[b : b + m]
        if stages[q, 0] == stages[q, 2]:
            for c in range(m):
                u, v = ta[c], tb[c]
                ta[c] = u + v
                tb[c] = u - v
        else:
            for c in range(m):
                u, v = ta[c], tb[c]
                tb[c] = u + v
                ta[c] = u - v


@jit_inline
def _turn_back(stages, width, m, t):
    """Apply the transposed stages, last first: up to a power of two that is the inverse."""
    for q in range(stages.shape[0] - 1, -1, -1):
        a, b = stages[q, 0] * width, stages[q, 1] * width
        ta, tb = t[a : a + m], t[b : b + m]
        if stages[q, 0] == stages[q, 2]:
            for c in range(m):
                u, v = ta[c], tb[c]
                ta[c] = u + v
                tb[c] = u - v
        else:
            for c in range(m):
                u, v = ta[c], tb[c]
                ta[c] = v + u
                tb[c] = v - u


@jit_inline
def _negate(size, width, target):
    """Put the negative of a tile behind it."""
    back, front = target[size * width : 2 * size * width], target[: size * width]
    for c in range(size * width):
        back[c] = -front[c]


@jit_inline
def _store(source, size, width, m, target):
    """Turn blades of rows back into rows."""
    if size == 4:
        _four_out(source, 4, 0, width, m, target)
    elif size == 8:
        _eight_out(source, 8, 0, width, m, target)
    elif size == 16:
        _eight_out(source, 16, 0, width, m, target)
        _eight_out(source, 16, 8, width, m, target)
    elif size == 32:
        for b in range(0, 32, 8):
            _eight_out(source, 32, b, width, m, target)
    elif size % 8 == 0:
        for b in range(0, size, 8):
            _eight_out(source, size, b, width, m, target)
    else:
        for b in range(size):
            s0 = source[b * width : b * width + m]
            for u in range(m):
                target[u * size + b] = s0[u]


@jit_inline
def _accumulate(first, group, term, width, m, a, b, w, out):
    """Add ``w_p sum_t a_t b_t`` to every output of a tile."""
    for g in range(first[0], first[1]):
        o, p, t = group[g, 0] * width, group[g, 1] * width, group[g, 2]
        to, by = out[o : o + m], w[p : p + m]
        i, k = term[t, 0] * width, term[t, 1] * width
        a0, b0 = a[i : i + m], b[k : k + m]
        for c in range(m):
            to[c] += by[c] * (a0[c] * b0[c])
    for g in range(first[1], first[2]):
        o, p, t = group[g, 0] * width, group[g, 1] * width, group[g, 2]
        to, by = out[o : o + m], w[p : p + m]
        i, k, j, l = term[t, 0] * width, term[t, 1] * width, term[t + 1, 0] * width, term[t + 1, 1] * width
        a0, b0, a1, b1 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        for c in range(m):
            to[c] += by[c] * (a0[c] * b0[c] + a1[c] * b1[c])
    for g in range(first[2], first[3]):
        o, p, t = group[g, 0] * width, group[g, 1] * width, group[g, 2]
        to, by = out[o : o + m], w[p : p + m]
        i, k, j, l = term[t, 0] * width, term[t, 1] * width, term[t + 1, 0] * width, term[t + 1, 1] * width
        a0, b0, a1, b1 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        i, k = term[t + 2, 0] * width, term[t + 2, 1] * width
        a2, b2 = a[i : i + m], b[k : k + m]
        for c in range(m):
            to[c] += by[c] * (a0[c] * b0[c] + a1[c] * b1[c] + a2[c] * b2[c])
    for g in range(first[3], first[4]):
        o, p, t = group[g, 0] * width, group[g, 1] * width, group[g, 2]
        to, by = out[o : o + m], w[p : p + m]
        i, k, j, l = term[t, 0] * width, term[t, 1] * width, term[t + 1, 0] * width, term[t + 1, 1] * width
        a0, b0, a1, b1 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        i, k, j, l = (
            term[t + 2, 0] * width,
            term[t + 2, 1] * width,
            term[t + 3, 0] * width,
            term[t + 3, 1] * width,
        )
        a2, b2, a3, b3 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        for c in range(m):
            to[c] += by[c] * (a0[c] * b0[c] + a1[c] * b1[c] + a2[c] * b2[c] + a3[c] * b3[c])
    for g in range(first[4], first[5]):
        o, p, t = group[g, 0] * width, group[g, 1] * width, group[g, 2]
        to, by = out[o : o + m], w[p : p + m]
        i, k, j, l = term[t, 0] * width, term[t, 1] * width, term[t + 1, 0] * width, term[t + 1, 1] * width
        a0, b0, a1, b1 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        i, k, j, l = (
            term[t + 2, 0] * width,
            term[t + 2, 1] * width,
            term[t + 3, 0] * width,
            term[t + 3, 1] * width,
        )
        a2, b2, a3, b3 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        i, k, j, l = (
            term[t + 4, 0] * width,
            term[t + 4, 1] * width,
            term[t + 5, 0] * width,
            term[t + 5, 1] * width,
        )
        a4, b4, a5, b5 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        i, k, j, l = (
            term[t + 6, 0] * width,
            term[t + 6, 1] * width,
            term[t + 7, 0] * width,
            term[t + 7, 1] * width,
        )
        a6, b6, a7, b7 = a[i : i + m], b[k : k + m], a[j : j + m], b[l : l + m]
        for c in range(m):
            to[c] += by[c] * (
                ((a0[c] * b0[c] + a1[c] * b1[c]) + (a2[c] * b2[c] + a3[c] * b3[c]))
                + ((a4[c] * b4[c] + a5[c] * b5[c]) + (a6[c] * b6[c] + a7[c] * b7[c]))
            )


@jit_inline
def _pull(first, group, term, sizes, width, m, a, b, g, room, gw):
    """Add ``g_o sum_t a_t b_t`` to the gradient of every weight of a tile."""
    for s in range(sizes.shape[0]):
        count = sizes[s]
        for q in range(first[s], first[s + 1]):
            o, p, t = group[q, 0] * width, group[q, 1] * width, group[q, 2]
            to, by = gw[p : p + m], g[o : o + m]
            i, k = term[t, 0] * width, term[t, 1] * width
            a0, b0 = a[i : i + m], b[k : k + m]
            if count == 1:
                for c in range(m):
                    to[c] += by[c] * (a0[c] * b0[c])
            else:
                i, k = term[t + 1, 0] * width, term[t + 1, 1] * width
                a1, b1 = a[i : i + m], b[k : k + m]
                for c in range(m):
                    room[c] = a0[c] * b0[c] + a1[c] * b1[c]
                for r in range(2, count):
                    i, k = term[t + r, 0] * width, term[t + r, 1] * width
                    a2, b2 = a[i : i + m], b[k : k + m]
                    for c in range(m):
                        room[c] += a2[c] * b2[c]
                for c in range(m):
                    to[c] += by[c] * room[c]


@jit
def contract(
    first, group, term, stages, start, stop, lane, a, b, w, out, size_a, size_b, size_o, width, ta, tb, to,
):  # fmt: skip
    """Write products of tiles of rows.

    The tables are those of the components that the stages make, if there are stages. Tile n holds rows ``start[n]:stop[n]`` of
    a, b and out, flat arrays of rows; its weights are row ``lane[n]`` of w, a tile (weights, width).
    """
    zero = w[0, 0] - w[0, 0]
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(a[r * size_a : (r + m) * size_a], size_a, width, m, ta)
        _turn(stages, width, m, ta)
        _negate(size_a, width, ta)
        _load(b[r * size_b : (r + m) * size_b], size_b, width, m, tb)
        _turn(stages, width, m, tb)
        for c in range(size_o * width):
            to[c] = zero
        _accumulate(first, group, term, width, m, ta, tb, w[lane[n]], to)
        _turn_back(stages, width, m, to)
        _store(to, size_o, width, m, out[r * size_o : (r + m) * size_o])


@jit
def gradients(
    first_x, group_x, term_x, first_y, group_y, term_y, first_w, group_w, term_w, stages, sizes, start, stop, lane, want_w,
    x, y, g, w, gx, gy, gw, size_x, size_y, size_g, width, tx, ty, tg, to, room,
):  # fmt: skip
    """Write the gradients of both factors, and add that of the weights, in one pass over the tiles."""
    zero = w[0, 0] - w[0, 0]
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        wn = w[lane[n]]
        _load(x[r * size_x : (r + m) * size_x], size_x, width, m, tx)
        _turn(stages, width, m, tx)
        _negate(size_x, width, tx)
        _load(y[r * size_y : (r + m) * size_y], size_y, width, m, ty)
        _turn(stages, width, m, ty)
        _load(g[r * size_g : (r + m) * size_g], size_g, width, m, tg)
        _turn(stages, width, m, tg)
        _negate(size_g, width, tg)
        for c in range(size_x * width):
            to[c] = zero
        _accumulate(first_x, group_x, term_x, width, m, tg, ty, wn, to)
        _turn_back(stages, width, m, to)
        _store(to, size_x, width, m, gx[r * size_x : (r + m) * size_x])
        for c in range(size_y * width):
            to[c] = zero
        _accumulate(first_y, group_y, term_y, width, m, tx, tg, wn, to)
        _turn_back(stages, width, m, to)
        _store(to, size_y, width, m, gy[r * size_y : (r + m) * size_y])
        if want_w:
            _pull(first_w, group_w, term_w, sizes, width, m, tx, ty, tg, room, gw[lane[n]])


@jit
def pull(
    first, group, term, sizes, start, stop, lane, x, y, g, gw, size_x, size_y, size_g, width, tx, ty, tg, room
):
    """Add the gradient of the weights."""
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size_x : (r + m) * size_x], size_x, width, m, tx)
        _negate(size_x, width, tx)
        _load(y[r * size_y : (r + m) * size_y], size_y, width, m, ty)
        _load(g[r * size_g : (r + m) * size_g], size_g, width, m, tg)
        _pull(first, group, term, sizes, width, m, tx, ty, tg, room, gw[lane[n]])
