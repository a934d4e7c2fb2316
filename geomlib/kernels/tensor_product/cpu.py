"""Numba loops of tensor products with gather and scatter, driven by the sparse table.

Inside the loops features are rows of blocks in which components are outermost and channels contiguous; rows come and go in
the public order (multiplicities outermost) and are rearranged one at a time, while they are in the cache.

A *tile* joins up to three output components of one path with up to three components of the features,
``out[o_k + c] += w[p + c] * sum_i M_ki a[i_i + c]`` for all channels c, where ``M_ki`` is a multiple of a *moment*
``sum_j C y_j``, computed once per edge and shared by all paths. So a weight is read once for nine products. Tiles are sorted
by shape, so that no branch depends on the table. The same loop serves the value and the gradient with respect to a; the
other gradients come from ``pulls``, whose gradient of w is written to nothing but an argument: a pointer chosen among several
would stop the loops from being vectorised. While an edge is worked on, the weights of the next one are fetched: its row lies
where no processor looks for it. Offsets are unsigned, since a signed index would be tested for being negative at every step.
All of it is one file, because Numba's cache on disk looks at no other file than that of the function called.
"""

from __future__ import annotations

import numpy as np

from geomlib.kernels.jit import fetch, jit, jit_inline

__all__ = ["contract", "elementwise", "pulls", "rearrange"]

# Numba makes a float of an unsigned integer plus a signed one.
U1, U2, U3, U4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
U5, U6, U7, U8 = np.uint64(5), np.uint64(6), np.uint64(7), np.uint64(8)
#: Bytes of weights from which a row is asked for one edge before it is read; fewer are in a cache near by.
FAR = 4_000_000


