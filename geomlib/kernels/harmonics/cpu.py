"""Numba loops of spherical harmonics, tile by tile of points; every derivative computes the harmonics anew.

The points of a tile are contiguous, so that each step of the recursion is one vectorised loop. Arrays in capitals are room
for a tile: the rows of ``P`` hold x, y, z and their square, those of ``N`` the two divisors of a normalised vector and
whether it is not zero, those of ``V`` the harmonics, those of ``G`` and ``H`` their coefficients, those of ``A``, ``B``, ``W``
and ``D`` vectors; ``F`` holds points as rows. All of them but ``F`` are slices of one array ``room``, and the tables of a plan
come as two, ``real`` and ``index``: every array that Python hands over costs as much time as ten points.
"""

from __future__ import annotations

import math

from geomlib.kernels.jit import jit, jit_inline

__all__ = ["curvature", "slopes", "values"]


@jit_inline
def _read(x, first, size, P):
    """Read a tile of vectors."""
    for k in range(3):
        row = P[k]
        for t in range(size):
            row[t] = x[first + t, k]


@jit_inline
def _write(P, first, size, x):
    """Write a tile of vectors."""
    for k in range(3):
        row = P[k]
        for t in range(size):
            x[first + t, k] = row[t]


@jit_inline
def _points(sizes, size, normalize, P, N):
    """Normalise a tile, dividing by the largest component and then by the length; fill in the squares."""
    one = sizes[0] / sizes[0]
    zero = one - one
    x, y, z, square = P[0], P[1], P[2], P[3]
    if normalize:
        top, length, some = N[0], N[1], N[2]
        for t in range(size):
            a, b, c = x[t], y[t], z[t]
            largest = abs(a) if abs(a) > abs(b) else abs(b)
            largest = largest if largest > abs(c) else abs(c)
            # The reciprocal of the smallest numbers would overflow.
            up = sizes[1] if largest < sizes[0] else one
            up = up if largest > zero else one
            divisor = largest * up if largest > zero else one
            a, b, c = a * up / divisor, b * up / divisor, c * up / divisor
            r = math.sqrt(a * a + b * b + c * c)
            r = r if largest > zero else one
            x[t], y[t], z[t] = a / r, b / r, c / r
            top[t], length[t], some[t] = divisor / up, r, one if largest > zero else zero
    for t in range(size):
        square[t] = x[t] * x[t] + y[t] * y[t] + z[t] * z[t]


@jit_inline
def _project(size, normalize, P, N, A):
    """Multiply vectors by the derivative of the normalisation, a symmetric matrix."""
    if normalize:
        x, y, z, top, length, some = P[0], P[1], P[2], N[0], N[1], N[2]
        a, b, c = A[0], A[1], A[2]
        for t in range(size):
            s = some[t] * (x[t] * a[t] + y[t] * b[t] + z[t] * c[t])
            a[t] = (a[t] - s * x[t]) / length[t] / top[t]
            b[t] = (b[t] - s * y[t]) / length[t] / top[t]
            c[t] = (c[t] - s * z[t]) / length[t] / top[t]


@jit_inline
def _harmonics(sizes, step, factor, size, P, V):
    """Fill V by the recursion of ``algebra.irreps.solid_harmonics``."""
    x, y, z, square = P[0], P[1], P[2], P[3]
    v, nothing = V[0], sizes[2] - sizes[2]
    for t in range(size):
        v[t] = sizes[2] + nothing * x[t] + nothing * y[t] + nothing * z[t]
    for k in range(step.shape[0]):
        f, g = factor[k, 0], factor[k, 1]
        v, p = V[step[k, 0]], V[step[k, 1]]
        q = V[max(step[k, 2], 0)]
        if step[k, 3] >= 0:
            w = V[step[k, 3]]
            if step[k, 2] < 0:
                for t in range(size):
                    v[t] = f * z[t] * p[t]
                    w[t] = f * x[t] * p[t]
            else:
                for t in range(size):
                    v[t] = f * (z[t] * p[t] - x[t] * q[t])
                    w[t] = f * (x[t] * p[t] + z[t] * q[t])
        elif step[k, 2] < 0:
            for t in range(size):
                v[t] = f * y[t] * p[t]
        else:
            for t in range(size):
                v[t] = f * y[t] * p[t] - g * square[t] * q[t]


