"""Numba loops of the bond geometry; ``k`` holds sqrt(2), sqrt(3/2), sqrt(1/2), sqrt(3), 1/3 in the working type."""

from __future__ import annotations

import math

from geomlib.kernels.jit import jit

__all__ = ["geometry", "pull", "push"]


@jit
def geometry(k, vec, length, direction):
    """Write the length and the compact direction rows of every vector."""
    for p in range(vec.shape[0]):
        x, y, z = vec[p, 0], vec[p, 1], vec[p, 2]
        r = math.sqrt(x * x + y * y + z * z)
        length[p] = r
        x, y, z = x / r, y / r, z / r
        direction[p, 0] = k[3]
        direction[p, 1] = k[0] * x
        direction[p, 2] = k[0] * y
        direction[p, 3] = k[0] * z
        direction[p, 4] = k[0] * x * z
        direction[p, 5] = k[0] * x * y
        direction[p, 6] = k[1] * (y * y - k[4])
        direction[p, 7] = k[0] * y * z
        direction[p, 8] = k[2] * (z * z - x * x)


@jit
def pull(k, vec, length, g, gr, out):
    """Write the gradient with respect to vec from those of direction (g) and length (gr)."""
    for p in range(vec.shape[0]):
        r = length[p]
        x, y, z = vec[p, 0] / r, vec[p, 1] / r, vec[p, 2] / r
        a = k[0] * (g[p, 1] + z * g[p, 4] + y * g[p, 5] - x * g[p, 8])
        b = k[0] * (g[p, 2] + x * g[p, 5] + z * g[p, 7]) + (k[1] + k[1]) * y * g[p, 6]
        c = k[0] * (g[p, 3] + x * g[p, 4] + y * g[p, 7] + z * g[p, 8])
        t = x * a + y * b + z * c
        s = gr[p] - t / r
        out[p, 0] = a / r + s * x
        out[p, 1] = b / r + s * y
        out[p, 2] = c / r + s * z


@jit
def push(k, vec, length, t, g, gr):
    """Write the tangents of direction (g) and length (gr) from that of vec (t); the transpose of ``pull``."""
    for p in range(vec.shape[0]):
        r = length[p]
        x, y, z = vec[p, 0] / r, vec[p, 1] / r, vec[p, 2] / r
        s = x * t[p, 0] + y * t[p, 1] + z * t[p, 2]
        a, b, c = (t[p, 0] - s * x) / r, (t[p, 1] - s * y) / r, (t[p, 2] - s * z) / r
        gr[p] = s
        g[p, 0] = s - s
        g[p, 1] = k[0] * a
        g[p, 2] = k[0] * b
        g[p, 3] = k[0] * c
        g[p, 4] = k[0] * (x * c + z * a)
        g[p, 5] = k[0] * (x * b + y * a)
        g[p, 6] = (k[1] + k[1]) * y * b
        g[p, 7] = k[0] * (y * c + z * b)
        g[p, 8] = k[0] * (z * c - x * a)
