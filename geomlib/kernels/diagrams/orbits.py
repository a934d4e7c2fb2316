r"""Groups with orbits instead of diagrams: one dense weight read by the number of the orbit; products, a factor at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.diagrams import TensorGroup
from geomlib.algebra.diagrams.orbit_groups import PermGroup, Product
from geomlib.algebra.diagrams.orbits import orbits

__all__ = ["orbit_map", "orbit_table", "product_map"]


def orbit_table(group: TensorGroup, k: int, l: int, maps: Sequence[Any]) -> Tensor | None:  # (n^l, n^k)
    """Return for every entry of a matrix which of the maps it belongs to, ``len(maps)`` for none; None for other groups."""
    if not isinstance(group, PermGroup):
        return None
    found = orbits(group, k, l)
    number = torch.full((len(found),), len(maps), dtype=torch.int64)
    number[[d.number for d in maps]] = torch.arange(len(maps))
    return number[torch.from_numpy(found.labels.copy())].view(group.n**l, group.n**k)


def orbit_map(
    x: Tensor,  # (B, C_in, n, ..)
    weights: Tensor,  # (D, C_out, C_in)
    table: Tensor,  # (n^l, n^k)
    n: int,
    l: int,
    *,
    complete: bool,
) -> Tensor:  # (B, C_out, n, ..)
    r"""Return :math:`y_{oI} = \sum_{iJ} W_{t(I,J)\,o\,i}\, x_{iJ}`; differentiable to any order.

    The dense weight is made once, in the layout of the product; nothing else has its size.

    Args:
        x: tensors of order k.
        weights: (D, C_out, C_in).
        table: from `orbit_table`, on any device.
        n: length of an axis.
        l: order of the output.
        complete: whether every entry belongs to some map.
    """
    (_, c_out, c_in), (rows, columns) = weights.shape, table.shape
    by_output = weights.movedim(1, 0)  # (C_out, D, C_in)
    if not complete:  # entries of no map read the last
        by_output = torch.cat([by_output, by_output.new_zeros(c_out, 1, c_in)], 1)
    whole = by_output.index_select(1, table.to(x.device).flatten()).view(c_out * rows, columns * c_in)
    flat = x.reshape(x.shape[0], c_in, columns).mT.reshape(x.shape[0], columns * c_in)
    return (flat @ whole.mT).view(x.shape[0], c_out, *[n] * l)


def product_map(
    x: Tensor,  # (B, C_in, n p, ..)
    weights: Tensor,  # (D1 D2, C_out, C_in)
    group: Product,
    plans: tuple[Any, Any],
    multiply: Callable[[Tensor, Tensor, Any, int], Tensor],
) -> Tensor:  # (B, C_out, n p, ..)
    r"""Return :math:`\sum_{de} W_{de} (M_d \otimes N_e)\, x`: all maps :math:`N_e` of one factor, then those of the other.

    Args:
        x: tensors of order k, index i of the first factor and a of the second at i p + a.
        weights: maps of the second factor running fastest.
        group: the product.
        plans: of both factors.
        multiply: ``multiply(x, weights, plan, n)``, the map of one factor.
    """
    (one, two), (n, p) = plans, (group.first.size, group.second.size)
    k, l, batch, c_in, c_out = one.k, one.l, x.shape[0], x.shape[1], weights.shape[1]
    split = x.reshape(batch, c_in, *[n, p] * k)
    axes = [*range(2, 2 + 2 * k, 2), *range(3, 3 + 2 * k, 2)]
    inner = split.permute(0, 1, *axes).reshape(batch * c_in * n**k, 1, *[p] * k)
    each = torch.eye(len(two), dtype=x.dtype, device=x.device)[
        :, :, None
    ]  # every map into a channel of its own
    inner = multiply(inner, each, two, p).reshape(batch, c_in, n**k, len(two), p**l)
    outer = inner.permute(0, 4, 3, 1, 2).reshape(batch * p**l, len(two) * c_in, *[n] * k)
    mixed = weights.view(len(one), len(two), c_out, c_in).movedim(1, 2).reshape(len(one), c_out, -1)
    y = multiply(outer, mixed, one, n).reshape(batch, *[p] * l, c_out, *[n] * l)
    back = [axis for r in range(l) for axis in (2 + l + r, 1 + r)]
    return y.permute(0, 1 + l, *back).reshape(batch, c_out, *[n * p] * l)
