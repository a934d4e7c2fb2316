"""Any product of irreps as channel-wise loops, element-wise loops and matrix products.

A path ``uvw`` is a channel-wise product of every pair (u, v) followed by one matrix product per degree of the output; ``uvv``
is ``uvu`` with its factors exchanged; ``uvu<v`` and ``u<vw`` are element-wise products of pairs of channels. Every piece is
differentiable to any order, and so is what they make together.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps, wigner_3j
from geomlib.algebra.irreps.products import Path, ProductSpec
from geomlib.kernels.tensor_product.channelwise import Channelwise, channelwise, channelwise_of
from geomlib.kernels.tensor_product.elementwise import Elementwise, elementwise, elementwise_of, entries_of
from geomlib.kernels.tensor_product.layout import exchanged, weights_by_channel
from geomlib.kernels.tensor_product.plan import Plan, Rows, TableBuilder

__all__ = ["Lowered", "loops_pay", "product_by_loops"]

#: A slice of the weights, the shape it has, the order its axes take, and the shape they end in.
_Weights = tuple[slice, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass
class _Segment:
    """Part of what the loops of one side make, going to one block of the output; ``weights`` of the matrix product."""

    side: int
    kind: str  # "direct", "swapped", "sum" or "matrix"
    out: int
    size: int = 0  # columns per component
    base: int = 0
    shape: tuple[int, int] = (1, 1)
    weights: list[_Weights] = field(default_factory=list)


@dataclass
class _Part:
    """One path of the loops: blocks of its inputs, degree and place of its output, weights or None."""

    segment: _Segment
    at: int
    first: int
    second: int
    l3: int
    mul: int
    path: Path
    coefficient: float
    weights: slice | None


class Lowered:
    """A product as loops and matrix products.

    Args:
        spec: the product.
    """

    def __init__(self, spec: ProductSpec) -> None:
        self.spec = spec
        self._segments: list[_Segment] = []
        self._parts: tuple[list[_Part], list[_Part], list[_Part]] = ([], [], [])
        self._pairs: list[tuple[int, int]] = []  # blocks of both inputs taken in pairs of channels
        for path, part in zip(spec.paths, spec.weight_slices, strict=True):
            if (
                spec.irreps_in1[path.first].mul
                and spec.irreps_in2[path.second].mul
                and spec.irreps_out[path.out].mul
            ):
                self._add(path, part)
        self._singles = Irreps([(1, b.ir) for b in spec.irreps_in2 for _ in range(b.mul)])
        self._singles1 = Irreps([(1, b.ir) for b in spec.irreps_in1 for _ in range(b.mul)])
        self._paired = tuple(
            Irreps(
                [*((b.mul, b.ir) for b in r), *((math.comb(r[p[k]].mul, 2), r[p[k]].ir) for p in self._pairs)]
            )
            for k, r in enumerate((spec.irreps_in1, spec.irreps_in2))
        )
        self._widths = [self._place(side) for side in range(3)]
        self.normal = self._channelwise(0)
        self.swapped = self._channelwise(1)
        self.elementwise = self._elementwise()

    # -- reading the paths

    def _segment(self, side: int, kind: str, out: int, shape: tuple[int, int]) -> _Segment:
        for s in self._segments:
            if (s.side, s.kind, s.out) == (side, kind, out) and (kind == "matrix" or s.shape == shape):
                return s
        self._segments.append(_Segment(side, kind, out, shape=shape))
        return self._segments[-1]

    def _add(self, path: Path, part: slice) -> None:
        spec, mode = self.spec, path.mode
        one, two, l3 = (
            spec.irreps_in1[path.first],
            spec.irreps_in2[path.second],
            spec.irreps_out[path.out].ir.l,
        )
        u, v, w = one.mul, two.mul, spec.irreps_out[path.out].mul
        if mode in ("uuu", "uuw", "uvu<v", "u<vw"):
            self._add_elementwise(path, part, u, w, l3)
            return
        swapped = mode == "uvv" or (mode != "uvu" and v > u)
        side = int(swapped)
        # The loops run over the channels of one factor, once for every channel of the other.
        channels, turns = (v, u) if swapped else (u, v)
        sign = (-1.0) ** (one.ir.l + two.ir.l + l3) if swapped else 1.0
        summed = mode in ("uvu", "uvv")
        if mode == "uvw":
            segment, axes = (
                self._segment(side, "matrix", path.out, (0, w)),
                (0, 1, 2) if swapped else (1, 0, 2),
            )
            shape = path.weight_shape
            segment.weights.append((part, shape, axes, (u * v, w)))
            at = segment.size
            segment.size += u * v
        else:
            kind = "direct" if summed or swapped or v == 1 else "swapped"
            segment = self._segment(side, kind, path.out, (turns, channels) if kind == "swapped" else (1, w))
            at, segment.size = 0, w
        starts = np.cumsum([0, *(b.mul for b in (spec.irreps_in1 if swapped else spec.irreps_in2))])
        block, other = (path.second, path.first) if swapped else (path.first, path.second)
        for turn in range(turns):
            weights = None
            if mode != "uvw" and path.weighted:
                # Those of the weights (u, v) that belong to this turn.
                first = part.start + turn * (v if swapped else 1)
                weights = slice(first, first + v) if swapped else slice(first, part.stop, v)
            self._parts[side].append(
                _Part(
                    segment, at + (0 if summed else turn * channels), block, int(starts[other]) + turn, l3, channels, path,
                    sign * path.coefficient, weights,
                )
            )  # fmt: skip

    def _add_elementwise(self, path: Path, part: slice, u: int, w: int, l3: int) -> None:
        spec, mode = self.spec, path.mode
        first, second, mul = path.first, path.second, u
        if mode in ("uvu<v", "u<vw"):
            pair = (path.first, path.second)
            if pair not in self._pairs:
                self._pairs.append(pair)
            place = self._pairs.index(pair)
            first, second, mul = len(spec.irreps_in1) + place, len(spec.irreps_in2) + place, math.comb(u, 2)
        if not mul:
            return
        weights, at = None, 0
        if mode in ("uuu", "uvu<v"):
            segment = self._segment(2, "direct", path.out, (1, mul))
            segment.size = mul
            weights = part if path.weighted else None
        else:
            kind = "matrix" if path.weighted else "sum"
            segment = self._segment(2, kind, path.out, (0, w))
            at = segment.size
            segment.size += mul
            if path.weighted:
                segment.weights.append((part, path.weight_shape, (0, 1), (mul, w)))
        self._parts[2].append(_Part(segment, at, first, second, l3, mul, path, path.coefficient, weights))

    # -- making the loops

    def _place(self, side: int) -> int:
        """Give every segment of a side its columns and return how many there are."""
        width = 0
        for s in self._segments:
            if s.side == side:
                s.base = width
                width += s.size * self.spec.irreps_out[s.out].ir.dim
        return width

    def _inner(self, side: int, one: Irreps, two: Irreps, mode: str) -> ProductSpec:
        """Return a product with one path and one block of output for every part."""
        parts = self._parts[side]
        out = Irreps([(p.mul, self.spec.irreps_out[p.path.out].ir) for p in parts])
        shapes = [(p.mul, 1) if mode == "uvu" else (p.mul,) for p in parts]
        paths = [
            Path(p.first, p.second, k, mode, p.weights is not None, p.coefficient, shape)
            for k, (p, shape) in enumerate(zip(parts, shapes, strict=True))
        ]
        return ProductSpec(one, two, out, tuple(paths))

    def _columns(self, side: int) -> np.ndarray:
        """Return where the columns of the inner product's public output go."""
        found = [np.zeros(0, dtype=np.int64)]
        for p in self._parts[side]:
            k = np.arange(2 * p.l3 + 1)
            channel = np.arange(p.mul)[:, None]
            found.append((p.segment.base + k * p.segment.size + p.at + channel).reshape(-1))
        return np.concatenate(found)

    def _channelwise(self, side: int) -> Channelwise | None:
        parts = self._parts[side]
        if not parts:
            return None
        features, filters = (
            (self.spec.irreps_in1, self._singles) if side == 0 else (self.spec.irreps_in2, self._singles1)
        )
        spec = self._inner(side, features, filters, "uvu")
        starts, starts_y = ([s.start for s in r.slices()] for r in (features, filters))
        forward, backward = TableBuilder(), TableBuilder()
        for p, path, weights in zip(parts, spec.paths, spec.weight_slices, strict=True):
            l1, l2 = features[p.first].ir.l, filters[p.second].ir.l
            tensor = path.coefficient * wigner_3j(l1, l2, p.l3).numpy()
            a = [starts[p.first] + i * p.mul for i in range(2 * l1 + 1)]
            o = [p.segment.base + k * p.segment.size + p.at for k in range(2 * p.l3 + 1)]
            w = weights.start if path.weighted else spec.weight_numel
            forward.add(tensor.transpose(2, 0, 1), o, a, starts_y[p.second], w, p.mul)
            backward.add(tensor.transpose(0, 2, 1), a, o, starts_y[p.second], w, p.mul)
        channels = max(b.mul for b in features)
        plan = Plan(spec, forward.table(), backward.table(), channels)
        return Channelwise.of(plan, self._widths[side], self._columns(side))

    def _elementwise(self) -> Elementwise | None:
        parts = self._parts[2]
        if not parts:
            return None
        spec = self._inner(2, self._paired[0], self._paired[1], "uuu")
        places = [(p.segment.base + p.at, p.segment.size) for p in parts]
        return entries_of(spec, places, self._columns(2), self._widths[2])

    # -- running

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Return the product of rows; weights (B, n) or (1, n)."""
        rows = x.shape[0]
        made: list[Tensor | None] = [None, None, None]
        for side, (product, a, b) in enumerate(((self.normal, x, y), (self.swapped, y, x))):
            if product is not None:
                w = self._weights(side, weight)
                meet = Rows.pairwise(rows, shared_weights=w.shape[0] == 1 and rows != 1)
                made[side] = channelwise(product, meet, a, b, w)
        if self.elementwise is not None:
            first, second = self._with_pairs(x, y)
            made[2] = elementwise(self.elementwise, first, second, self._weights(2, weight))
        return self._mixed(made, x, weight)

    def _weights(self, side: int, weight: Tensor) -> Tensor:
        wanted = [p.weights for p in self._parts[side] if p.weights is not None]
        if not wanted:
            return weight.new_zeros(1, 0)
        return torch.cat([weight[:, part] for part in wanted], dim=1)

    def _with_pairs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not self._pairs:
            return x, y
        both = []
        for k, (t, irreps) in enumerate(((x, self.spec.irreps_in1), (y, self.spec.irreps_in2))):
            slices, parts = irreps.slices(), [t]
            for pair in self._pairs:
                block = irreps[pair[k]]
                index = torch.triu_indices(block.mul, block.mul, 1)[k]
                parts.append(
                    t[:, slices[pair[k]]].unflatten(1, (block.mul, block.ir.dim))[:, index].flatten(1)
                )
            both.append(torch.cat(parts, dim=1))
        return both[0], both[1]

    def _mixed(self, made: list[Tensor | None], x: Tensor, weight: Tensor) -> Tensor:
        rows = x.shape[0]
        totals: list[Tensor | None] = [None] * len(self.spec.irreps_out)
        for s in self._segments:
            features = made[s.side]
            if features is None or not s.size:
                continue
            block = self.spec.irreps_out[s.out]
            value = features[:, s.base : s.base + s.size * block.ir.dim].unflatten(1, (block.ir.dim, s.size))
            if s.kind == "swapped":
                value = value.unflatten(2, s.shape).transpose(2, 3).flatten(2)
            elif s.kind == "sum":
                value = value.sum(2, keepdim=True)
            elif s.kind == "matrix":
                value = _matrix_product(value, weight, s.weights)
            old = totals[s.out]
            totals[s.out] = value if old is None else old + value
        columns = [
            x.new_zeros(rows, b.dim) if t is None else t.transpose(1, 2).reshape(rows, b.dim)
            for t, b in zip(totals, self.spec.irreps_out, strict=True)
        ]
        return torch.cat(columns, dim=1) if columns else x.new_zeros(rows, 0)


def _matrix_product(value: Tensor, weight: Tensor, pieces: list[_Weights]) -> Tensor:
    """Return (B, components, w) from features (B, components, K) and weights (B or 1, K, w)."""
    matrices = [
        weight[:, part]
        .unflatten(1, shape)
        .permute(0, *(a + 1 for a in axes))
        .reshape(weight.shape[0], *final)
        for part, shape, axes, final in pieces
    ]
    matrix = matrices[0] if len(matrices) == 1 else torch.cat(matrices, dim=1)
    return value @ (matrix[0] if matrix.shape[0] == 1 else matrix)


@functools.lru_cache(maxsize=256)
def _lowered(spec: ProductSpec) -> Lowered:
    return Lowered(spec)


@functools.lru_cache(maxsize=256)
def loops_pay(spec: ProductSpec) -> bool:
    """Return whether the loops are faster than torch: they are not where every u meets every v, nor without channels."""
    if any(p.mode == "uvuv" or (p.mode == "uvw" and min(p.weight_shape[:2]) > 1) for p in spec.paths):
        return False
    return any(max(spec.irreps_in1[p.first].mul, spec.irreps_in2[p.second].mul) > 1 for p in spec.paths)


def product_by_loops(spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the product of rows, by the loops that suit it; weights (B, n) or (1, n)."""
    rows = Rows.pairwise(x.shape[0], shared_weights=weight.shape[0] == 1 and x.shape[0] != 1)
    loops = channelwise_of(spec)
    if loops is not None:
        return channelwise(loops, rows, x, y, weights_by_channel(weight, spec, 0))
    other = exchanged(spec)
    if other is not None:  # whose weights by channel are ours as they are
        loops = channelwise_of(other)
        assert loops is not None
        return channelwise(loops, rows, y, x, weight)
    entries = elementwise_of(spec)
    return _lowered(spec)(x, y, weight) if entries is None else elementwise(entries, x, y, weight)
