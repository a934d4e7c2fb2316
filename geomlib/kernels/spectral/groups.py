"""Between batches of matrices, one after the other, and groups that hold one entry of ``W`` matrices per register."""

from __future__ import annotations

from geomlib.kernels.jit import jit_inline
from geomlib.kernels.lane_arithmetic import any_lane, magnitude, none_of, where, wide_load, wide_store
from geomlib.kernels.lane_turn import turn_in, turn_out
from geomlib.kernels.spectral.eigen import W, stride

__all__ = ["crooked", "gather", "mirror", "product", "ranks", "scaled", "scatter", "symmetric_part"]


@jit_inline
def gather(x, count, first, n, m, Z):
    """Read W matrices of n rows of m; the last one stands for those that are not there."""
    ld, size = stride(n) if n == m else m, n * m
    height, width = (n, m) if ld > m else (1, size)
    if width >= W and first + W <= count:
        for i in range(height):
            here = first * size + i * width
            for j in range(0, width - W, W):
                turn_in(x, here + j, size, Z, i * ld + j, W)
            turn_in(x, here + width - W, size, Z, i * ld + width - W, W)
        return
    for i in range(height):
        for j in range(width):
            for t in range(W):
                Z[(i * ld + j) * W + t] = x[min(first + t, count - 1) * size + i * width + j]


@jit_inline
def scatter(Z, count, first, n, out):
    """Write W matrices, fewer where there are fewer."""
    ld, size = stride(n), n * n
    height, width = (n, n) if ld > n else (1, size)
    if width >= W and first + W <= count:
        for i in range(height):
            here = first * size + i * width
            for j in range(0, width - W, W):
                turn_out(Z, i * ld + j, out, here + j, size, W)
            turn_out(Z, i * ld + width - W, out, here + width - W, size, W)
        return
    for t in range(min(W, count - first)):
        for i in range(height):
            for j in range(width):
                out[(first + t) * size + i * width + j] = Z[(i * ld + j) * W + t]


@jit_inline
def symmetric_part(Z, n):
    """Replace matrices by half the sum with their transposes, in both triangles."""
    ld = stride(n)
    for i in range(n):
        for j in range(i):
            a = 0.5 * (wide_load(Z, i * ld + j, W) + wide_load(Z, j * ld + i, W))
            wide_store(Z, i * ld + j, a)
            wide_store(Z, j * ld + i, a)


@jit_inline
def crooked(Z, n, most):
    """Return whether a matrix differs from its transpose by more than ``most`` times its largest entry, or holds NaN.

    In float64 infinity too.
    """
    ld = stride(n)
    top = magnitude(wide_load(Z, 0, W))
    apart = top - top
    finite = top <= 1.7e308
    for i in range(n):
        a = magnitude(wide_load(Z, i * ld + i, W))
        finite = finite & (a <= 1.7e308)
        top = where(a > top, a, top)
        for j in range(i):
            a, b = wide_load(Z, i * ld + j, W), wide_load(Z, j * ld + i, W)
            d = magnitude(a - b)
            finite = finite & (d <= 1.7e308)
            apart = where(apart >= d, apart, d)
            a = magnitude(a)
            top = where(a > top, a, top)
    return any_lane(none_of(finite & (apart <= most * top)))


@jit_inline
def ranks(D, n, R):
    """Write the place of every eigenvalue in ascending order."""
    for i in range(n):
        d = wide_load(D, i, W)
        zero = where(d > d, d, 0.0)
        place = zero
        for j in range(n):
            e = wide_load(D, j, W)
            before = e <= d if j < i else e < d
            place = place + where(before, 1.0, zero)
        wide_store(R, i, where(d <= d, place, zero + i))  # places of NaN are places too


@jit_inline
def mirror(Z, n):
    """Copy the lower triangle to the upper one."""
    ld = stride(n)
    for i in range(n):
        for j in range(i):
            wide_store(Z, j * ld + i, wide_load(Z, i * ld + j, W))


@jit_inline
def product(A, ai, ak, B, bk, bj, n, lower, C):
    """Write C_ij = sum_k A[ai i + ak k] B[bk k + bj j]; with ``lower`` those of the lower triangle at least."""
    i, ld = 0, stride(n)
    while i + 2 <= n:
        stop = i + 2 if lower else n
        j = 0
        while j + 2 <= stop:
            a, b = wide_load(A, ai * i, W), wide_load(A, ai * i + ai, W)
            c, d = wide_load(B, bj * j, W), wide_load(B, bj * j + bj, W)
            p, q, r, s = a * c, a * d, b * c, b * d
            for k in range(1, n):
                a, b = wide_load(A, ai * i + ak * k, W), wide_load(A, ai * i + ai + ak * k, W)
                c, d = wide_load(B, bk * k + bj * j, W), wide_load(B, bk * k + bj * j + bj, W)
                p, q, r, s = p + a * c, q + a * d, r + b * c, s + b * d
            wide_store(C, i * ld + j, p)
            wide_store(C, i * ld + j + 1, q)
            wide_store(C, i * ld + ld + j, r)
            wide_store(C, i * ld + ld + j + 1, s)
            j += 2
        if j < stop:
            a, b, c = wide_load(A, ai * i, W), wide_load(A, ai * i + ai, W), wide_load(B, bj * j, W)
            p, r = a * c, b * c
            for k in range(1, n):
                c = wide_load(B, bk * k + bj * j, W)
                p = p + wide_load(A, ai * i + ak * k, W) * c
                r = r + wide_load(A, ai * i + ai + ak * k, W) * c
            wide_store(C, i * ld + j, p)
            wide_store(C, i * ld + ld + j, r)
        i += 2
    if i < n:
        for j in range(n):
            p = wide_load(A, ai * i, W) * wide_load(B, bj * j, W)
            for k in range(1, n):
                p = p + wide_load(A, ai * i + ak * k, W) * wide_load(B, bk * k + bj * j, W)
            wide_store(C, i * ld + j, p)


@jit_inline
def scaled(V, n, F, C):
    """Write V diag(F) to C."""
    ld = stride(n)
    for k in range(n):
        f = wide_load(F, k, W)
        for i in range(n):
            wide_store(C, i * ld + k, wide_load(V, i * ld + k, W) * f)
