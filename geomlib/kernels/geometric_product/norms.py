r"""Multivectors over the mean of their lengths over channels, as one operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product.lengths import EPS, SMALL, finite_squares, grades
from geomlib.kernels.geometric_product.linear import loops_serve
from geomlib.kernels.geometric_product.tiles import flat, room, tiles_of

__all__ = ["channel_norm"]


@dataclass(frozen=True)
class _Norm:
    """Which mean of which lengths: summed over grades with a constant eps, or of the total form where eps is None."""

    alg: CliffordAlgebra
    mean: str
    eps: float | None

    def over_channels(self, h: Tensor) -> Tensor:  # (..., C) -> (..., 1)
        """Return the mean length from the squares of lengths."""
        if self.mean == "root mean square":
            return h.mean(-1, keepdim=True).sqrt()
        return h.sqrt().mean(-1, keepdim=True) + (EPS if self.eps is None else 0)


def _reference(norm: _Norm, tensors: tuple[Tensor, ...]) -> Tensor:
    x, a = tensors
    q = finite_squares(x, norm.alg)
    if norm.eps is None:
        total = q.sum(-1)
        h = torch.hypot(total, torch.full_like(total, SMALL))
    else:
        h = torch.hypot(q, torch.full_like(q, norm.eps)).sum(-1)
    return x * (a / norm.over_channels(h)).unsqueeze(-1)


@lru_cache(maxsize=64)
def _shift(eps: float | None, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    return np.array(
        [(SMALL if eps is None else eps) ** 2], np.float32 if dtype == torch.float32 else np.float64
    )


def _sizes(norm: _Norm, x: Tensor, grad: Tensor | None) -> tuple[Tensor, Tensor]:  # (B, C) each
    from geomlib.kernels.geometric_product import cpu_norms

    table, tiles, size = grades(norm.alg, x.dtype), tiles_of(*x.shape, unit=True), norm.alg.size
    h = torch.empty(x.shape[:2], dtype=x.dtype)
    t = h if grad is None else torch.empty_like(h)
    dotted = x if grad is None else grad
    cpu_norms.sizes(
        tiles.start, tiles.stop, table.ends, table.sign, table.limits, _shift(norm.eps, x.dtype), norm.eps is None,
        grad is not None, flat(x), flat(dotted), flat(h), flat(t), size, tiles.width,
        *room(tiles, x.dtype, size, size, norm.alg.n + 1, norm.alg.n + 1),
    )  # fmt: skip
    return h, t


def _forward(norm: _Norm, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.geometric_product import cpu_gates

    x, a = tensors
    out = torch.empty(x.shape, dtype=x.dtype)
    if x.numel():
        f = a / norm.over_channels(_sizes(norm, x, None)[0])
        tiles, size = tiles_of(*x.shape, unit=True), norm.alg.size
        cpu_gates.gate(
            tiles.start, tiles.stop, np.array([0, size]), flat(f), flat(x), flat(out), size, f.numel(), tiles.width,
            *room(tiles, x.dtype, size, size),
        )  # fmt: skip
    return out


def _backward(
    norm: _Norm, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    from geomlib.kernels.geometric_product import cpu_norms

    x, a = tensors
    if not x.numel():
        return tuple(torch.zeros_like(t) for t in tensors)
    h, t = _sizes(norm, x, grad)
    inverse = norm.over_channels(h).reciprocal()
    ga = (t * inverse).sum(0)
    by_mean = (t * a).sum(-1, keepdim=True) * inverse * inverse / (-2 * x.shape[1])
    e = by_mean * inverse.expand_as(h) if norm.mean == "root mean square" else by_mean * h.rsqrt()
    gx, table, tiles, size = (
        torch.empty(x.shape, dtype=x.dtype),  # not empty_like, which keeps strides: the loops write rows
        grades(norm.alg, x.dtype),
        tiles_of(*x.shape, unit=True),
        norm.alg.size,
    )
    cpu_norms.size_slopes(
        tiles.start, tiles.stop, table.ends, table.sign, table.limits, _shift(norm.eps, x.dtype), norm.eps is None,
        flat(a * inverse), flat(e), flat(x), flat(grad), flat(gx), size, tiles.width,
        *room(tiles, x.dtype, size, size, norm.alg.n + 1, norm.alg.n + 1, 2),
    )  # fmt: skip
    return gx, ga


_NORM = FusedOperation(_reference, _forward, _backward, None)


def channel_norm(
    x: Tensor,  # (..., C, 2^n)
    a: Tensor,  # (C,)
    alg: CliffordAlgebra,
    *,
    mean: str = "mean",
    eps: float | None = 1e-2,
) -> Tensor:  # (..., C, 2^n)
    r"""Divide multivectors by a mean of their lengths over channels.

    .. math:: y_c = a_c\, x_c \Big/ \operatorname{mean}_d\, |x_d|, \qquad |x|^2 = \sum_g (q(x_g)^2 + \epsilon^2)^{1/2}

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., C, 2^n) to the same.

    Args:
        x: features.
        a: scales.
        alg: the algebra.
        mean: ``"mean"`` or ``"root mean square"``.
        eps: constant of the lengths; None for those of the reference code, of the total form.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(2)
    >>> channel_norm(torch.tensor([[[3.0, 0.0, 4.0, 0.0]]]), torch.ones(1), alg, eps=1e-9).round(decimals=4)
    tensor([[[0.6000, 0.0000, 0.8000, 0.0000]]])
    """
    norm = _Norm(alg, mean, eps)
    if not loops_serve("channel_norm", (x, a)):
        return _reference(norm, (x, a))
    rows = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    return _NORM(norm, rows, a).view(x.shape)
