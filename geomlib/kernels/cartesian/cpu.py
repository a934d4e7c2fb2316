"""Numba loops over atoms and channels; features are component-major, (9, N, C).

``k`` holds the constants of the compact basis in the working type: sqrt(1/2), sqrt(1/3), sqrt(2/3), sqrt(3/2), 1/2, 1/3
(a literal would promote float32 to float64 inside Numba).
"""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline

__all__ = [
    "gate_parts",
    "normalize",
    "normalize_backward",
    "normalize_double_backward",
    "part_norms",
    "product",
    "product_backward",
    "product_double_backward",
    "square_update",
    "square_update_backward",
    "square_update_double_backward",
]


@jit_inline
def _matrix(k, x, i, c, t):
    """Return the nine entries of the matrix of features (i, c); transposed where t is -1."""
    r2 = k[0]
    scalar, yy, d = k[1] * x[0, i, c], k[2] * x[6, i, c], r2 * x[8, i, c]
    a1, a2, a3 = t * x[1, i, c], t * x[2, i, c], t * x[3, i, c]
    xz, xy, yz = x[4, i, c], x[5, i, c], x[7, i, c]
    h = scalar - k[4] * yy
    return (
        h - d, r2 * (xy - a3), r2 * (xz + a2),
        r2 * (xy + a3), scalar + yy, r2 * (yz - a1),
        r2 * (xz - a2), r2 * (yz + a1), h + d,
    )  # fmt: skip


@jit_inline
def _mul(a, b):
    """Return the product of two 3x3 matrices given by rows."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    return (
        a0 * b0 + a1 * b3 + a2 * b6, a0 * b1 + a1 * b4 + a2 * b7, a0 * b2 + a1 * b5 + a2 * b8,
        a3 * b0 + a4 * b3 + a5 * b6, a3 * b1 + a4 * b4 + a5 * b7, a3 * b2 + a4 * b5 + a5 * b8,
        a6 * b0 + a7 * b3 + a8 * b6, a6 * b1 + a7 * b4 + a8 * b7, a6 * b2 + a7 * b5 + a8 * b8,
    )  # fmt: skip


@jit_inline
def _add(a, b):
    """Return the sum of two 9-tuples."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    return a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5, a6 + b6, a7 + b7, a8 + b8


@jit_inline
def _store(k, m, s, out, i, c):
    """Write s times the compact coefficients of the matrix m."""
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = m
    r = k[0] * s
    trace = m0 + m4 + m8
    out[0, i, c] = k[1] * s * trace
    out[1, i, c] = r * (m7 - m5)
    out[2, i, c] = r * (m2 - m6)
    out[3, i, c] = r * (m3 - m1)
    out[4, i, c] = r * (m2 + m6)
    out[5, i, c] = r * (m1 + m3)
    out[6, i, c] = k[3] * s * (m4 - k[5] * trace)
    out[7, i, c] = r * (m5 + m7)
    out[8, i, c] = r * (m8 - m0)


@jit
def product(k, symmetric, x, y, scale, out):
    """Out = scale (x y + y x), or scale 2 x y."""
    one = k[4] + k[4]
    for i in range(x.shape[1]):
        s = scale[i]
        if symmetric:
            for c in range(x.shape[2]):
                a, b = _matrix(k, x, i, c, one), _matrix(k, y, i, c, one)
                _store(k, _add(_mul(a, b), _mul(b, a)), s, out, i, c)
        else:
            s = s + s
            for c in range(x.shape[2]):
                _store(k, _mul(_matrix(k, x, i, c, one), _matrix(k, y, i, c, one)), s, out, i, c)


@jit
def product_backward(k, symmetric, x, y, scale, g, dx, dy):
    """Gradients of <g, product>: dx = scale (g y' + y' g) and dy = scale (g x' + x' g), ' the transpose."""
    one = k[4] + k[4]
    for i in range(x.shape[1]):
        s = scale[i]
        if symmetric:
            for c in range(x.shape[2]):
                m, b = _matrix(k, g, i, c, one), _matrix(k, y, i, c, -one)
                _store(k, _add(_mul(m, b), _mul(b, m)), s, dx, i, c)
            for c in range(x.shape[2]):
                m, a = _matrix(k, g, i, c, one), _matrix(k, x, i, c, -one)
                _store(k, _add(_mul(m, a), _mul(a, m)), s, dy, i, c)
        else:
            s = s + s
            for c in range(x.shape[2]):
                _store(k, _mul(_matrix(k, g, i, c, one), _matrix(k, y, i, c, -one)), s, dx, i, c)
            for c in range(x.shape[2]):
                _store(k, _mul(_matrix(k, x, i, c, -one), _matrix(k, g, i, c, one)), s, dy, i, c)


