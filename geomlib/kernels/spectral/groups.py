"""Between batches of matrices, one after the other, and groups that hold one entry of ``W`` matrices per register."""

from __future__ import annotations

from geomlib.kernels.jit import jit_inline
from geomlib.kernels.lane_arithmetic import any_lane, magnitude, none_of, where, wide_load, wide_store
from geomlib.kernels.spectral.eigen import W

__all__ = ["crooked", "gather", "mirror", "product", "ranks", "scatter_symmetric", "symmetric_part"]


@jit_inline
def gather(x, count, first, size, Z):
    """Read W rows of the given size; the last row stands for those that are not there."""
    if first + W <= count:
        start = first * size
        for e in range(size):
            for t in range(W):
                Z[e * W + t] = x[start + t * size + e]
    else:
        for e in range(size):
            for t in range(W):
                Z[e * W + t] = x[min(first + t, count - 1) * size + e]


@jit_inline
def scatter_symmetric(Z, count, first, n, out):
    """Write symmetric matrices of which the lower triangle is given."""
    for t in range(min(W, count - first)):
        start = (first + t) * n * n
        for i in range(n):
            for j in range(i + 1):
                a = Z[(i * n + j) * W + t]
                out[start + i * n + j] = a
                out[start + j * n + i] = a


@jit_inline
def symmetric_part(Z, n):
    """Replace matrices by half the sum with their transposes, in both triangles."""
    for i in range(n):
        for j in range(i):
            a = 0.5 * (wide_load(Z, i * n + j, W) + wide_load(Z, j * n + i, W))
            wide_store(Z, i * n + j, a)
            wide_store(Z, j * n + i, a)


@jit_inline
def crooked(Z, n, most):
    """Return whether a matrix differs from its transpose by more than ``most`` times its largest entry, or is not finite."""
    top = magnitude(wide_load(Z, 0, W))
    apart = top - top
    for i in range(n):
        a = magnitude(wide_load(Z, i * n + i, W))
        top = where(a > top, a, top)
        for j in range(i):
            a, b = wide_load(Z, i * n + j, W), wide_load(Z, j * n + i, W)
            d = magnitude(a - b)
            apart = where(apart >= d, apart, d)
            a = magnitude(a)
            top = where(a > top, a, top)
    return any_lane(none_of(apart <= most * top))


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
    for i in range(n):
        for j in range(i):
            wide_store(Z, j * n + i, wide_load(Z, i * n + j, W))


@jit_inline
def product(A, ai, ak, B, bk, bj, n, lower, C):
    """Write C_ij = sum_k A[ai i + ak k] B[bk k + bj j]; with ``lower`` those of the lower triangle at least."""
    i = 0
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
            wide_store(C, i * n + j, p)
            wide_store(C, i * n + j + 1, q)
            wide_store(C, i * n + n + j, r)
            wide_store(C, i * n + n + j + 1, s)
            j += 2
        if j < stop:
            a, b, c = wide_load(A, ai * i, W), wide_load(A, ai * i + ai, W), wide_load(B, bj * j, W)
            p, r = a * c, b * c
            for k in range(1, n):
                c = wide_load(B, bk * k + bj * j, W)
                p = p + wide_load(A, ai * i + ak * k, W) * c
                r = r + wide_load(A, ai * i + ai + ak * k, W) * c
            wide_store(C, i * n + j, p)
            wide_store(C, i * n + n + j, r)
        i += 2
    if i < n:
        for j in range(n):
            p = wide_load(A, ai * i, W) * wide_load(B, bj * j, W)
            for k in range(1, n):
                p = p + wide_load(A, ai * i + ak * k, W) * wide_load(B, bk * k + bj * j, W)
            wide_store(C, i * n + j, p)
