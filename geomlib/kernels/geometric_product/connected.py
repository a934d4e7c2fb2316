r"""The fully connected product as one operation: products by path, then one matrix product for every grade of the output."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product.linear import from_blades, to_blades
from geomlib.kernels.geometric_product.operation import OPERATION, Served
from geomlib.kernels.geometric_product.plan import feature_form, grade_paths
from geomlib.kernels.geometric_product.tiles import flat, room, tiles_of

__all__ = ["CONNECTED", "mixed"]


def mixed(
    features: Tensor, w: Tensor, alg: CliffordAlgebra
) -> Tensor:  # (B, C, *), (D, C, paths) -> (B, D, 2^n)
    """Return the products of every path, summed with weights over channels and paths."""
    grades, (rows, channels) = grade_paths(alg), features.shape[:2]
    parts = features.split([blades * len(paths) for blades, paths in grades], -1)
    found: list[Tensor] = []
    for part, (blades, paths) in zip(parts, grades, strict=True):
        a = part.view(rows, channels, blades, len(paths)).transpose(1, 2)
        weights = w[..., paths].flatten(1)  # (D, C P)
        found.append((a.reshape(rows, blades, channels * len(paths)) @ weights.mT).mT)
    return torch.cat(found, -1)


@lru_cache(maxsize=64)
def _places(
    alg: CliffordAlgebra, rows: int, channels: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return where each component of the features starts, and how far its rows are apart: (blade, row, path, channel)."""
    at: list[int] = []
    wide: list[int] = []
    start = 0
    for blades, paths in grade_paths(alg):
        step = len(paths) * channels
        at += [start + j * rows * step + p * channels for j in range(blades) for p in range(len(paths))]
        wide += [step] * (blades * len(paths))
        start += blades * rows * step
    return np.array(at, np.int64), np.array(wide, np.int64)


@lru_cache(maxsize=64)
def _order(alg: CliffordAlgebra) -> tuple[Tensor, Tensor]:
    """Return the paths, grade of the output by grade, and the inverse of this order."""
    order = [p for _, paths in grade_paths(alg) for p in paths]
    with torch.inference_mode(False):
        return torch.tensor(order), torch.tensor(order).argsort()


def _matrices(alg: CliffordAlgebra, w: Tensor) -> list[Tensor]:  # (D, P C) for every grade
    sorted_paths = w.index_select(2, _order(alg)[0]).mT.contiguous()  # (D, paths, C)
    return [p.flatten(1) for p in sorted_paths.split([len(paths) for _, paths in grade_paths(alg)], 1)]


def _rows(
    alg: CliffordAlgebra, features: Tensor, rows: int, channels: int
) -> list[Tensor]:  # (blades B, P C) each
    sizes = [blades * rows * len(paths) * channels for blades, paths in grade_paths(alg)]
    parts = zip(features.split(sizes), grade_paths(alg), strict=True)
    return [part.view(blades * rows, len(paths) * channels) for part, (blades, paths) in parts]


def _features(alg: CliffordAlgebra, x: Tensor, y: Tensor) -> list[Tensor]:
    from geomlib.kernels.geometric_product import cpu_connected

    (rows, channels, size), form = x.shape, feature_form(alg)
    count, groups = form.sizes[0], form.groups("gxy")
    tiles, places = tiles_of(rows, channels, count, unit=True), _places(alg, rows, channels)
    out = torch.empty(rows * channels * count, dtype=x.dtype)
    cpu_connected.features(
        groups.first, groups.group, groups.term, tiles.start, tiles.stop, *places, channels, flat(x), flat(y),
        flat(torch.ones(tiles.width, dtype=x.dtype)), flat(out), size, tiles.width,
        *room(tiles, x.dtype, 2 * size, size, count),
    )  # fmt: skip
    return _rows(alg, out, rows, channels)


def _reference(alg: CliffordAlgebra, tensors: tuple[Tensor, ...]) -> Tensor:
    x, y, w = tensors
    return mixed(OPERATION(Served(feature_form(alg), loops=True), x, y), w, alg)


def _forward(alg: CliffordAlgebra, tensors: tuple[Tensor, ...]) -> Tensor:
    x, y, w = tensors
    out = torch.empty(alg.size, x.shape[0], w.shape[0], dtype=x.dtype)
    if x.numel() and out.numel():
        parts = zip(_features(alg, x, y), _matrices(alg, w), out.split(alg.grade_sizes), strict=True)
        for a, b, to in parts:
            torch.mm(a, b.mT, out=to.view(-1, w.shape[0]))
    return from_blades(out)


def _backward(
    alg: CliffordAlgebra, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    from geomlib.kernels.geometric_product import cpu_connected

    x, y, w = tensors
    if not x.numel() or not w.numel():
        return tuple(torch.zeros_like(t) for t in tensors)
    (rows, channels, size), form = x.shape, feature_form(alg)
    top = [g.flatten(0, 1) for g in to_blades(grad).split(alg.grade_sizes)]
    found: list[Tensor | None] = [None, None, None]
    if needs[2]:
        slopes = [(a.mT @ g).mT for a, g in zip(_features(alg, x, y), top, strict=True)]
        by_path = torch.cat([s.view(w.shape[0], -1, channels) for s in slopes], 1).mT
        found[2] = by_path.index_select(2, _order(alg)[1])
    if needs[0] or needs[1]:
        count = form.sizes[0]
        below = torch.empty(rows * channels * count, dtype=x.dtype)
        for g, b, to in zip(top, _matrices(alg, w), _rows(alg, below, rows, channels), strict=True):
            torch.mm(g, b, out=to)
        tiles, places = tiles_of(rows, channels, count, unit=True), _places(alg, rows, channels)
        gx, gy = (torch.empty(t.shape, dtype=x.dtype) for t in (x, y))
        orders = [form.groups(order) for order in ("xgy", "yxg")]
        cpu_connected.slopes(
            *(t for o in orders for t in (o.first, o.group, o.term)), tiles.start, tiles.stop, *places, channels,
            flat(x), flat(y), flat(below), flat(torch.ones(tiles.width, dtype=x.dtype)), flat(gx), flat(gy),
            size, tiles.width, *room(tiles, x.dtype, 2 * size, size, 2 * count, size),
        )  # fmt: skip
        found[:2] = gx, gy
    return tuple(found)


#: Of (x, y, w), rows of channels of multivectors; its static argument is the algebra.
CONNECTED = FusedOperation(_reference, _forward, _backward, None)
