"""Numba loops over atoms and channels; features are component-major, (9, N, C).

``k`` holds the constants of the compact basis in the working type: sqrt(1/2), sqrt(1/3), sqrt(2/3), sqrt(3/2), 1/2, 1/3, 1
(a literal would promote float32 to float64 inside Numba). Bounds such as ``x.shape[0]``, which is 9, keep LLVM from
writing a loop nine times.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline

__all__ = [
    "anticommutator",
    "gate_parts",
    "matrix_product",
    "normalize",
    "normalize_backward",
    "normalize_double_backward",
    "part_norms",
]


@jit_inline
def _load(x, i, c):
    """Return the nine compact coefficients of features (i, c)."""
    return (
        x[0, i, c], x[1, i, c], x[2, i, c], x[3, i, c], x[4, i, c],
        x[5, i, c], x[6, i, c], x[7, i, c], x[8, i, c],
    )  # fmt: skip


@jit_inline
def _matrix(k, x, t):
    """Return the nine entries of the matrix of compact coefficients; transposed where t is -1."""
    scalar, a1, a2, a3, xz, xy, yy, yz, d = x
    r2 = k[0]
    scalar, yy, d = k[1] * scalar, k[2] * yy, r2 * d
    a1, a2, a3 = t * a1, t * a2, t * a3
    h = scalar - k[4] * yy
    return (
        h - d, r2 * (xy - a3), r2 * (xz + a2),
        r2 * (xy + a3), scalar + yy, r2 * (yz - a1),
        r2 * (xz - a2), r2 * (yz + a1), h + d,
    )  # fmt: skip


@jit_inline
def _compact(k, m, s):
    """Return s times the compact coefficients of the matrix m."""
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = m
    r = k[0] * s
    trace = m0 + m4 + m8
    return (
        k[1] * s * trace, r * (m7 - m5), r * (m2 - m6), r * (m3 - m1),
        r * (m2 + m6), r * (m1 + m3), k[3] * s * (m4 - k[5] * trace), r * (m5 + m7), r * (m8 - m0),
    )  # fmt: skip


@jit_inline
def _multiply(a, b):
    """Return the product of two 3x3 matrices given by rows."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    return (
        a0 * b0 + a1 * b3 + a2 * b6, a0 * b1 + a1 * b4 + a2 * b7, a0 * b2 + a1 * b5 + a2 * b8,
        a3 * b0 + a4 * b3 + a5 * b6, a3 * b1 + a4 * b4 + a5 * b7, a3 * b2 + a4 * b5 + a5 * b8,
        a6 * b0 + a7 * b3 + a8 * b6, a6 * b1 + a7 * b4 + a8 * b7, a6 * b2 + a7 * b5 + a8 * b8,
    )  # fmt: skip


@jit_inline
def _anticommute(a, b):
    """Return a b + b a for two 3x3 matrices given by rows, terms of both products shared."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    u, v, w = a1 * b3 + a3 * b1, a2 * b6 + a6 * b2, a5 * b7 + a7 * b5
    p, q, r = a0 * b0, a4 * b4, a8 * b8
    a04, a08, a48, b04, b08, b48 = a0 + a4, a0 + a8, a4 + a8, b0 + b4, b0 + b8, b4 + b8
    return (
        p + p + u + v, a04 * b1 + b04 * a1 + a2 * b7 + b2 * a7, a08 * b2 + b08 * a2 + a1 * b5 + b1 * a5,
        a04 * b3 + b04 * a3 + a5 * b6 + b5 * a6, q + q + u + w, a48 * b5 + b48 * a5 + a3 * b2 + b3 * a2,
        a08 * b6 + b08 * a6 + a7 * b3 + b7 * a3, a48 * b7 + b48 * a7 + a6 * b1 + b6 * a1, r + r + v + w,
    )  # fmt: skip


@jit
def anticommutator(k, factor, x, flip, y, scale, plus, out):
    """Out = factor scale (x y' + y' x) + plus x, where y' is y, or its transpose if flip is -1."""
    for i in range(x.shape[1]):
        s = factor * scale[i]
        for c in range(x.shape[2]):
            a = _load(x, i, c)
            b = _matrix(k, _load(y, i, c), flip)
            m = _compact(k, _anticommute(_matrix(k, a, k[6]), b), s)
            for r in range(9):
                out[r, i, c] = m[r] + plus * a[r]


