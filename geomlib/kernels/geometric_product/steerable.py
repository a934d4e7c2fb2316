r"""The steerable geometric product as one operation: linear images, normalisation, weighted product and residual.

Between the matrix products one pass over tiles does everything; the first derivative recomputes the right factor instead of
keeping it. Higher derivatives are those of the composition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.versors import smooth_root
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import grade_scale, weighted_gp
from geomlib.kernels.geometric_product.lengths import EPS, finite_squares, grades
from geomlib.kernels.geometric_product.linear import (
    by_blade,
    from_blades,
    grade_linear,
    loops_serve,
    of_grades,
    to_blades,
)
from geomlib.kernels.geometric_product.plan import weighted_form
from geomlib.kernels.geometric_product.tiles import SIZE_TABLE, flat, folded, room, spread, sums, tiles_of

__all__ = ["normalised", "steerable_product"]

Maybe = Tensor | None


def normalised(x: Tensor, a: Tensor, alg: CliffordAlgebra) -> Tensor:
    r"""Divide every grade by ``sigmoid(a) (|x| - 1) + 1 + 1e-6``."""
    length = smooth_root(finite_squares(x, alg))
    return grade_scale(x, (torch.sigmoid(a) * (length - 1) + (1 + EPS)).reciprocal(), alg)


@dataclass(frozen=True)
class _Layer:
    """What the layer has; its tensors are x, the path weights and the right matrices, then a, then left ones and bias."""

    alg: CliffordAlgebra
    normed: bool
    mixed: bool

    def parts(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Maybe, Maybe, Maybe]:
        """Return x, w, right matrices, a, left matrices and bias."""
        x, w, right = tensors[:3]
        left, bias = tensors[-2:] if self.mixed else (None, None)
        return x, w, right, tensors[3] if self.normed else None, left, bias


def _reference(layer: _Layer, tensors: tuple[Tensor, ...]) -> Tensor:
    x, w, right, a, left, bias = layer.parts(tensors)
    y = grade_linear(x, right, None, layer.alg)
    if a is not None:
        y = normalised(y, a, layer.alg)
    z = weighted_gp(x, y, w, layer.alg)
    return z if left is None else (grade_linear(x, left, bias, layer.alg) + z) * math.sqrt(0.5)


def _matrices(layer: _Layer, right: Tensor, left: Maybe) -> Tensor:  # (2^n, C or 2 C, C)
    return by_blade(right if left is None else torch.cat([left, right]), layer.alg)


def _forward(layer: _Layer, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.geometric_product import cpu_layers

    x, w, right, a, left, bias = layer.parts(tensors)
    (rows, channels, size), alg = x.shape, layer.alg
    out = torch.empty(x.shape, dtype=x.dtype)
    if not x.numel():
        return out
    major = to_blades(x)
    linear = torch.bmm(major, _matrices(layer, right, left).mT)
    if bias is not None:
        linear[0, :, :channels] += bias[0, :, 0]
    tiles, groups, table = (
        tiles_of(rows, channels, size),
        weighted_form(alg).groups("gxy"),
        grades(alg, x.dtype),
    )
    share = spread(tiles, torch.zeros_like(w[:, :1]) if a is None else torch.sigmoid(a))
    grade = alg.n + 1
    cpu_layers.steerable(
        groups.first, groups.group, groups.term, tiles.start, tiles.stop, tiles.lane, channels,
        table.ends, table.sign, table.limits, layer.mixed, layer.normed, flat(major), flat(linear), share,
        spread(tiles, w), flat(out), size, rows, linear.shape[2], tiles.width,
        *room(tiles, x.dtype, 2 * size, size, size, size, grade, grade),
    )  # fmt: skip
    return out


def _backward(
    layer: _Layer, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.geometric_product import cpu_layers

    x, w, right, a, left, _ = layer.parts(tensors)
    (rows, channels, size), alg = x.shape, layer.alg
    if not x.numel():
        return tuple(torch.zeros_like(t) for t in tensors)
    major, form, tiles, table = (
        to_blades(x),
        weighted_form(alg),
        tiles_of(rows, channels, size),
        grades(alg, x.dtype),
    )
    image = torch.bmm(major, by_blade(right, alg).mT)
    wide, grade = channels * (1 + layer.mixed), alg.n + 1
    gx = torch.empty_like(major)
    linear = torch.empty(size, rows, wide, dtype=x.dtype)
    s = torch.zeros_like(w[:, :1]) if a is None else torch.sigmoid(a)
    gs, gw = sums(tiles, grade, x.dtype), sums(tiles, form.weights if needs[1] else 1, x.dtype)
    orders = [form.groups(order) for order in ("xgy", "yxg", "gxy")]
    cpu_layers.steerable_slopes(
        *(t for o in orders for t in (o.first, o.group, o.term)), SIZE_TABLE, tiles.start, tiles.stop, tiles.lane, channels,
        table.ends, table.sign, table.limits, layer.mixed, layer.normed, needs[1], flat(major), flat(image), flat(grad),
        spread(tiles, s), spread(tiles, w), flat(gx), flat(linear), gs.numpy(), gw.numpy(), size, rows, wide, tiles.width,
        *room(tiles, x.dtype, 2 * size, size, size, 2 * size, size, grade, grade, grade, 1),
    )  # fmt: skip
    found: list[Maybe] = [None, folded(tiles, gw, channels) if needs[1] else None]
    if needs[0]:
        found[0] = from_blades(gx.baddbmm_(linear, _matrices(layer, right, left)))
    matrices = of_grades(linear, major, alg) if needs[2] or (layer.mixed and needs[-2]) else None
    found.append(None if matrices is None else matrices[wide - channels :])
    if a is not None:
        found.append(folded(tiles, gs, channels) * s * (1 - s))
    if layer.mixed:
        found.append(None if matrices is None else matrices[:channels])
        found.append(linear[0, :, :channels].sum(0).view(1, -1, 1))
    return tuple(found)


_STEERABLE = FusedOperation(_reference, _forward, _backward, None)


def steerable_product(
    x: Tensor,  # (..., C, 2^n)
    w: Tensor,  # (C, paths)
    right: Tensor,  # (C, C, n + 1)
    alg: CliffordAlgebra,
    *,
    a: Tensor | None = None,  # (C, n + 1)
    left: Tensor | None = None,  # (C, C, n + 1)
    bias: Tensor | None = None,  # (1, C, 1)
) -> Tensor:  # (..., C, 2^n)
    r"""Multiply every channel by a normalised image, with one weight per path, and add another image.

    .. math:: y = \mathrm{Norm}_a(W_R\, x), \qquad \mathrm{out} = (W_L\, x + \beta + x \cdot_w y) / \sqrt 2

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., C, 2^n) to the same.

    Args:
        x: features.
        w: path weights.
        right: matrices of the right factor.
        alg: the algebra.
        a: of the normalisation; None leaves it out.
        left: matrices of what is added; None leaves it, the bias and the root of two out.
        bias: of the scalars; zero where None.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(2)
    >>> right, w = torch.eye(3).unsqueeze(-1).expand(3, 3, 3), torch.ones(3, len(alg.paths))
    >>> x = torch.randn(5, 3, 4)
    >>> torch.allclose(steerable_product(x, w, right, alg), alg.gp(x, x), atol=1e-5)
    True
    """
    if left is not None and bias is None:
        bias = left.new_zeros(1, left.shape[0], 1)
    given = (x, w, right, a, left, bias if left is not None else None)
    tensors = tuple(t for t in given if t is not None)
    layer = _Layer(alg, a is not None, left is not None)
    rows = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    if not loops_serve("steerable_product", tensors):
        from geomlib.kernels.geometric_product import cuda_layers

        kind = cuda_layers.Product(alg, layer.normed, layer.mixed)
        if cuda_layers.product_serves(kind, tensors):
            return cuda_layers.steerable(kind, rows, w, right, a, left, bias).reshape(x.shape)
        return _reference(layer, tensors)
    return _STEERABLE(layer, rows, *tensors[1:]).view(x.shape)