@jit_inline
def _ahead(row, first, size):
    """Ask for part of a row that is read soon: the next one lies where no processor looks for it."""
    for c in range(np.int64(first), np.int64(first + size), 64 // row.itemsize):
        fetch(row, c)


@jit_inline
def _inside(blocks, source, target):
    """Copy a row with multiplicities outermost into one with components outermost."""
    for b in range(blocks.shape[0]):
        o, mul, dim = blocks[b, 0], blocks[b, 1], blocks[b, 2]
        s, t = source[o : o + mul * dim], target[o : o + mul * dim]
        if dim == 1:
            for u in range(mul):
                t[u] = s[u]
        elif dim == 3:
            t0, t1, t2 = t[:mul], t[mul : 2 * mul], t[2 * mul :]
            for u in range(mul):
                t0[u] = s[3 * u]
                t1[u] = s[3 * u + 1]
                t2[u] = s[3 * u + 2]
        elif dim == 5:
            t0, t1, t2, t3, t4 = (
                t[:mul],
                t[mul : 2 * mul],
                t[2 * mul : 3 * mul],
                t[3 * mul : 4 * mul],
                t[4 * mul :],
            )
            for u in range(mul):
                t0[u] = s[5 * u]
                t1[u] = s[5 * u + 1]
                t2[u] = s[5 * u + 2]
                t3[u] = s[5 * u + 3]
                t4[u] = s[5 * u + 4]
        elif dim == 7:
            t0, t1, t2, t3 = t[:mul], t[mul : 2 * mul], t[2 * mul : 3 * mul], t[3 * mul : 4 * mul]
            t4, t5, t6 = t[4 * mul : 5 * mul], t[5 * mul : 6 * mul], t[6 * mul :]
            for u in range(mul):
                t0[u] = s[7 * u]
                t1[u] = s[7 * u + 1]
                t2[u] = s[7 * u + 2]
                t3[u] = s[7 * u + 3]
                t4[u] = s[7 * u + 4]
                t5[u] = s[7 * u + 5]
                t6[u] = s[7 * u + 6]
        else:
            for i in range(dim):
                ti = t[i * mul : (i + 1) * mul]
                for u in range(mul):
                    ti[u] = s[u * dim + i]


@jit_inline
def _outside(blocks, source, target, add):
    """Copy, or add, a row with components outermost into one with multiplicities outermost."""
    for b in range(blocks.shape[0]):
        o, mul, dim = blocks[b, 0], blocks[b, 1], blocks[b, 2]
        s, t = source[o : o + mul * dim], target[o : o + mul * dim]
        if add:
            for i in range(dim):
                si = s[i * mul : (i + 1) * mul]
                for u in range(mul):
                    t[u * dim + i] += si[u]
        elif dim == 1:
            for u in range(mul):
                t[u] = s[u]
        elif dim == 3:
            s0, s1, s2 = s[:mul], s[mul : 2 * mul], s[2 * mul :]
            for u in range(mul):
                t[3 * u] = s0[u]
                t[3 * u + 1] = s1[u]
                t[3 * u + 2] = s2[u]
        elif dim == 5:
            s0, s1, s2, s3, s4 = (
                s[:mul],
                s[mul : 2 * mul],
                s[2 * mul : 3 * mul],
                s[3 * mul : 4 * mul],
                s[4 * mul :],
            )
            for u in range(mul):
                t[5 * u] = s0[u]
                t[5 * u + 1] = s1[u]
                t[5 * u + 2] = s2[u]
                t[5 * u + 3] = s3[u]
                t[5 * u + 4] = s4[u]
        elif dim == 7:
            s0, s1, s2, s3 = s[:mul], s[mul : 2 * mul], s[2 * mul : 3 * mul], s[3 * mul : 4 * mul]
            s4, s5, s6 = s[4 * mul : 5 * mul], s[5 * mul : 6 * mul], s[6 * mul :]
            for u in range(mul):
                t[7 * u] = s0[u]
                t[7 * u + 1] = s1[u]
                t[7 * u + 2] = s2[u]
                t[7 * u + 3] = s3[u]
                t[7 * u + 4] = s4[u]
                t[7 * u + 5] = s5[u]
                t[7 * u + 6] = s6[u]
        else:
            for u in range(mul):
                for i in range(dim):
                    t[u * dim + i] = s[i * mul + u]


@jit_inline
def _factors(moment, entry_y, entry_c, y, scale, which, zero, m, f):
    """Fill in the moments of an edge and the factors of all tiles."""
    for t in range(m.shape[0]):
        total = zero
        for r in range(moment[t], moment[t + 1]):
            total += entry_c[r] * y[entry_y[r]]
        m[t] = total
    for t in range(f.shape[0]):
        f[t] = scale[t] * m[which[t]]


@jit
def rearrange(blocks, source, target):
    """Copy all rows into the order of the loops."""
    for n in range(source.shape[0]):
        _inside(blocks, source[n], target[n])


@jit
def contract(
    first, tile, at, scale, which, moment, entry_y, entry_c, start, a_row, e_row, w_row, a_blocks, out_blocks, lazy,
    a, y, w, add, out, m, f, ra, ro,
):  # fmt: skip
    """Give every row n of out the sum of its edges ``start[n]:start[n+1]``.

    ``tile`` (B, 3): offset in w, channels, first factor; those of shape r x s are ``first[3r+s-4]:first[3r+s-3]``. ``at``
    (B, 6): up to three offsets in out and three in a. ``scale`` and ``which`` (F,): factor f is a multiple of a moment. Edge
    q reads row ``a_row[q]`` of a, ``e_row[q]`` of y and ``w_row[q]`` of w. ``lazy``: rows of a come in the public order.
    Without blocks rows of out stay in the order of the loops and are added to. The last four are room for numbers.
    """
    zero = scale[0] - scale[0]
    far = w.size * w.itemsize >= FAR
    convert, lazy_a = out_blocks.shape[0] > 0, lazy and a_blocks.shape[0] > 0
    for n in range(out.shape[0]):
        row = ro if convert else out[n]
        if convert:
            for c in range(ro.shape[0]):
                ro[c] = zero
        for q in range(start[n], start[n + 1]):
            s, wv = a_row[q], w[w_row[q]]
            wn = w[w_row[min(q + 1, a_row.shape[0] - 1)]]
            if lazy_a:
                _inside(a_blocks, a[s], ra)
            x = ra if lazy_a else a[s]
            _factors(moment, entry_y, entry_c, y[e_row[q]], scale, which, zero, m, f)

            for b in range(first[0], first[1]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, i0 = at[b, 0], at[b, 3]
                f00 = f[t]
                for c in range(size):
                    v = wv[p + c]
                    a0 = v * x[i0 + c]
                    row[o0 + c] += f00 * a0
            for b in range(first[1], first[2]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, i0, i1 = at[b, 0], at[b, 3], at[b, 4]
                f00, f01 = f[t], f[t + U1]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1 = v * x[i0 + c], v * x[i1 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1
            for b in range(first[2], first[3]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, i0, i1, i2 = at[b, 0], at[b, 3], at[b, 4], at[b, 5]
                f00, f01, f02 = f[t], f[t + U1], f[t + U2]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1, a2 = v * x[i0 + c], v * x[i1 + c], v * x[i2 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1 + f02 * a2
            for b in range(first[3], first[4]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, i0 = at[b, 0], at[b, 1], at[b, 3]
                f00 = f[t]
                f10 = f[t + U1]
                for c in range(size):
                    v = wv[p + c]
                    a0 = v * x[i0 + c]
                    row[o0 + c] += f00 * a0
                    row[o1 + c] += f10 * a0
            for b in range(first[4], first[5]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, i0, i1 = at[b, 0], at[b, 1], at[b, 3], at[b, 4]
                f00, f01 = f[t], f[t + U1]
                f10, f11 = f[t + U2], f[t + U3]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1 = v * x[i0 + c], v * x[i1 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1
                    row[o1 + c] += f10 * a0 + f11 * a1
            for b in range(first[5], first[6]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, i0, i1, i2 = at[b, 0], at[b, 1], at[b, 3], at[b, 4], at[b, 5]
                f00, f01, f02 = f[t], f[t + U1], f[t + U2]
                f10, f11, f12 = f[t + U3], f[t + U4], f[t + U5]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1, a2 = v * x[i0 + c], v * x[i1 + c], v * x[i2 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1 + f02 * a2
                    row[o1 + c] += f10 * a0 + f11 * a1 + f12 * a2
            for b in range(first[6], first[7]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, o2, i0 = at[b, 0], at[b, 1], at[b, 2], at[b, 3]
                f00 = f[t]
                f10 = f[t + U1]
                f20 = f[t + U2]
                for c in range(size):
                    v = wv[p + c]
                    a0 = v * x[i0 + c]
                    row[o0 + c] += f00 * a0
                    row[o1 + c] += f10 * a0
                    row[o2 + c] += f20 * a0
            for b in range(first[7], first[8]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, o2, i0, i1 = at[b, 0], at[b, 1], at[b, 2], at[b, 3], at[b, 4]
                f00, f01 = f[t], f[t + U1]
                f10, f11 = f[t + U2], f[t + U3]
                f20, f21 = f[t + U4], f[t + U5]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1 = v * x[i0 + c], v * x[i1 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1
                    row[o1 + c] += f10 * a0 + f11 * a1
                    row[o2 + c] += f20 * a0 + f21 * a1
            for b in range(first[8], first[9]):
                p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
                if far:
                    _ahead(wn, p, size)
                o0, o1, o2, i0, i1, i2 = at[b, 0], at[b, 1], at[b, 2], at[b, 3], at[b, 4], at[b, 5]
                f00, f01, f02 = f[t], f[t + U1], f[t + U2]
                f10, f11, f12 = f[t + U3], f[t + U4], f[t + U5]
                f20, f21, f22 = f[t + U6], f[t + U7], f[t + U8]
                for c in range(size):
                    v = wv[p + c]
                    a0, a1, a2 = v * x[i0 + c], v * x[i1 + c], v * x[i2 + c]
                    row[o0 + c] += f00 * a0 + f01 * a1 + f02 * a2
                    row[o1 + c] += f10 * a0 + f11 * a1 + f12 * a2
                    row[o2 + c] += f20 * a0 + f21 * a1 + f22 * a2
        if convert:
            _outside(out_blocks, row, out[n], add)


@jit
def pulls(
    first, tile, at, scale, which, moment, entry_y, entry_c, n_row, a_row, e_row, w_row, a_blocks, g_blocks,
    lazy, a, y, w, g, want_y, gy, want_w, gw, m, f, df, dm, ra, rg,
):  # fmt: skip
    """Add the gradients of <g, contract> with respect to y and to w, edge by edge.

    The last six are room for numbers; so is ``gw``, then one row, where that of w is not wanted.
    """
    zero = scale[0] - scale[0]
    far = w.size * w.itemsize >= FAR
    lazy_a, lazy_g = lazy and a_blocks.shape[0] > 0, lazy and g_blocks.shape[0] > 0
    for q in range(a_row.shape[0]):
        n, s, e, v = n_row[q], a_row[q], e_row[q], w_row[q]
        if lazy_a:
            _inside(a_blocks, a[s], ra)
        if lazy_g:
            _inside(g_blocks, g[n], rg)
        x, z, wv = (ra if lazy_a else a[s]), (rg if lazy_g else g[n]), w[v]
        gv = gw[v if want_w else 0]
        after = w_row[min(q + 1, a_row.shape[0] - 1)]
        wn, gn = w[after], gw[after if want_w else 0]
        _factors(moment, entry_y, entry_c, y[e], scale, which, zero, m, f)

        for b in range(first[0], first[1]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, i0 = at[b, 0], at[b, 3]
            f00 = f[t]
            d00 = zero
            for c in range(size):
                u = wv[p + c]
                a0 = x[i0 + c]
                g0 = z[o0 + c]
                u0 = u * g0
                d00 += u0 * a0
                gv[p + c] += g0 * (f00 * a0)
            df[t] = d00
        for b in range(first[1], first[2]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, i0, i1 = at[b, 0], at[b, 3], at[b, 4]
            f00, f01 = f[t], f[t + U1]
            d00, d01 = zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1 = x[i0 + c], x[i1 + c]
                g0 = z[o0 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                gv[p + c] += g0 * (f00 * a0 + f01 * a1)
            df[t], df[t + U1] = d00, d01
        for b in range(first[2], first[3]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, i0, i1, i2 = at[b, 0], at[b, 3], at[b, 4], at[b, 5]
            f00, f01, f02 = f[t], f[t + U1], f[t + U2]
            d00, d01, d02 = zero, zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1, a2 = x[i0 + c], x[i1 + c], x[i2 + c]
                g0 = z[o0 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                d02 += u0 * a2
                gv[p + c] += g0 * (f00 * a0 + f01 * a1 + f02 * a2)
            df[t], df[t + U1], df[t + U2] = d00, d01, d02
        for b in range(first[3], first[4]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, i0 = at[b, 0], at[b, 1], at[b, 3]
            f00 = f[t]
            f10 = f[t + U1]
            d00 = zero
            d10 = zero
            for c in range(size):
                u = wv[p + c]
                a0 = x[i0 + c]
                g0, g1 = z[o0 + c], z[o1 + c]
                u0 = u * g0
                d00 += u0 * a0
                u1 = u * g1
                d10 += u1 * a0
                gv[p + c] += g0 * (f00 * a0) + g1 * (f10 * a0)
            df[t] = d00
            df[t + U1] = d10
        for b in range(first[4], first[5]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, i0, i1 = at[b, 0], at[b, 1], at[b, 3], at[b, 4]
            f00, f01 = f[t], f[t + U1]
            f10, f11 = f[t + U2], f[t + U3]
            d00, d01 = zero, zero
            d10, d11 = zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1 = x[i0 + c], x[i1 + c]
                g0, g1 = z[o0 + c], z[o1 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                u1 = u * g1
                d10 += u1 * a0
                d11 += u1 * a1
                gv[p + c] += g0 * (f00 * a0 + f01 * a1) + g1 * (f10 * a0 + f11 * a1)
            df[t], df[t + U1] = d00, d01
            df[t + U2], df[t + U3] = d10, d11
        for b in range(first[5], first[6]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, i0, i1, i2 = at[b, 0], at[b, 1], at[b, 3], at[b, 4], at[b, 5]
            f00, f01, f02 = f[t], f[t + U1], f[t + U2]
            f10, f11, f12 = f[t + U3], f[t + U4], f[t + U5]
            d00, d01, d02 = zero, zero, zero
            d10, d11, d12 = zero, zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1, a2 = x[i0 + c], x[i1 + c], x[i2 + c]
                g0, g1 = z[o0 + c], z[o1 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                d02 += u0 * a2
                u1 = u * g1
                d10 += u1 * a0
                d11 += u1 * a1
                d12 += u1 * a2
                gv[p + c] += g0 * (f00 * a0 + f01 * a1 + f02 * a2) + g1 * (f10 * a0 + f11 * a1 + f12 * a2)
            df[t], df[t + U1], df[t + U2] = d00, d01, d02
            df[t + U3], df[t + U4], df[t + U5] = d10, d11, d12
        for b in range(first[6], first[7]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, o2, i0 = at[b, 0], at[b, 1], at[b, 2], at[b, 3]
            f00 = f[t]
            f10 = f[t + U1]
            f20 = f[t + U2]
            d00 = zero
            d10 = zero
            d20 = zero
            for c in range(size):
                u = wv[p + c]
                a0 = x[i0 + c]
                g0, g1, g2 = z[o0 + c], z[o1 + c], z[o2 + c]
                u0 = u * g0
                d00 += u0 * a0
                u1 = u * g1
                d10 += u1 * a0
                u2 = u * g2
                d20 += u2 * a0
                gv[p + c] += g0 * (f00 * a0) + g1 * (f10 * a0) + g2 * (f20 * a0)
            df[t] = d00
            df[t + U1] = d10
            df[t + U2] = d20
        for b in range(first[7], first[8]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, o2, i0, i1 = at[b, 0], at[b, 1], at[b, 2], at[b, 3], at[b, 4]
            f00, f01 = f[t], f[t + U1]
            f10, f11 = f[t + U2], f[t + U3]
            f20, f21 = f[t + U4], f[t + U5]
            d00, d01 = zero, zero
            d10, d11 = zero, zero
            d20, d21 = zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1 = x[i0 + c], x[i1 + c]
                g0, g1, g2 = z[o0 + c], z[o1 + c], z[o2 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                u1 = u * g1
                d10 += u1 * a0
                d11 += u1 * a1
                u2 = u * g2
                d20 += u2 * a0
                d21 += u2 * a1
                gv[p + c] += (
                    g0 * (f00 * a0 + f01 * a1) + g1 * (f10 * a0 + f11 * a1) + g2 * (f20 * a0 + f21 * a1)
                )
            df[t], df[t + U1] = d00, d01
            df[t + U2], df[t + U3] = d10, d11
            df[t + U4], df[t + U5] = d20, d21
        for b in range(first[8], first[9]):
            p, size, t = tile[b, 0], tile[b, 1], tile[b, 2]
            if far:
                _ahead(wn, p, size)
                _ahead(gn, p, size)
            o0, o1, o2, i0, i1, i2 = at[b, 0], at[b, 1], at[b, 2], at[b, 3], at[b, 4], at[b, 5]
            f00, f01, f02 = f[t], f[t + U1], f[t + U2]
            f10, f11, f12 = f[t + U3], f[t + U4], f[t + U5]
            f20, f21, f22 = f[t + U6], f[t + U7], f[t + U8]
            d00, d01, d02 = zero, zero, zero
            d10, d11, d12 = zero, zero, zero
            d20, d21, d22 = zero, zero, zero
            for c in range(size):
                u = wv[p + c]
                a0, a1, a2 = x[i0 + c], x[i1 + c], x[i2 + c]
                g0, g1, g2 = z[o0 + c], z[o1 + c], z[o2 + c]
                u0 = u * g0
                d00 += u0 * a0
                d01 += u0 * a1
                d02 += u0 * a2
                u1 = u * g1
                d10 += u1 * a0
                d11 += u1 * a1
                d12 += u1 * a2
                u2 = u * g2
                d20 += u2 * a0
                d21 += u2 * a1
                d22 += u2 * a2
                gv[p + c] += (
                    g0 * (f00 * a0 + f01 * a1 + f02 * a2)
                    + g1 * (f10 * a0 + f11 * a1 + f12 * a2)
                    + g2 * (f20 * a0 + f21 * a1 + f22 * a2)
                )
            df[t], df[t + U1], df[t + U2] = d00, d01, d02
            df[t + U3], df[t + U4], df[t + U5] = d10, d11, d12
            df[t + U6], df[t + U7], df[t + U8] = d20, d21, d22
        if want_y:
            for t in range(dm.shape[0]):
                dm[t] = zero
            for t in range(df.shape[0]):
                dm[which[t]] += scale[t] * df[t]
            for t in range(dm.shape[0]):
                for r in range(moment[t], moment[t + 1]):
                    gy[e, entry_y[r]] += entry_c[r] * dm[t]


@jit
def elementwise(entry, coefficient, a_blocks, b_blocks, c_blocks, out_blocks, a, b, c, out, ra, rb, rc, ro):
    """Add products of rows, channel by channel: ``out[o + u] += coefficient * a[i + u] * b[j + u] * c[k + u]``.

    ``entry`` (R, 5): offsets in out, a, b and c (or -1 for a factor of one), channels. An operand with one row serves all
    rows; an ``out`` with one row is the sum over rows. Operands with blocks come in the public order.
    """
    zero = coefficient[0] - coefficient[0]
    rows = max(a.shape[0], b.shape[0], out.shape[0])
    if min(a.shape[0], b.shape[0], out.shape[0]) == 0:
        rows = 0
    convert = out_blocks.shape[0] > 0
    for n in range(rows):
        xa, xb = a[min(n, a.shape[0] - 1)], b[min(n, b.shape[0] - 1)]
        xc, last = c[min(n, c.shape[0] - 1)], out[min(n, out.shape[0] - 1)]
        if a_blocks.shape[0]:
            _inside(a_blocks, xa, ra)
            xa = ra
        if b_blocks.shape[0]:
            _inside(b_blocks, xb, rb)
            xb = rb
        if c_blocks.shape[0]:
            _inside(c_blocks, xc, rc)
            xc = rc
        row = ro if convert else last
        if convert:
            for u in range(ro.shape[0]):
                ro[u] = zero
        for r in range(entry.shape[0]):
            o, i, j, k, size = entry[r, 0], entry[r, 1], entry[r, 2], entry[r, 3], entry[r, 4]
            f = coefficient[r]
            to, p, q = row[o : o + size], xa[i : i + size], xb[j : j + size]
            if k >= 0:
                s = xc[k : k + size]
                for u in range(size):
                    to[u] += (f * s[u]) * (p[u] * q[u])
            else:
                for u in range(size):
                    to[u] += f * (p[u] * q[u])
        if convert:
            _outside(out_blocks, ro, last, True)
