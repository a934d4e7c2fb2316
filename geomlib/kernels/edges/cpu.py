"""Numba loops over receiver-sorted edges: one thread, no atomics, so the result never depends on timing.

Imported only when the ``cpu`` backend runs. Features are component-major, (9, N, C); weights are (P, 3, C).

In all of them ``start, other, row, sign`` are the edges by receiver (see ``graph.CSR``); ``loop_row`` is the weight row of
the self loops, or -1, and ``scale`` (sqrt 3) the compact coefficient of the identity. A self loop runs as one more edge,
before the first of its node; it has no direction, so in an embedding it has the row of the identity only. The innermost
loop runs over channels, which are contiguous; bounds such as ``x.shape[0]``, which is 9, keep LLVM from writing a loop
nine times.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = [
    "embedding",
    "embedding_backward",
    "embedding_double_backward",
    "embedding_double_backward_direction",
    "message",
    "pair_inner",
    "pair_inner_directed",
]


@jit
def message(start, other, row, loop_row, add, w, x, out):
    """out[:, i] = sum_j w[row] * x[:, j], plus the self loop; added to what ``out`` holds where ``add`` is set."""
    own = 1 if loop_row >= 0 else 0
    for i in range(x.shape[1]):
        if not add:
            for k in range(x.shape[0]):
                for c in range(x.shape[2]):
                    out[k, i, c] = 0.0
        for e in range(start[i] - own, start[i + 1]):
            j, p = (other[e], row[e]) if e >= start[i] else (i, loop_row)
            for k in range(x.shape[0]):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                for c in range(x.shape[2]):
                    out[k, i, c] += w[p, part, c] * x[k, j, c]


@jit
def pair_inner(first, second, loop_row, g, x, out):
    """out[p, part] = sum over rows k of the part of g[k, i] * x[k, j] + g[k, j] * x[k, i]; self loops count once."""
    for p in range(out.shape[0]):
        for part in range(3):
            for c in range(x.shape[2]):
                out[p, part, c] = 0.0
    for p in range(first.shape[0]):
        i, j = first[p], second[p]
        for k in range(x.shape[0]):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            for c in range(x.shape[2]):
                out[p, part, c] += g[k, i, c] * x[k, j, c] + g[k, j, c] * x[k, i, c]
    if loop_row >= 0:
        for k in range(x.shape[0]):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            for i in range(x.shape[1]):
                for c in range(x.shape[2]):
                    out[loop_row, part, c] += g[k, i, c] * x[k, i, c]


@jit
def pair_inner_directed(first, second, loop_row, g, x, out):
    """out[p, part] = sum over rows k of the part of g[k, i] * x[k, j]."""
    pairs = first.shape[0]
    for p in range(out.shape[0]):
        for part in range(3):
            for c in range(x.shape[2]):
                out[p, part, c] = 0.0
    for e in range(pairs + (x.shape[1] if loop_row >= 0 else 0)):
        p, i, j = (e, first[e], second[e]) if e < pairs else (loop_row, e - pairs, e - pairs)
        for k in range(x.shape[0]):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            for c in range(x.shape[2]):
                out[p, part, c] += g[k, i, c] * x[k, j, c]


@jit
def embedding(start, other, row, sign, loop_row, scale, w, y, u, v, out):
    """out[k, i] = sum_j parity_k y[row, k] w[row, part] (u[i] + v[j])."""
    own = 1 if loop_row >= 0 else 0
    for i in range(u.shape[0]):
        for k in range(out.shape[0]):
            for c in range(u.shape[1]):
                out[k, i, c] = 0.0
        for e in range(start[i] - own, start[i + 1]):
            real = e >= start[i]
            j, p, rows = (other[e], row[e], 9) if real else (i, loop_row, 1)
            for k in range(rows):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                s = y[p, k] if real else scale
                if part == 1:
                    s *= sign[e]
                for c in range(u.shape[1]):
                    out[k, i, c] += s * w[p, part, c] * (u[i, c] + v[j, c])


@jit
def embedding_backward(start, other, row, sign, loop_row, scale, w, y, u, v, g, dw, dy, du, dv):
    """Gradients of <g, embedding>; dw, dy, du, dv arrive filled with zeros."""
    own = 1 if loop_row >= 0 else 0
    for i in range(u.shape[0]):
        for e in range(start[i] - own, start[i + 1]):
            real = e >= start[i]
            j, p, rows = (other[e], row[e], 9) if real else (i, loop_row, 1)
            for k in range(rows):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                s = y[p, k] if real else scale
                if part == 1:
                    s *= sign[e]
                t = scale - scale
                for c in range(u.shape[1]):
                    q, r = u[i, c] + v[j, c], w[p, part, c]
                    h = s * g[k, i, c]
                    dw[p, part, c] += h * q
                    du[i, c] += h * r
                    dv[j, c] += h * r
                    t += r * q * g[k, i, c]
                if part == 1:
                    t *= sign[e]
                if real:
                    dy[p, k] += t


@jit
def embedding_double_backward(
    start, other, row, sign, loop_row, scale, w, y, u, v, g, a, b, m, n, dw, du, dv, dg
):
    """Gradients of the gradients contracted with the tangents a (w), b (y), m (u), n (v); outputs start at zero.

    The embedding is linear in each of w, y, (u + v) and g, so every term is the embedding with one of them replaced.
    """
    own = 1 if loop_row >= 0 else 0
    for i in range(u.shape[0]):
        for e in range(start[i] - own, start[i + 1]):
            real = e >= start[i]
            j, p, rows = (other[e], row[e], 9) if real else (i, loop_row, 1)
            for k in range(rows):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                s, t = (y[p, k], b[p, k]) if real else (scale, scale - scale)
                if part == 1:
                    s *= sign[e]
                    t *= sign[e]
                for c in range(u.shape[1]):
                    q, qq = u[i, c] + v[j, c], m[i, c] + n[j, c]
                    h, hh = s * g[k, i, c], t * g[k, i, c]
                    r = a[p, part, c] * h + w[p, part, c] * hh
                    dg[k, i, c] += s * (a[p, part, c] * q + w[p, part, c] * qq) + t * w[p, part, c] * q
                    dw[p, part, c] += hh * q + h * qq
                    du[i, c] += r
                    dv[j, c] += r


@jit
def embedding_double_backward_direction(start, other, row, sign, scale, w, u, v, g, a, m, n, dy):
    """The gradient with respect to y that belongs to ``embedding_double_backward``; dy starts at zero."""
    for i in range(u.shape[0]):
        for e in range(start[i], start[i + 1]):
            j, p = other[e], row[e]
            for k in range(g.shape[0]):
                part = 0 if k == 0 else (1 if k < 4 else 2)
                t = scale - scale
                for c in range(u.shape[1]):
                    q, qq = u[i, c] + v[j, c], m[i, c] + n[j, c]
                    t += (a[p, part, c] * q + w[p, part, c] * qq) * g[k, i, c]
                dy[p, k] += sign[e] * t if part == 1 else t
