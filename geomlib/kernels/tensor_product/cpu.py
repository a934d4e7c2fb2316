"""Numba loops of channel-wise tensor products with gather and scatter, driven by the sparse table.

Features are rows of blocks in which components are outermost and channels contiguous. A *group* adds to one output
component of one path: ``out[o + c] += w[p + c] * sum_t M_t a[i_t + c]`` over its terms t, where ``M_t = sum_j C y_j``
is computed once per edge. The same loop serves the value and the gradient with respect to a; the other gradients come
from ``pulls``.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = ["contract", "pulls"]


@jit
def contract(group, term, entry_y, entry_c, start, a_row, e_row, w_row, a, y, w, out, m):
    """Add to every row n of out its edges ``start[n]:start[n+1]``.

    ``group`` (G, 5): offset in out, in w, channels, first and last term. ``term`` (T, 3): offset in a, first and last entry.
    Edge q reads row ``a_row[q]`` of a, ``e_row[q]`` of y and ``w_row[q]`` of w. ``m`` is room for T numbers.
    """
    for n in range(out.shape[0]):
        for q in range(start[n], start[n + 1]):
            s, e, v = a_row[q], e_row[q], w_row[q]
            for t in range(term.shape[0]):
                total = entry_c[0] - entry_c[0]
                for r in range(term[t, 1], term[t, 2]):
                    total += entry_c[r] * y[e, entry_y[r]]
                m[t] = total
            for g in range(group.shape[0]):
                o, p, size, t, last = group[g, 0], group[g, 1], group[g, 2], group[g, 3], group[g, 4]
                # Slices, because an index o + c would be tested for being negative at every step.
                to, by = out[n, o : o + size], w[v, p : p + size]
                while t < last:
                    i0 = term[t, 0]
                    m0, a0 = m[t], a[s, i0 : i0 + size]
                    if last - t == 1:
                        for c in range(size):
                            to[c] += by[c] * (m0 * a0[c])
                        t += 1
                        continue
                    i1 = term[t + 1, 0]
                    m1, a1 = m[t + 1], a[s, i1 : i1 + size]
                    if last - t == 2 or last - t == 4:
                        for c in range(size):
                            to[c] += by[c] * (m0 * a0[c] + m1 * a1[c])
                        t += 2
                        continue
                    i2 = term[t + 2, 0]
                    m2, a2 = m[t + 2], a[s, i2 : i2 + size]
                    for c in range(size):
                        to[c] += by[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c])
                    t += 3


@jit
def pulls(
    group, term, entry_y, entry_c, n_row, a_row, e_row, w_row, a, y, w, g, want_y, gy, want_w, gw, m, u, waste
):  # fmt: skip
    """Add the gradients of <g, contract> with respect to y and to w, edge by edge; u and waste: room for channels."""
    zero = entry_c[0] - entry_c[0]
    for q in range(a_row.shape[0]):
        n, s, e, v = n_row[q], a_row[q], e_row[q], w_row[q]
        for t in range(term.shape[0]):
            total = entry_c[0] - entry_c[0]
            for r in range(term[t, 1], term[t, 2]):
                total += entry_c[r] * y[e, entry_y[r]]
            m[t] = total
        for k in range(group.shape[0]):
            o, p, size, t, last = group[k, 0], group[k, 1], group[k, 2], group[k, 3], group[k, 4]
            gk, wv = g[n, o : o + size], w[v, p : p + size]
            to = gw[v, p : p + size] if want_w else waste[:size]
            for c in range(size):
                u[c] = wv[c] * gk[c]
            while t < last:
                i0 = term[t, 0]
                m0, a0 = m[t], a[s, i0 : i0 + size]
                s0, s1, s2 = zero, zero, zero
                count = 1
                if last - t == 1:
                    for c in range(size):
                        s0 += u[c] * a0[c]
                        to[c] += gk[c] * (m0 * a0[c])
                elif last - t == 2 or last - t == 4:
                    i1 = term[t + 1, 0]
                    m1, a1 = m[t + 1], a[s, i1 : i1 + size]
                    for c in range(size):
                        s0 += u[c] * a0[c]
                        s1 += u[c] * a1[c]
                        to[c] += gk[c] * (m0 * a0[c] + m1 * a1[c])
                    count = 2
                else:
                    i1, i2 = term[t + 1, 0], term[t + 2, 0]
                    m1, a1 = m[t + 1], a[s, i1 : i1 + size]
                    m2, a2 = m[t + 2], a[s, i2 : i2 + size]
                    for c in range(size):
                        s0 += u[c] * a0[c]
                        s1 += u[c] * a1[c]
                        s2 += u[c] * a2[c]
                        to[c] += gk[c] * (m0 * a0[c] + m1 * a1[c] + m2 * a2[c])
                    count = 3
                if want_y:
                    for r in range(term[t, 1], term[t, 2]):
                        gy[e, entry_y[r]] += entry_c[r] * s0
                    if count > 1:
                        for r in range(term[t + 1, 1], term[t + 1, 2]):
                            gy[e, entry_y[r]] += entry_c[r] * s1
                    if count > 2:
                        for r in range(term[t + 2, 1], term[t + 2, 2]):
                            gy[e, entry_y[r]] += entry_c[r] * s2
                t += count
