"""Numba loops of spectral functions: decomposition, function and recombination of a group of matrices at a time."""

from __future__ import annotations

from geomlib.kernels.jit import jit, jit_inline
from geomlib.kernels.lane_arithmetic import any_lane, magnitude, none_of, where, wide_load, wide_store
from geomlib.kernels.spectral.eigen import W, diagonalise, stride
from geomlib.kernels.spectral.functions import EXP, INV, INVSQRT, LOG, POW, SQRT, TOP, difference, values
from geomlib.kernels.spectral.groups import (
    crooked,
    gather,
    mirror,
    product,
    ranks,
    scaled,
    scatter,
    symmetric_part,
)

__all__ = ["evaluate", "pack", "pull", "unpack"]


@jit_inline
def _outside(code, n, D, least, top):
    """Return whether an eigenvalue may be outside of the domain, as `primitives.check` has it."""
    low = wide_load(D, 0, W)
    high, size, near = low, magnitude(low), magnitude(low)
    finite = size <= 1.7e308  # false for NaN, which the comparisons below pass over
    for i in range(1, n):
        w = wide_load(D, i, W)
        low, high = where(w < low, w, low), where(w > high, w, high)
        w = magnitude(w)
        finite = finite & (w <= 1.7e308)
        size, near = where(w > size, w, size), where(w < near, w, near)
    good = finite
    if code == LOG or code == SQRT or code == INVSQRT or code == POW:
        good = finite & (low > least * high)
    elif code == INV:
        good = finite & (near > least * size)
    elif code == EXP:
        good = finite & (high < top)
    return any_lane(none_of(good))


@jit_inline
def _parts(saved, n):
    """Return eigenvectors, eigenvalues, their functions and what divided differences need besides, of one group."""
    m, k = n * stride(n) * W, n * W
    return saved[:m], saved[m : m + k], saved[m + k : m + 2 * k], saved[m + 2 * k : m + 3 * k]


@jit_inline
def _places(code, D, n, R):
    """Write the places of eigenvalues where the function depends on them."""
    if code == TOP:
        ranks(D, n, R)


@jit
def evaluate(x, n, code, t, out, saved, room, limits):
    """Write f(x), and V, D, F and G of every group to its row of ``saved``; return whether to look at the matrices again.

    Where ``saved`` has one row for several groups, nothing is kept. Limits are round-off, the smallest entry of a tridiagonal
    matrix that counts, the largest exponent, n times round-off, the largest argument of exp and the asymmetry allowed.
    """
    ld = stride(n)
    m = n * ld * W
    A, C, rest = room[:m], room[m : 2 * m], room[2 * m :]
    count = x.shape[0] // (n * n)
    keep = saved.shape[0] * W >= count
    bad = False
    for first in range(0, count, W):
        V, D, F, G = _parts(saved[first // W if keep else 0], n)
        gather(x, count, first, n, n, A)
        bad |= crooked(A, n, limits[5])
        symmetric_part(A, n)
        diagonalise(A, n, V, D, rest, limits[0], limits[1], limits[2])
        bad |= code != TOP and _outside(code, n, D, limits[3], limits[4])
        _places(code, D, n, rest)
        values(code, t, n, D, F, G, rest)
        scaled(V, n, F, A)
        product(A, ld, 1, V, 1, ld, n, True, C)
        mirror(C, n)
        scatter(C, count, first, n, out)
    return bad


@jit
def pull(saved, n, code, t, e, out, room):
    """Write V (K o (V^T e V)) V^T with the divided differences K; e is symmetrised."""
    ld = stride(n)
    m = n * ld * W
    E, C = room[:m], room[m : 2 * m]
    count = e.shape[0] // (n * n)
    for first in range(0, count, W):
        V, D, F, G = _parts(saved[first // W], n)
        gather(e, count, first, n, n, E)
        symmetric_part(E, n)
        product(E, ld, 1, V, ld, 1, n, False, C)
        product(V, 1, ld, C, ld, 1, n, True, E)
        for i in range(n):
            a, fa, ga = wide_load(D, i, W), wide_load(F, i, W), wide_load(G, i, W)
            for j in range(i + 1):
                b, fb, gb = wide_load(D, j, W), wide_load(F, j, W), wide_load(G, j, W)
                k = difference(code, t, a, b, fa, fb, ga, gb)
                wide_store(E, i * ld + j, k * wide_load(E, i * ld + j, W))
        mirror(E, n)
        product(V, ld, 1, E, ld, 1, n, False, C)
        product(C, ld, 1, V, 1, ld, n, True, E)
        mirror(E, n)
        scatter(E, count, first, n, out)


@jit
def unpack(saved, n, w, v, room):
    """Write ascending eigenvalues and their eigenvectors."""
    count, ld = w.shape[0] // n, stride(n)
    for first in range(0, count, W):
        V, D, _, _ = _parts(saved[first // W], n)
        ranks(D, n, room)
        for s in range(min(W, count - first)):
            here = (first + s) * n
            for c in range(n):
                k = int(room[c * W + s])
                w[here + k] = D[c * W + s]
                for r in range(n):
                    v[(here + r) * n + k] = V[(r * ld + c) * W + s]


@jit
def pack(w, v, n, code, t, saved, room):
    """Fill groups from ascending eigenvalues and their eigenvectors."""
    count = w.shape[0] // n
    for first in range(0, count, W):
        V, D, F, G = _parts(saved[first // W], n)
        gather(v, count, first, n, n, V)
        gather(w, count, first, 1, n, D)
        _places(code, D, n, room)
        values(code, t, n, D, F, G, room)
