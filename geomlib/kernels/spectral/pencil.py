r"""Numba loop of the squared affine-invariant distance and its gradients, a group of pairs of matrices at a time.

With P = L L^T, L^-1 Q L^-T = V diag(w) V^T and S = L^-T V the distance is the sum of log^2 w, and the gradients are
-2 S log(w) S^T and 2 S (log(w) / w) S^T.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline
from geomlib.kernels.lane_arithmetic import any_lane, none_of, root, where, wide_load, wide_store
from geomlib.kernels.spectral.eigen import W, diagonalise, stride
from geomlib.kernels.spectral.functions import logarithm
from geomlib.kernels.spectral.groups import crooked, gather, mirror, product, scaled, scatter, symmetric_part

__all__ = ["distances"]


@jit_inline
def _cholesky(L, n, least, H):
    """Factor the lower triangle in place, with the inverses of the diagonal in H; return whether a pivot is lost."""
    bad, ld = False, stride(n)
    for j in range(n):
        given = wide_load(L, j * ld + j, W)
        pivot = given
        for k in range(j):
            a = wide_load(L, j * ld + k, W)
            pivot = pivot - a * a
        good = pivot > least * given
        bad |= any_lane(none_of(good))
        inverse = 1.0 / root(where(good, pivot, (given - given) / (given - given)))
        wide_store(H, j, inverse)
        for i in range(j + 1, n):
            a = wide_load(L, i * ld + j, W)
            for k in range(j):
                a = a - wide_load(L, i * ld + k, W) * wide_load(L, j * ld + k, W)
            wide_store(L, i * ld + j, a * inverse)
    return bad


@jit_inline
def _whiten(L, H, n, Q):
    """Replace a symmetric Q by the lower triangle of L^-1 Q L^-T."""
    ld = stride(n)
    for i in range(n):
        inverse = wide_load(H, i, W)
        for j in range(n):
            a = wide_load(Q, i * ld + j, W)
            for k in range(i):
                a = a - wide_load(L, i * ld + k, W) * wide_load(Q, k * ld + j, W)
            wide_store(Q, i * ld + j, a * inverse)
    for i in range(n):
        for j in range(i + 1):
            a = wide_load(Q, i * ld + j, W)
            for k in range(j):
                a = a - wide_load(L, j * ld + k, W) * wide_load(Q, i * ld + k, W)
            wide_store(Q, i * ld + j, a * wide_load(H, j, W))


@jit_inline
def _unwhiten(L, H, n, V):
    """Replace V by L^-T V."""
    ld = stride(n)
    for i in range(n - 1, -1, -1):
        inverse = wide_load(H, i, W)
        for j in range(n):
            a = wide_load(V, i * ld + j, W)
            for k in range(i + 1, n):
                a = a - wide_load(L, k * ld + i, W) * wide_load(V, k * ld + j, W)
            wide_store(V, i * ld + j, a * inverse)


@jit
def distances(p, q, n, out, gp, gq, room, limits):
    """Write squared distances, and their gradients where there is room for them; return whether to look at a pair again."""
    ld, count = stride(n), out.shape[0]
    m = n * ld * W
    L, V, C, rest = room[:m], room[m : 2 * m], room[2 * m : 3 * m], room[3 * m :]
    D, F, H, rest = rest[: n * W], rest[n * W : 2 * n * W], rest[2 * n * W : 3 * n * W], rest[3 * n * W :]
    bad = False
    for first in range(0, count, W):
        gather(p, count, first, n, n, L)
        bad |= crooked(L, n, limits[5])
        symmetric_part(L, n)
        bad |= _cholesky(L, n, limits[3], H)
        gather(q, count, first, n, n, C)
        bad |= crooked(C, n, limits[5])
        symmetric_part(C, n)
        _whiten(L, H, n, C)
        diagonalise(C, n, V, D, rest, limits[0], limits[1], limits[2])
        low = wide_load(D, 0, W)
        high, total = low, low - low
        for i in range(n):
            w = wide_load(D, i, W)
            low, high = where(w < low, w, low), where(w > high, w, high)
            h = logarithm(w)
            total = total + h * h
            wide_store(F, i, -2.0 * h)
        bad |= any_lane(none_of((low > limits[3] * high) & (total <= 1.7e308)))
        wide_store(rest, 0, total)
        for t in range(min(W, count - first)):
            out[first + t] = rest[t]
        if gp.shape[0] + gq.shape[0] == 0:
            continue
        _unwhiten(L, H, n, V)
        if gp.shape[0] > 0:
            scaled(V, n, F, C)
            product(C, ld, 1, V, 1, ld, n, True, L)
            mirror(L, n)
            scatter(L, count, first, n, gp)
        if gq.shape[0] > 0:
            for i in range(n):
                wide_store(F, i, (0.0 - wide_load(F, i, W)) / wide_load(D, i, W))
            scaled(V, n, F, C)
            product(C, ld, 1, V, 1, ld, n, True, L)
            mirror(L, n)
            scatter(L, count, first, n, gq)
    return bad
