r"""Eigendecompositions of small symmetric matrices, several at once: every register holds one entry of ``W`` matrices.

Householder's reflections make the matrices tridiagonal, and implicit QL steps with Wilkinson's shift make them diagonal.
Every lane has a block of its own to work on, so a step passes over the union of the blocks and rotates where a lane is
meant; what remains is as accurate as LAPACK's, a small multiple of the round-off times the norm. Matrices are scaled by powers
of two before, so that no square over- or underflows. Two rows take a single rotation of Jacobi.

Entry (i, j) of the matrices is row ``i * stride(n) + j`` of an array of registers. Of symmetric
matrices the lower triangle is read.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit_inline
from geomlib.kernels.lane_arithmetic import (
    any_lane,
    exponent,
    magnitude,
    none_of,
    root,
    same_sign,
    scale_power,
    where,
    wide_load,
    wide_store,
)

__all__ = ["W", "diagonalise", "stride"]

#: Matrices in a group.
W = 16


@jit_inline
def stride(n):
    """Return the rows from one row of matrices to the next: odd, or columns would share few places of the caches."""
    return n if n < W else n | 1


@jit_inline
def _normalise(A, n, D, limit):
    """Divide by the power of two of the largest entry, which is returned; D[0] becomes zero, or NaN where an entry is."""
    ld = stride(n)
    top = magnitude(wide_load(A, 0, W))
    nothing = top - top
    for i in range(n):
        for j in range(i + 1):
            a = magnitude(wide_load(A, i * ld + j, W))
            nothing = nothing + (a - a)
            top = where(a > top, a, top)
    power = where(top > 0.0, exponent(top), 0.0)
    power = where(power < limit, power, limit)
    power = where(power > 0.0 - limit, power, 0.0 - limit)
    down = scale_power(0.0 - power)
    for i in range(n):
        for j in range(i + 1):
            wide_store(A, i * ld + j, wide_load(A, i * ld + j, W) * down)
    wide_store(D, 0, nothing)
    return scale_power(power)


@jit_inline
def _tridiagonal(A, n, D, E, H, P):
    """Write the diagonal to D, the sub-diagonal to E (entry k between k and k + 1) and the reflections to A and H."""
    ld = stride(n)
    for i in range(n - 1, 1, -1):
        row = i * ld
        sigma = wide_load(A, row, W) * wide_load(A, row, W)
        for k in range(1, i - 1):
            a = wide_load(A, row + k, W)
            sigma = sigma + a * a
        f = wide_load(A, row + i - 1, W)
        full = sigma > 0.0
        g = where(full, 0.0 - same_sign(root(f * f + sigma), f), f)
        wide_store(E, i - 1, g)
        h = g * g - f * g
        h = where(full, 1.0 / where(full, h, 1.0), 0.0)
        wide_store(H, i, h)
        wide_store(A, row + i - 1, f - g)
        size = h - h
        for j in range(i):
            total = wide_load(A, j * ld, W) * wide_load(A, row, W)
            if j == 0:
                for k in range(1, i):
                    total = total + wide_load(A, k * ld, W) * wide_load(A, row + k, W)
            else:
                for k in range(1, j + 1):
                    total = total + wide_load(A, j * ld + k, W) * wide_load(A, row + k, W)
                for k in range(j + 1, i):
                    total = total + wide_load(A, k * ld + j, W) * wide_load(A, row + k, W)
            total = total * h
            wide_store(P, j, total)
            size = size + total * wide_load(A, row + j, W)
        size = 0.5 * h * size
        for j in range(i):
            u = wide_load(A, row + j, W)
            q = wide_load(P, j, W) - size * u
            wide_store(P, j, q)
            for k in range(j + 1):
                a = wide_load(A, j * ld + k, W) - q * wide_load(A, row + k, W)
                wide_store(A, j * ld + k, a - u * wide_load(P, k, W))
    if n > 1:
        wide_store(E, 0, wide_load(A, ld, W))
    nothing = wide_load(D, 0, W)
    for i in range(n):
        wide_store(D, i, wide_load(A, i * ld + i, W) + nothing)


@jit_inline
def _reflections(A, n, H, V):
    """Write the product of the reflections to V."""
    ld = stride(n)
    zero = wide_load(A, 0, W)
    zero = zero - zero
    for i in range(n):
        for j in range(n):
            wide_store(V, i * ld + j, zero)
        wide_store(V, i * ld + i, zero + 1.0)
    for i in range(2, n):
        h, row = wide_load(H, i, W), i * ld
        for j in range(i):
            total = wide_load(A, row, W) * wide_load(V, j, W)
            for k in range(1, i):
                total = total + wide_load(A, row + k, W) * wide_load(V, k * ld + j, W)
            total = total * h
            for k in range(i):
                wide_store(V, k * ld + j, wide_load(V, k * ld + j, W) - total * wide_load(A, row + k, W))


@jit_inline
def _rotate(V, n, low, high, C, S):
    """Apply the rotations of the planes (i, i + 1), i = high - 1, ..., low, to the columns of V."""
    r, ld = 0, stride(n)
    while r + 2 <= n:
        a, b = r * ld, (r + 1) * ld
        x, y = wide_load(V, a + high, W), wide_load(V, b + high, W)
        for i in range(high - 1, low - 1, -1):
            c, s = wide_load(C, i, W), wide_load(S, i, W)
            u, v = wide_load(V, a + i, W), wide_load(V, b + i, W)
            wide_store(V, a + i + 1, s * u + c * x)
            wide_store(V, b + i + 1, s * v + c * y)
            x = c * u - s * x
            y = c * v - s * y
        wide_store(V, a + low, x)
        wide_store(V, b + low, y)
        r += 2
    if r < n:
        a = r * ld
        x = wide_load(V, a + high, W)
        for i in range(high - 1, low - 1, -1):
            c, s = wide_load(C, i, W), wide_load(S, i, W)
            u = wide_load(V, a + i, W)
            wide_store(V, a + i + 1, s * u + c * x)
            x = c * u - s * x
        wide_store(V, a + low, x)


@jit_inline
def _step(n, D, E, l, m, low, high, g, C, S):
    """Chase the bulge from m down to l, in the lanes that have such a block, and note the rotations."""
    zero = g - g
    s, c, p = zero + 1.0, zero + 1.0, zero
    for i in range(high - 1, low - 1, -1):
        on = (l <= i) & (m > i)
        e, d, under, d1 = (
            wide_load(E, i, W),
            wide_load(D, i, W),
            wide_load(E, i + 1, W),
            wide_load(D, i + 1, W),
        )
        f, b = s * e, c * e
        r = root(f * f + g * g)
        there = r > 0.0
        inverse = 1.0 / where(there, r, 1.0)
        s = where(on, f * inverse, s)
        c = where(on, where(there, g * inverse, 1.0), c)
        wide_store(E, i + 1, where(on & (m > i + 1), r, under))
        g1 = d1 - p
        turned = (d - g1) * s + 2.0 * c * b
        p = where(on, s * turned, p)
        g = where(on, c * turned - b, g)
        wide_store(D, i + 1, where(on, g1 + p, d1))
        last = on & (l == i)
        wide_store(D, i, where(last, d - p, d))
        wide_store(E, i, where(last, g, e))
        wide_store(C, i, where(on, c, 1.0))
        wide_store(S, i, where(on, s, 0.0))


@jit_inline
def _diagonal(n, D, E, V, C, S, eps, tiny):
    """Make the tridiagonal matrices diagonal, and rotate the columns of V along; return whether it came to an end."""
    zero = wide_load(D, 0, W)
    zero = zero - zero
    wide_store(E, n - 1, zero)
    for _ in range(30 * n):
        # The first block that is left: l to m, with the numbers that its shift depends on.
        l, m, before = zero + n, zero, zero > zero
        dl, dk, el, dm = zero, zero, zero + 1.0, zero
        low, high = n, n - 1
        after = wide_load(D, n - 1, W)
        for k in range(n - 2, -1, -1):
            d, e = wide_load(D, k, W), wide_load(E, k, W)
            left = magnitude(e) > eps * (magnitude(d) + magnitude(after)) + tiny
            end = left & none_of(before)
            m, dm = where(end, k + 1, m), where(end, after, dm)
            l, dl, dk, el = where(left, k, l), where(left, d, dl), where(left, after, dk), where(left, e, el)
            if any_lane(left):
                low = k
            before, after = left, d
        if low == n:
            return True
        while not any_lane(m >= high):
            high -= 1
        g = (dk - dl) / (2.0 * el)
        g = dm - dl + el / (g + same_sign(root(g * g + 1.0), g))
        _step(n, D, E, l, m, low, high, g, C, S)
        _rotate(V, n, low, high, C, S)
    return False


@jit_inline
def _pair(A, D, V):
    """Decompose matrices of two rows by one rotation."""
    a, b, d = wide_load(A, 0, W), wide_load(A, 2, W), wide_load(A, 3, W)
    some = magnitude(b) > 0.0
    tau = (d - a) / where(some, 2.0 * b, 1.0)
    t = where(some, same_sign(1.0 / (magnitude(tau) + root(1.0 + tau * tau)), tau), 0.0)
    c = 1.0 / root(1.0 + t * t)
    s, nothing = t * c, wide_load(D, 0, W)
    wide_store(D, 0, a - t * b + nothing)
    wide_store(D, 1, d + t * b + nothing)
    wide_store(V, 0, c)
    wide_store(V, 1, s)
    wide_store(V, 2, 0.0 - s)
    wide_store(V, 3, c)


@jit_inline
def diagonalise(A, n, V, D, room, eps, tiny, limit):
    """Write eigenvalues, in no order, to D and eigenvectors to the columns of V; A is lost, room holds 4 n rows."""
    E, H, C, S = (
        room[: n * W],
        room[n * W : 2 * n * W],
        room[2 * n * W : 3 * n * W],
        room[3 * n * W : 4 * n * W],
    )
    up = _normalise(A, n, D, limit)
    done = True
    if n == 2:
        _pair(A, D, V)
    else:
        _tridiagonal(A, n, D, E, H, C)
        _reflections(A, n, H, V)
        done = _diagonal(n, D, E, V, C, S, eps, tiny)
    for i in range(n):
        w = wide_load(D, i, W) * up
        wide_store(D, i, w if done else w + (w - w) / (w - w))
    return done
