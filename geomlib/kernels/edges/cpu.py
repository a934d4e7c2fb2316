"""Numba loops over receiver-sorted edges: one thread, no atomics, so the result never depends on timing.

Imported only when the ``cpu`` backend runs. Features are component-major, (9, N, C); weights are (P, 3, C).

In all of them ``start, other, row, sign`` are the edges by receiver (see ``graph.CSR``); ``loop_row`` is the weight row of
the self loops, or -1, and ``scale`` (sqrt 3) the compact coefficient of the identity. The innermost loop runs over
channels, which are contiguous.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = [
    "embedding",
    "embedding_backward",
    "embedding_double_backward",
    "message",
    "message_two",
    "pair_inner",
]


@jit
def message(start, other, row, loop_row, w, x, out):
    """out[:, i] = sum_j w[row] * x[:, j], plus the self loop."""
    nodes, channels = x.shape[1], x.shape[2]
    for i in range(nodes):
        if loop_row >= 0:
            for k in range(9):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                for c in range(channels):
                    out[k, i, c] = w[loop_row, part, c] * x[k, i, c]
        else:
            for k in range(9):
                for c in range(channels):
                    out[k, i, c] = 0.0
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            for k in range(9):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                for c in range(channels):
                    out[k, i, c] += w[p, part, c] * x[k, j, c]


@jit
def message_two(start, other, row, loop_row, w, x, v, y, out):
    """out[:, i] = sum_j (w[row] * x[:, j] + v[row] * y[:, j]), plus the self loops."""
    nodes, channels = x.shape[1], x.shape[2]
    for i in range(nodes):
        if loop_row >= 0:
            for k in range(9):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                for c in range(channels):
                    out[k, i, c] = w[loop_row, part, c] * x[k, i, c] + v[loop_row, part, c] * y[k, i, c]
        else:
            for k in range(9):
                for c in range(channels):
                    out[k, i, c] = 0.0
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            for k in range(9):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                for c in range(channels):
                    out[k, i, c] += w[p, part, c] * x[k, j, c] + v[p, part, c] * y[k, j, c]


@jit
def pair_inner(first, second, both, loop_row, g, x, out):
    """out[p, part] = sum over rows k of the part of g[k, i] * x[k, j] (+ g[k, j] * x[k, i])."""
    pairs, channels = first.shape[0], g.shape[2]
    for p in range(pairs):
        i, j = first[p], second[p]
        for k in range(9):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            fresh = k == 0 or k == 1 or k == 4
            if both:
                if fresh:
                    for c in range(channels):
                        out[p, part, c] = g[k, i, c] * x[k, j, c] + g[k, j, c] * x[k, i, c]
                else:
                    for c in range(channels):
                        out[p, part, c] += g[k, i, c] * x[k, j, c] + g[k, j, c] * x[k, i, c]
            else:
                if fresh:
                    for c in range(channels):
                        out[p, part, c] = g[k, i, c] * x[k, j, c]
                else:
                    for c in range(channels):
                        out[p, part, c] += g[k, i, c] * x[k, j, c]
    if loop_row >= 0:
        for part in range(3):
            for c in range(channels):
                out[loop_row, part, c] = 0.0
        for k in range(9):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            for i in range(g.shape[1]):
                for c in range(channels):
                    out[loop_row, part, c] += g[k, i, c] * x[k, i, c]


@jit
def embedding(start, other, row, sign, loop_row, scale, w, y, u, v, out):
    """out[k, i] = sum_j parity_k y[row, k] w[row, part] (u[i] + v[j])."""
    nodes, channels = u.shape
    for i in range(nodes):
        for k in range(9):
            for c in range(channels):
                out[k, i, c] = 0.0
        if loop_row >= 0:
            for c in range(channels):
                out[0, i, c] = scale * w[loop_row, 0, c] * (u[i, c] + v[i, c])
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            f = sign[e]
            y0 = y[p, 0]
            y1, y2, y3 = f * y[p, 1], f * y[p, 2], f * y[p, 3]
            y4, y5, y6, y7, y8 = y[p, 4], y[p, 5], y[p, 6], y[p, 7], y[p, 8]
            for c in range(channels):
                q = u[i, c] + v[j, c]
                a, b, d = w[p, 0, c] * q, w[p, 1, c] * q, w[p, 2, c] * q
                out[0, i, c] += y0 * a
                out[1, i, c] += y1 * b
                out[2, i, c] += y2 * b
                out[3, i, c] += y3 * b
                out[4, i, c] += y4 * d
                out[5, i, c] += y5 * d
                out[6, i, c] += y6 * d
                out[7, i, c] += y7 * d
                out[8, i, c] += y8 * d


@jit
def embedding_backward(start, other, row, sign, loop_row, scale, w, y, u, v, g, want_y, dw, dy, du, dv):
    """Gradients of <g, embedding>; dw, dy, du, dv arrive filled with zeros."""
    nodes, channels = u.shape
    for i in range(nodes):
        if loop_row >= 0:
            for c in range(channels):
                h = scale * g[0, i, c]
                r = w[loop_row, 0, c] * h
                du[i, c] += r
                dv[i, c] += r
                dw[loop_row, 0, c] += h * (u[i, c] + v[i, c])
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            f = sign[e]
            y0 = y[p, 0]
            y1, y2, y3 = f * y[p, 1], f * y[p, 2], f * y[p, 3]
            y4, y5, y6, y7, y8 = y[p, 4], y[p, 5], y[p, 6], y[p, 7], y[p, 8]
            for c in range(channels):
                q = u[i, c] + v[j, c]
                h0 = y0 * g[0, i, c]
                h1 = y1 * g[1, i, c] + y2 * g[2, i, c] + y3 * g[3, i, c]
                h2 = y4 * g[4, i, c] + y5 * g[5, i, c] + y6 * g[6, i, c] + y7 * g[7, i, c] + y8 * g[8, i, c]
                r = w[p, 0, c] * h0 + w[p, 1, c] * h1 + w[p, 2, c] * h2
                du[i, c] += r
                dv[j, c] += r
                dw[p, 0, c] += h0 * q
                dw[p, 1, c] += h1 * q
                dw[p, 2, c] += h2 * q
            if want_y:
                zero = y0 * 0.0
                t0, t1, t2, t3, t4, t5, t6, t7, t8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
                for c in range(channels):
                    q = u[i, c] + v[j, c]
                    a, b, d = w[p, 0, c] * q, w[p, 1, c] * q, w[p, 2, c] * q
                    t0 += a * g[0, i, c]
                    t1 += b * g[1, i, c]
                    t2 += b * g[2, i, c]
                    t3 += b * g[3, i, c]
                    t4 += d * g[4, i, c]
                    t5 += d * g[5, i, c]
                    t6 += d * g[6, i, c]
                    t7 += d * g[7, i, c]
                    t8 += d * g[8, i, c]
                dy[p, 0] += t0
                dy[p, 1] += f * t1
                dy[p, 2] += f * t2
                dy[p, 3] += f * t3
                dy[p, 4] += t4
                dy[p, 5] += t5
                dy[p, 6] += t6
                dy[p, 7] += t7
                dy[p, 8] += t8


@jit
def embedding_double_backward(
    start, other, row, sign, loop_row, scale, w, y, u, v, g, a, b, m, n, want_y, dw, dy, du, dv, dg
):
    """Gradients of the gradients contracted with the tangents a (w), b (y), m (u), n (v); outputs start at zero.

    The embedding is linear in each of w, y, (u + v) and g, so every term is the embedding with one of them replaced.
    """
    nodes, channels = u.shape
    for i in range(nodes):
        if loop_row >= 0:
            for c in range(channels):
                h = scale * g[0, i, c]
                q, qq = u[i, c] + v[i, c], m[i, c] + n[i, c]
                w0, a0 = w[loop_row, 0, c], a[loop_row, 0, c]
                dg[0, i, c] += scale * (a0 * q + w0 * qq)
                dw[loop_row, 0, c] += h * qq
                r = h * a0
                du[i, c] += r
                dv[i, c] += r
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            f = sign[e]
            y0 = y[p, 0]
            y1, y2, y3 = f * y[p, 1], f * y[p, 2], f * y[p, 3]
            y4, y5, y6, y7, y8 = y[p, 4], y[p, 5], y[p, 6], y[p, 7], y[p, 8]
            b0 = b[p, 0]
            b1, b2, b3 = f * b[p, 1], f * b[p, 2], f * b[p, 3]
            b4, b5, b6, b7, b8 = b[p, 4], b[p, 5], b[p, 6], b[p, 7], b[p, 8]
            for c in range(channels):
                q, qq = u[i, c] + v[j, c], m[i, c] + n[j, c]
                w0, w1, w2 = w[p, 0, c], w[p, 1, c], w[p, 2, c]
                a0, a1, a2 = a[p, 0, c], a[p, 1, c], a[p, 2, c]
                # dg = sign (y (a q + w qq) + b w q)
                s0, s1, s2 = a0 * q + w0 * qq, a1 * q + w1 * qq, a2 * q + w2 * qq
                z0, z1, z2 = w0 * q, w1 * q, w2 * q
                dg[0, i, c] += y0 * s0 + b0 * z0
                dg[1, i, c] += y1 * s1 + b1 * z1
                dg[2, i, c] += y2 * s1 + b2 * z1
                dg[3, i, c] += y3 * s1 + b3 * z1
                dg[4, i, c] += y4 * s2 + b4 * z2
                dg[5, i, c] += y5 * s2 + b5 * z2
                dg[6, i, c] += y6 * s2 + b6 * z2
                dg[7, i, c] += y7 * s2 + b7 * z2
                dg[8, i, c] += y8 * s2 + b8 * z2
            for c in range(channels):
                q, qq = u[i, c] + v[j, c], m[i, c] + n[j, c]
                g0, g1, g2, g3, g4 = g[0, i, c], g[1, i, c], g[2, i, c], g[3, i, c], g[4, i, c]
                g5, g6, g7, g8 = g[5, i, c], g[6, i, c], g[7, i, c], g[8, i, c]
                h0 = y0 * g0
                h1 = y1 * g1 + y2 * g2 + y3 * g3
                h2 = y4 * g4 + y5 * g5 + y6 * g6 + y7 * g7 + y8 * g8
                k0 = b0 * g0
                k1 = b1 * g1 + b2 * g2 + b3 * g3
                k2 = b4 * g4 + b5 * g5 + b6 * g6 + b7 * g7 + b8 * g8
                dw[p, 0, c] += k0 * q + h0 * qq
                dw[p, 1, c] += k1 * q + h1 * qq
                dw[p, 2, c] += k2 * q + h2 * qq
                r = (
                    a[p, 0, c] * h0 + a[p, 1, c] * h1 + a[p, 2, c] * h2
                    + w[p, 0, c] * k0 + w[p, 1, c] * k1 + w[p, 2, c] * k2
                )  # fmt: skip
                du[i, c] += r
                dv[j, c] += r
            if want_y:
                zero = y0 * 0.0
                t0, t1, t2, t3, t4, t5, t6, t7, t8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
                for c in range(channels):
                    q, qq = u[i, c] + v[j, c], m[i, c] + n[j, c]
                    s0 = a[p, 0, c] * q + w[p, 0, c] * qq
                    s1 = a[p, 1, c] * q + w[p, 1, c] * qq
                    s2 = a[p, 2, c] * q + w[p, 2, c] * qq
                    t0 += s0 * g[0, i, c]
                    t1 += s1 * g[1, i, c]
                    t2 += s1 * g[2, i, c]
                    t3 += s1 * g[3, i, c]
                    t4 += s2 * g[4, i, c]
                    t5 += s2 * g[5, i, c]
                    t6 += s2 * g[6, i, c]
                    t7 += s2 * g[7, i, c]
                    t8 += s2 * g[8, i, c]
                dy[p, 0] += t0
                dy[p, 1] += f * t1
                dy[p, 2] += f * t2
                dy[p, 3] += f * t3
                dy[p, 4] += t4
                dy[p, 5] += t5
                dy[p, 6] += t6
                dy[p, 7] += t7
                dy[p, 8] += t8
