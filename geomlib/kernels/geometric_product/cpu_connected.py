"""Numba loops of the fully connected product: what every path contributes to every blade, laid out for matrix products."""

from __future__ import annotations

from geomlib.kernels.geometric_product.cpu import _accumulate, _load, _negate, _store
from geomlib.kernels.jit import jit, jit_inline

__all__ = ["features", "slopes"]


@jit_inline
def _put(tile, at, wide, channels, r, m, width, target):
    """Copy lanes r to r + m of every component to rows of ``wide`` numbers."""
    for k in range(at.shape[0]):
        t = 0
        while t < m:
            row, c = (r + t) // channels, (r + t) % channels
            n = min(channels - c, m - t)
            p = at[k] + row * wide[k] + c
            s, to = tile[k * width + t : k * width + t + n], target[p : p + n]
            for u in range(n):
                to[u] = s[u]
            t += n


@jit_inline
def _take(source, at, wide, channels, r, m, width, tile):
    """Copy lanes back."""
    for k in range(at.shape[0]):
        t = 0
        while t < m:
            row, c = (r + t) // channels, (r + t) % channels
            n = min(channels - c, m - t)
            p = at[k] + row * wide[k] + c
            s, to = source[p : p + n], tile[k * width + t : k * width + t + n]
            for u in range(n):
                to[u] = s[u]
            t += n


@jit
def features(first, group, term, start, stop, at, wide, channels, x, y, one, out, size, width, tx, ty, to):
    """Write the product of every path and blade; component k of row b, channel c goes to ``at[k] + b wide[k] + c``."""
    zero = one[0] - one[0]
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _negate(size, width, tx)
        _load(y[r * size : (r + m) * size], size, width, m, ty)
        for c in range(at.shape[0] * width):
            to[c] = zero
        _accumulate(first, group, term, width, m, tx, ty, one, to)
        _put(to, at, wide, channels, r, m, width, out)


@jit
def slopes(
    first_x, group_x, term_x, first_y, group_y, term_y, start, stop, at, wide, channels, x, y, g, one, gx, gy,
    size, width, tx, ty, tg, to,
):  # fmt: skip
    """Write the gradients of both factors from those of all products."""
    zero = one[0] - one[0]
    for n in range(start.shape[0]):
        r, m = start[n], stop[n] - start[n]
        _load(x[r * size : (r + m) * size], size, width, m, tx)
        _negate(size, width, tx)
        _load(y[r * size : (r + m) * size], size, width, m, ty)
        _take(g, at, wide, channels, r, m, width, tg)
        _negate(at.shape[0], width, tg)
        for c in range(size * width):
            to[c] = zero
        _accumulate(first_x, group_x, term_x, width, m, tg, ty, one, to)
        _store(to, size, width, m, gx[r * size : (r + m) * size])
        for c in range(size * width):
            to[c] = zero
        _accumulate(first_y, group_y, term_y, width, m, tx, tg, one, to)
        _store(to, size, width, m, gy[r * size : (r + m) * size])
