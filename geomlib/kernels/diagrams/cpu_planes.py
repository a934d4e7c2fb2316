"""Numba loops of order 2 to order 2: one pass over a matrix makes all its sums, one pass adds all that is spread over it.

Channels first: every channel is a matrix (n, n). Rows of ``sums`` are the five types of a matrix, channel by channel: sums of
its rows, of its columns, its diagonal, its total, its trace; columns are the samples, position by position.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = ["collect_weights", "mix_matrices", "spread_planes", "sum_planes"]


@jit
def sum_planes(x, once, pair, sums):  # x (B, C, n, n), pair (B, 2, C, n, n) or (0, ..), sums (5, C, B, n)
    """Write all sums, and the matrices beside their transposed; total and trace at all positions, or at the first one."""
    n, both = x.shape[2], pair.shape[0] > 0
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            for j in range(n):
                sums[1, c, b, j] = 0
            whole = trace = 0.0
            for i in range(n):
                total = x[b, c, i, 0]
                for j in range(1, n):
                    total += x[b, c, i, j]
                for j in range(n):
                    sums[1, c, b, j] += x[b, c, i, j]
                sums[0, c, b, i] = total
                sums[2, c, b, i] = x[b, c, i, i]
                whole += total
                trace += x[b, c, i, i]
            for i in range(n):
                here = i == 0 or not once
                sums[3, c, b, i] = whole if here else 0
                sums[4, c, b, i] = trace if here else 0
            if both:
                for i in range(n):
                    for j in range(n):
                        pair[b, 0, c, i, j] = x[b, c, i, j]
                    for j in range(n):
                        pair[b, 1, c, i, j] = x[b, c, j, i]


@jit
def spread_planes(u, y):  # u (3, C, B, n), y (B, C, n, n)
    """Add the first to the rows, the second to the columns, the third to the diagonal."""
    n = y.shape[2]
    for b in range(y.shape[0]):
        for c in range(y.shape[1]):
            for i in range(n):
                row = u[0, c, b, i]
                for j in range(n):
                    y[b, c, i, j] += row + u[1, c, b, j]
                y[b, c, i, i] += u[2, c, b, i]


@jit
def mix_matrices(weights, pairs, blocks, turned, both, mixed):
    """Write the matrices of the products: weights (D, C_out, C_in), both (C, 2, C'), mixed (3, C, 5, C').

    C and C' are C_out and C_in, or the other way round if the map is turned; no diagram is -1.
    """
    for c in range(both.shape[0]):
        for s in range(2):
            d = pairs[s]
            for e in range(both.shape[2]):
                if d < 0:
                    both[c, s, e] = 0
                else:
                    both[c, s, e] = weights[d, e, c] if turned else weights[d, c, e]
        for t in range(3):
            for s in range(5):
                d = blocks[t, s]
                for e in range(both.shape[2]):
                    if d < 0:
                        mixed[t, c, s, e] = 0
                    else:
                        mixed[t, c, s, e] = weights[d, e, c] if turned else weights[d, c, e]


@jit
def collect_weights(products, gram, places, out):
    """Write gradients (D, C_out, C_in) from products (B, 2, C_out, C_in) and gram (5, C_out, 5, C_in)."""
    for d in range(out.shape[0]):
        for c in range(out.shape[1]):
            if places[d] >= 2:
                t, s = (places[d] - 2) // 5, (places[d] - 2) % 5
                for e in range(out.shape[2]):
                    out[d, c, e] = gram[t, c, s, e]
            else:
                for e in range(out.shape[2]):
                    out[d, c, e] = 0
                for b in range(products.shape[0]):
                    for e in range(out.shape[2]):
                        out[d, c, e] += products[b, places[d], c, e]
