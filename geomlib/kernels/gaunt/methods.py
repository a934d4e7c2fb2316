"""The ways to compute one product, on rows of features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from geomlib.kernels.gaunt.columns import from_columns, to_columns
from geomlib.kernels.gaunt.fourier import fourier_product
from geomlib.kernels.gaunt.grid import FORMS, grid_product
from geomlib.kernels.gaunt.sparse import compiled_product, sparse_product
from geomlib.kernels.gaunt.spec import SignalProduct

__all__ = ["METHODS", "chunked", "methods_of", "whole"]

METHODS = ("sparse", "dense", "half", "separable", "fft")
"""``dense``, ``half`` and ``separable`` are the forms of the grid."""

#: Temporaries are several times the features: pieces of so many numbers, and at least so many columns, stay in a cache.
_NUMBERS, _COLUMNS = 2**18, 1024


def methods_of(kind: str) -> tuple[str, ...]:
    """Return the methods that serve a kind of product.

    >>> methods_of("vector")
    ('sparse', 'dense')
    """
    return METHODS if kind != "vector" else ("sparse", "dense")


def _of_columns(method: str) -> Callable[[SignalProduct, Tensor, Tensor], Tensor]:
    if method in FORMS:
        return lambda spec, x, y: grid_product(spec, method, x, y)
    return fourier_product if method == "fft" else sparse_product


def whole(spec: SignalProduct, method: str, x: Tensor, y: Tensor) -> Tensor:  # (B, d C)
    """Return the product in differentiable torch operations, all rows at once."""
    if not x.shape[0]:
        return x.new_zeros(0, spec.sizes[2])
    c, layout = spec.channels, spec.layout
    columns = to_columns(x, spec.first, c, layout), to_columns(y, spec.second, c, layout)
    return from_columns(_of_columns(method)(spec, *columns), spec.out, c, layout)


def chunked(spec: SignalProduct, method: str, backend: str, x: Tensor, y: Tensor) -> Tensor:  # (B, d C)
    """Return the product without recording derivatives, in pieces that fit a cache."""
    if method == "sparse" and backend == "cpu":
        return compiled_product(spec, x, y)
    # A grid has about twice as many points as there are components.
    columns = max(_COLUMNS, _NUMBERS // (2 * sum(spec.dims)))
    rows, step = x.shape[0], max(1, columns // spec.channels)
    if rows <= step:
        return whole(spec, method, x, y).contiguous()
    z = x.new_empty(rows, spec.sizes[2])
    for start in range(0, rows, step):
        part = slice(start, start + step)
        z[part] = whole(spec, method, x[part], y[part])
    return z