@jit
def product_double_backward(k, symmetric, x, y, scale, g, a, b, dg, dx, dy):
    """Gradients of <a, dx> + <b, dy> with respect to g, x and y."""
    one = k[4] + k[4]
    for i in range(x.shape[1]):
        s = scale[i]
        if symmetric:
            for c in range(x.shape[2]):
                ma, my = _matrix(k, a, i, c, one), _matrix(k, y, i, c, one)
                mb, mx = _matrix(k, b, i, c, one), _matrix(k, x, i, c, one)
                left = _add(_mul(ma, my), _mul(my, ma))
                _store(k, _add(left, _add(_mul(mb, mx), _mul(mx, mb))), s, dg, i, c)
            for c in range(x.shape[2]):
                mg, mb = _matrix(k, g, i, c, one), _matrix(k, b, i, c, -one)
                _store(k, _add(_mul(mg, mb), _mul(mb, mg)), s, dx, i, c)
            for c in range(x.shape[2]):
                mg, ma = _matrix(k, g, i, c, one), _matrix(k, a, i, c, -one)
                _store(k, _add(_mul(mg, ma), _mul(ma, mg)), s, dy, i, c)
        else:
            s = s + s
            for c in range(x.shape[2]):
                left = _mul(_matrix(k, a, i, c, one), _matrix(k, y, i, c, one))
                _store(k, _add(left, _mul(_matrix(k, x, i, c, one), _matrix(k, b, i, c, one))), s, dg, i, c)
            for c in range(x.shape[2]):
                _store(k, _mul(_matrix(k, g, i, c, one), _matrix(k, b, i, c, -one)), s, dx, i, c)
            for c in range(x.shape[2]):
                _store(k, _mul(_matrix(k, a, i, c, -one), _matrix(k, g, i, c, one)), s, dy, i, c)


@jit
def normalize(k, x, out):
    """Out = x / (|x|^2 + 1), for every atom and channel."""
    one = k[4] + k[4]
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
    one = k[4] + k[4]
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
    one = k[4] + k[4]
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
        for k in range(9):
            part = 0 if k == 0 else (1 if k < 4 else 2)
            if k == 0 or k == 1 or k == 4:
                for c in range(x.shape[2]):
                    out[i, part, c] = x[k, i, c] * y[k, i, c]
            else:
                for c in range(x.shape[2]):
                    out[i, part, c] += x[k, i, c] * y[k, i, c]


@jit
def gate_parts(x, gates, factor, out):
    """out[k, i, c] = factor x[k, i, c] gates[i, part, c]."""
    for k in range(9):
        part = 0 if k == 0 else (1 if k < 4 else 2)
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[k, i, c] = factor * x[k, i, c] * gates[i, part, c]


@jit
def square_update(k, x, d, scale, out):
    """Out = x + d + scale d d."""
    one = k[4] + k[4]
    for i in range(x.shape[1]):
        s = scale[i]
        for c in range(x.shape[2]):
            m = _matrix(k, d, i, c, one)
            _store(k, _mul(m, m), s, out, i, c)
        for r in range(9):
            for c in range(x.shape[2]):
                out[r, i, c] += x[r, i, c] + d[r, i, c]


@jit
def square_update_backward(k, d, scale, g, dd):
    """Dd = g + scale (g d' + d' g)."""
    one = k[4] + k[4]
    for i in range(d.shape[1]):
        s = scale[i]
        for c in range(d.shape[2]):
            a, b = _matrix(k, g, i, c, one), _matrix(k, d, i, c, -one)
            _store(k, _add(_mul(a, b), _mul(b, a)), s, dd, i, c)
        for r in range(9):
            for c in range(d.shape[2]):
                dd[r, i, c] += g[r, i, c]


@jit
def square_update_double_backward(k, d, scale, g, t, dg, dd):
    """Gradients of <t, g + scale (g d' + d' g)> with respect to g and d."""
    one = k[4] + k[4]
    for i in range(d.shape[1]):
        s = scale[i]
        for c in range(d.shape[2]):
            a, b = _matrix(k, t, i, c, one), _matrix(k, d, i, c, one)
            _store(k, _add(_mul(a, b), _mul(b, a)), s, dg, i, c)
        for c in range(d.shape[2]):
            a, b = _matrix(k, g, i, c, one), _matrix(k, t, i, c, -one)
            _store(k, _add(_mul(a, b), _mul(b, a)), s, dd, i, c)
        for r in range(9):
            for c in range(d.shape[2]):
                dg[r, i, c] += t[r, i, c]