@jit_inline
def _columns(column, scale, first, size, V, out):
    """Write a tile of harmonics as rows of columns."""
    n = column.shape[0]
    for j in range(0, n - 3, 4):
        v0, v1, v2, v3 = V[column[j, 0]], V[column[j + 1, 0]], V[column[j + 2, 0]], V[column[j + 3, 0]]
        s0, s1, s2, s3 = scale[j, 0], scale[j + 1, 0], scale[j + 2, 0], scale[j + 3, 0]
        for t in range(size):
            row = out[first + t, j : j + 4]
            row[0], row[1], row[2], row[3] = s0 * v0[t], s1 * v1[t], s2 * v2[t], s3 * v3[t]
    for j in range(n - n % 4, n):
        v, s = V[column[j, 0]], scale[j, 0]
        for t in range(size):
            out[first + t, j] = s * v[t]


@jit_inline
def _coefficients(column, scale, g, first, size, F, G):
    """Read a tile of cotangents of the columns as coefficients of the harmonics."""
    zero = scale[0, 0] - scale[0, 0]
    if column.shape[0] < G.shape[0]:
        for k in range(G.shape[0]):
            row = G[k]
            for t in range(size):
                row[t] = zero
    # Through a copy: reading far memory by columns waits for each line many times.
    for t in range(size):
        near, far = F[t], g[first + t]
        for j in range(column.shape[0]):
            near[j] = scale[j, 0] * far[j]
    for j in range(column.shape[0]):
        row = G[column[j, 0]]
        for t in range(size):
            row[t] = F[t, j]


@jit_inline
def _gradient(lower, slope, size, G, V, A):
    """Write the gradient of sum G V in the point to A."""
    x, y, z = A[0], A[1], A[2]
    zero = slope[0, 0]
    for t in range(size):
        x[t], y[t], z[t] = zero, zero, zero
    for k in range(1, G.shape[0]):
        s0, s1, s2, s3, s4 = slope[k, 0], slope[k, 1], slope[k, 2], slope[k, 3], slope[k, 4]
        v0, v1, v2, v3, v4 = V[lower[k, 0]], V[lower[k, 1]], V[lower[k, 2]], V[lower[k, 3]], V[lower[k, 4]]
        g = G[k]
        for t in range(size):
            x[t] += g[t] * (s0 * v0[t] + s1 * v1[t])
            y[t] += g[t] * (s2 * v2[t])
            z[t] += g[t] * (s3 * v3[t] + s4 * v4[t])


@jit_inline
def _along(lower, slope, size, V, W, H):
    """Write the derivative of every harmonic along W to H."""
    x, y, z, h = W[0], W[1], W[2], H[0]
    for t in range(size):
        h[t] = slope[0, 0]
    for k in range(1, H.shape[0]):
        s0, s1, s2, s3, s4 = slope[k, 0], slope[k, 1], slope[k, 2], slope[k, 3], slope[k, 4]
        v0, v1, v2, v3, v4 = V[lower[k, 0]], V[lower[k, 1]], V[lower[k, 2]], V[lower[k, 3]], V[lower[k, 4]]
        h = H[k]
        for t in range(size):
            h[t] = x[t] * (s0 * v0[t] + s1 * v1[t]) + y[t] * (s2 * v2[t]) + z[t] * (s3 * v3[t] + s4 * v4[t])