@jit
def matrix_product(k, factor, flip_x, x, flip_y, y, scale, out):
    """Out = factor scale x' y', where a prime transposes if its flip is -1."""
    for i in range(x.shape[1]):
        s = factor * scale[i]
        for c in range(x.shape[2]):
            a, b = _matrix(k, _load(x, i, c), flip_x), _matrix(k, _load(y, i, c), flip_y)
            m = _compact(k, _multiply(a, b), s)
            for r in range(9):
                out[r, i, c] = m[r]


@jit
def normalize(k, x, out):
    """Out = x / (|x|^2 + 1), for every atom and channel."""
    one = k[6]
    for i in range(x.shape[1]):
        for c in range(x.shape[2]):
            n = one
            for r in range(9):
                n += x[r, i, c] * x[r, i, c]
            s = one / n
            for r in range(9):
                out[r, i, c] = s * x[r, i, c]


@jit
def normalize_backward(k, x, g, dx):
    """Gradient of <g, normalize(x)>: s g - 2 s^2 (x.g) x with s = 1/(|x|^2 + 1)."""
    one = k[6]
    for i in range(x.shape[1]):
        for c in range(x.shape[2]):
            n = one
            t = one - one
            for r in range(9):
                n += x[r, i, c] * x[r, i, c]
                t += x[r, i, c] * g[r, i, c]
            s = one / n
            h = (s + s) * s * t
            for r in range(9):
                dx[r, i, c] = s * g[r, i, c] - h * x[r, i, c]


@jit
def normalize_double_backward(k, x, g, a, dg, dx):
    """Gradients with respect to g and x of <a, s g - 2 s^2 (x.g) x> = s (a.g) - 2 s^2 (x.g)(x.a)."""
    one = k[6]
    for i in range(x.shape[1]):
        for c in range(x.shape[2]):
            n = one
            xg = one - one
            xa = one - one
            ag = one - one
            for r in range(9):
                n += x[r, i, c] * x[r, i, c]
                xg += x[r, i, c] * g[r, i, c]
                xa += x[r, i, c] * a[r, i, c]
                ag += a[r, i, c] * g[r, i, c]
            s = one / n
            s2 = (s + s) * s
            # ds/dx = -2 s^2 x, d(2 s^2)/dx = -8 s^3 x
            px = (s2 + s2) * (s + s) * xg * xa - s2 * ag
            for r in range(9):
                dg[r, i, c] = s * a[r, i, c] - s2 * xa * x[r, i, c]
                dx[r, i, c] = px * x[r, i, c] - s2 * (xa * g[r, i, c] + xg * a[r, i, c])


@jit
def part_norms(x, y, out):
    """out[i, part, c] = sum over the rows of the part of x y."""
    for i in range(x.shape[1]):
        for part in range(3):
            for c in range(x.shape[2]):
                out[i, part, c] = 0.0
        for r in range(x.shape[0]):
            part = 0 if r == 0 else (1 if r < 4 else 2)
            for c in range(x.shape[2]):
                out[i, part, c] += x[r, i, c] * y[r, i, c]


@jit
def gate_parts(x, gates, factor, out):
    """out[r, i, c] = factor x[r, i, c] gates[i, part, c]."""
    for r in range(x.shape[0]):
        part = 0 if r == 0 else (1 if r < 4 else 2)
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[r, i, c] = factor * x[r, i, c] * gates[i, part, c]
