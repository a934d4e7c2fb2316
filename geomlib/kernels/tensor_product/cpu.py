"""Numba loops of tensor products with gather and scatter, driven by the sparse table.

Inside the loops features are rows of blocks in which components are outermost and channels contiguous; rows come and go in
the public order (multiplicities outermost) and are rearranged one at a time, while they are in the cache.

A *group* adds to one output component of one path: ``out[o + c] += w[p + c] * sum_t m_t a[i_t + c]`` over its terms t, where
``m_t`` is a multiple of a *moment* ``sum_j C y_j``, computed once per edge and shared by all paths. The same loop serves the
value and the gradient with respect to a; the other gradients come from ``pulls``. Groups are sorted by their number of terms,
so that no branch depends on the table. The gradient of w is written to nothing but an argument: a pointer chosen among
several would stop the loops from being vectorised.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline

__all__ = ["contract", "elementwise", "pulls", "rearrange"]


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
def _moments(start, entry_y, entry_c, y, zero, m):
    for t in range(m.shape[0]):
        total = zero
        for r in range(start[t], start[t + 1]):
            total += entry_c[r] * y[entry_y[r]]
        m[t] = total


@jit
def rearrange(blocks, source, target):
    """Copy all rows into the order of the loops."""
    for n in range(source.shape[0]):
        _inside(blocks, source[n], target[n])


@jit
def contract(
    first, group, term, scale, moment, entry_y, entry_c, start, a_row, e_row, w_row, a_blocks, out_blocks, lazy,
    a, y, w, add, out, m, ra, ro,
):  # fmt: skip
    """Give every row n of out the sum of its edges ``start[n]:start[n+1]``.

    ``group`` (G, 4): offset in out, in w, channels, first term; those with k terms are ``first[k]:first[k+1]``. ``term``
    (T, 2): offset in a, moment; ``scale`` (T,). Edge q reads row ``a_row[q]`` of a, ``e_row[q]`` of y and ``w_row[q]`` of w.
    ``lazy``: rows of a come in the public order. Without blocks rows of out stay in the order of the loops and are added to.
    """
    zero = scale[0] - scale[0]
    convert, lazy_a = out_blocks.shape[0] > 0, lazy and a_blocks.shape[0] > 0
    for n in range(out.shape[0]):
        row = ro if convert else out[n]
        if convert:
            for c in range(ro.shape[0]):
                ro[c] = zero
        for q in range(start[n], start[n + 1]):
            s, wv = a_row[q], w[w_row[q]]
            if lazy_a:
                _inside(a_blocks, a[s], ra)
            x = ra if lazy_a else a[s]
            _moments(moment, entry_y, entry_c, y[e_row[q]], zero, m)
            for g in range(first[1], first[2]):
                o, p, size, t = group[g, 0], group[g, 1], group[g, 2], group[g, 3]
                # Slices, because an index o + c would be tested for being negative at every step.
                to, by = row[o : o + size], wv[p : p + size]
                m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
                for c in range(size):
                    to[c] += by[c] * (m0 * a0[c])
            for g in range(first[2], first[3]):
                o, p, size, t = group[g, 0], group[g, 1], group[g, 2], group[g, 3]
                to, by = row[o : o + size], wv[p : p + size]
                m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
                m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
                for c in range(size):
                    to[c] += by[c] * (m0 * a0[c] + m1 * a1[c])
            for g in range(first[3], first[4]):
                o, p, size, t = group[g, 0], group[g, 1], group[g, 2], group[g, 3]
                to, by = row[o : o + size], wv[p : p + size]
                m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
                m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
                m2, a2 = scale[t + 2] * m[term[t + 2, 1]], x[term[t + 2, 0] : term[t + 2, 0] + size]
                for c in range(size):
                    to[c] += by[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c])
            for g in range(first[4], first[5]):
                o, p, size, t = group[g, 0], group[g, 1], group[g, 2], group[g, 3]
                to, by = row[o : o + size], wv[p : p + size]
                m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
                m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
                m2, a2 = scale[t + 2] * m[term[t + 2, 1]], x[term[t + 2, 0] : term[t + 2, 0] + size]
                m3, a3 = scale[t + 3] * m[term[t + 3, 1]], x[term[t + 3, 0] : term[t + 3, 0] + size]
                for c in range(size):
                    to[c] += by[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c] + m3 * a3[c])
        if convert:
            _outside(out_blocks, ro, out[n], add)


@jit
def pulls(
    first, group, term, scale, moment, entry_y, entry_c, n_row, a_row, e_row, w_row, a_blocks, g_blocks,
    lazy, a, y, w, g, want_y, gy, want_w, gw, m, dm, ra, rg,
):  # fmt: skip
    """Add the gradients of <g, contract> with respect to y and to w, edge by edge.

    The last four are room for numbers; so is ``gw``, then one row, where that of w is not wanted.
    """
    zero = scale[0] - scale[0]
    for q in range(a_row.shape[0]):
        n, s, e, v = n_row[q], a_row[q], e_row[q], w_row[q]
        lazy_a, lazy_g = lazy and a_blocks.shape[0] > 0, lazy and g_blocks.shape[0] > 0
        if lazy_a:
            _inside(a_blocks, a[s], ra)
        if lazy_g:
            _inside(g_blocks, g[n], rg)
        x, z, wv = (ra if lazy_a else a[s]), (rg if lazy_g else g[n]), w[v]
        gv = gw[v if want_w else 0]
        _moments(moment, entry_y, entry_c, y[e], zero, m)
        for t in range(dm.shape[0]):
            dm[t] = zero
        for k in range(first[1], first[2]):
            o, p, size, t = group[k, 0], group[k, 1], group[k, 2], group[k, 3]
            gk, wk = z[o : o + size], wv[p : p + size]
            to = gv[p : p + size]
            m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
            s0 = zero
            for c in range(size):
                ga = gk[c] * a0[c]
                s0 += wk[c] * ga
                to[c] += m0 * ga
            dm[term[t, 1]] += scale[t] * s0
        for k in range(first[2], first[3]):
            o, p, size, t = group[k, 0], group[k, 1], group[k, 2], group[k, 3]
            gk, wk = z[o : o + size], wv[p : p + size]
            to = gv[p : p + size]
            m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
            m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
            s0, s1 = zero, zero
            for c in range(size):
                uc = wk[c] * gk[c]
                s0 += uc * a0[c]
                s1 += uc * a1[c]
                to[c] += gk[c] * (m0 * a0[c] + m1 * a1[c])
            dm[term[t, 1]] += scale[t] * s0
            dm[term[t + 1, 1]] += scale[t + 1] * s1
        for k in range(first[3], first[4]):
            o, p, size, t = group[k, 0], group[k, 1], group[k, 2], group[k, 3]
            gk, wk = z[o : o + size], wv[p : p + size]
            to = gv[p : p + size]
            m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
            m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
            m2, a2 = scale[t + 2] * m[term[t + 2, 1]], x[term[t + 2, 0] : term[t + 2, 0] + size]
            s0, s1, s2 = zero, zero, zero
            for c in range(size):
                uc = wk[c] * gk[c]
                s0 += uc * a0[c]
                s1 += uc * a1[c]
                s2 += uc * a2[c]
                to[c] += gk[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c])
            dm[term[t, 1]] += scale[t] * s0
            dm[term[t + 1, 1]] += scale[t + 1] * s1
            dm[term[t + 2, 1]] += scale[t + 2] * s2
        for k in range(first[4], first[5]):
            o, p, size, t = group[k, 0], group[k, 1], group[k, 2], group[k, 3]
            gk, wk = z[o : o + size], wv[p : p + size]
            to = gv[p : p + size]
            m0, a0 = scale[t] * m[term[t, 1]], x[term[t, 0] : term[t, 0] + size]
            m1, a1 = scale[t + 1] * m[term[t + 1, 1]], x[term[t + 1, 0] : term[t + 1, 0] + size]
            m2, a2 = scale[t + 2] * m[term[t + 2, 1]], x[term[t + 2, 0] : term[t + 2, 0] + size]
            m3, a3 = scale[t + 3] * m[term[t + 3, 1]], x[term[t + 3, 0] : term[t + 3, 0] + size]
            s0, s1, s2, s3 = zero, zero, zero, zero
            for c in range(size):
                uc = wk[c] * gk[c]
                s0 += uc * a0[c]
                s1 += uc * a1[c]
                s2 += uc * a2[c]
                s3 += uc * a3[c]
                to[c] += gk[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c] + m3 * a3[c])
            dm[term[t, 1]] += scale[t] * s0
            dm[term[t + 1, 1]] += scale[t + 1] * s1
            dm[term[t + 2, 1]] += scale[t + 2] * s2
            dm[term[t + 3, 1]] += scale[t + 3] * s3
        if want_y:
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