@jit_inline
def _lowered(lower, slope, size, G, W, H):
    """Write to H the coefficients of the derivative of sum G V along W, one degree lower: the transpose of ``_along``."""
    zero = slope[0, 0]
    for k in range(H.shape[0]):
        h = H[k]
        for t in range(size):
            h[t] = zero
    for k in range(1, G.shape[0]):
        g = G[k]
        for n in range(5):
            s = slope[k, n]
            if s != zero:
                h, w = H[lower[k, n]], W[n // 2 + n // 3 - n // 4]
                for t in range(size):
                    h[t] += s * g[t] * w[t]


@jit_inline
def _bent(size, P, N, D, B, W, A):
    """Add to A what the derivative of the normalisation adds to that of its image: A - (u.B) D - (u.D) B + u (W.B)."""
    x, y, z, top, length, some = P[0], P[1], P[2], N[0], N[1], N[2]
    dx, dy, dz, bx, by, bz, wx, wy, wz = D[0], D[1], D[2], B[0], B[1], B[2], W[0], W[1], W[2]
    ax, ay, az = A[0], A[1], A[2]
    for t in range(size):
        vx, vy, vz = dx[t] / length[t] / top[t], dy[t] / length[t] / top[t], dz[t] / length[t] / top[t]
        ub = some[t] * (x[t] * bx[t] + y[t] * by[t] + z[t] * bz[t])
        uv = some[t] * (x[t] * vx + y[t] * vy + z[t] * vz)
        ax[t] -= ub * vx + uv * bx[t]
        ay[t] -= ub * vy + uv * by[t]
        az[t] -= ub * vz + uv * bz[t]
        dx[t] = some[t] * (wx[t] * bx[t] + wy[t] * by[t] + wz[t] * bz[t]) / length[t] / top[t]


@jit_inline
def _tables(real, index):
    """Return sizes, scale, factor, slope, column, step, lower and whether to normalise, as ``Plan.tables`` put them."""
    a, b, c = index[0, 0] + 1, index[0, 1] + 1, index[0, 2] + 1
    return real[0], real[1:a], real[a:b], real[b:c], index[1:a], index[a:b], index[b:c], index[0, 3] > 0


@jit
def values(real, index, x, out, room):
    """Write the harmonics of every point."""
    sizes, scale, factor, _, column, step, _, normalize = _tables(real, index)
    P, N, V = room[:4], room[4:7], room[7:]
    tile = room.shape[1]
    for first in range(0, x.shape[0], tile):
        size = min(tile, x.shape[0] - first)
        _read(x, first, size, P)
        _points(sizes, size, normalize, P, N)
        _harmonics(sizes, step, factor, size, P, V)
        _columns(column, scale, first, size, V, out)


@jit
def slopes(real, index, x, g, out, room, F):
    """Write the gradient of <g, values> with respect to every point."""
    sizes, scale, factor, slope, column, step, lower, normalize = _tables(real, index)
    n = lower.shape[0]
    P, N, A, V, G = room[:4], room[4:7], room[7:10], room[10 : 10 + n], room[10 + n :]
    tile = room.shape[1]
    for first in range(0, x.shape[0], tile):
        size = min(tile, x.shape[0] - first)
        _read(x, first, size, P)
        _points(sizes, size, normalize, P, N)
        _harmonics(sizes, step, factor, size, P, V)
        _coefficients(column, scale, g, first, size, F, G)
        _gradient(lower, slope, size, G, V, A)
        _project(size, normalize, P, N, A)
        _write(A, first, size, out)


@jit
def curvature(real, index, x, g, v, want_g, gg, want_x, gx, room, F):
    r"""Write the gradients of S = <v, slopes> with respect to g and to every point.

    With u = x/r and w = (v - u (u.v))/r, S is the derivative of the harmonic function sum G V along w, a harmonic function
    too, of one degree less; its gradient is ``_gradient`` again. The rest is the derivative of w.
    """
    sizes, scale, factor, slope, column, step, lower, normalize = _tables(real, index)
    n = lower.shape[0]
    P, N, A, B, W, D = room[:4], room[4:7], room[7:10], room[10:13], room[13:16], room[16:19]
    V, G, H = room[19 : 19 + n], room[19 + n : 19 + 2 * n], room[19 + 2 * n :]
    tile = room.shape[1]
    for first in range(0, x.shape[0], tile):
        size = min(tile, x.shape[0] - first)
        _read(x, first, size, P)
        _points(sizes, size, normalize, P, N)
        _harmonics(sizes, step, factor, size, P, V)
        _read(v, first, size, W)
        _project(size, normalize, P, N, W)
        if want_g:
            _along(lower, slope, size, V, W, H)
            _columns(column, scale, first, size, H, gg)
        if want_x:
            _coefficients(column, scale, g, first, size, F, G)
            _lowered(lower, slope, size, G, W, H)
            _gradient(lower, slope, size, H, V, A)
            if normalize:
                _gradient(lower, slope, size, G, V, B)
                _read(v, first, size, D)
                _bent(size, P, N, D, B, W, A)
                _project(size, normalize, P, N, A)
                for k in range(3):
                    for t in range(size):
                        A[k, t] -= D[0, t] * P[k, t]
            _write(A, first, size, gx)
