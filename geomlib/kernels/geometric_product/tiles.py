"""From rows of multivectors to the tiles that the Numba loops read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.kernels.arrays import array
from geomlib.kernels.geometric_product.plan import SIZES, Form

__all__ = [
    "SIZE_TABLE",
    "Tiles",
    "contract",
    "flat",
    "folded",
    "gradients",
    "pull",
    "room",
    "spread",
    "sums",
    "tiles_of",
]

#: How many terms the groups of each kind add.
SIZE_TABLE = np.array(SIZES, dtype=np.int64)


@dataclass(frozen=True)
class Tiles:
    """Rows ``start:stop`` of every tile, the row of its weights, lanes, and how lanes repeat the channels."""

    start: np.ndarray
    stop: np.ndarray
    lane: np.ndarray
    width: int
    chunk: int  # channels of a tile
    chunks: int


#: Lanes of a tile, and numbers of one factor: wide enough to hide the tables, while tiles stay in the second cache (measured).
_LANES, _NUMBERS = 128, 4096
#: Numbers in 64 bytes of the smallest type.
_ALIGNED = 16


@lru_cache(maxsize=256)
def tiles_of(rows: int, channels: int, size: int, unit: bool = False) -> Tiles:
    """Return the tiles of rows of channels of ``size`` blades; ``unit`` where no channel has numbers of its own."""
    lanes = max(_LANES, _NUMBERS // size)
    if unit or channels <= lanes:
        chunk = 1 if unit else max(channels, 1)
        width = min(lanes // chunk * chunk, max(rows * channels, chunk))
        start = np.arange(0, rows * channels, width, dtype=np.int64)
        stop = np.minimum(start + width, rows * channels)
        return Tiles(start, stop, np.zeros_like(start), width, chunk, 1)
    chunks = -(-channels // lanes)
    chunk = -(-channels // chunks)
    first = np.arange(chunks, dtype=np.int64) * chunk
    last = np.minimum(first + chunk, channels)
    row = np.arange(rows, dtype=np.int64)[:, None] * channels
    lane = np.tile(np.arange(chunks, dtype=np.int64), rows)
    return Tiles((row + first).ravel(), (row + last).ravel(), lane, chunk, chunk, chunks)


def _for(form: Form, x: Tensor) -> Tiles:
    return tiles_of(x.shape[0], x.shape[1], form.sizes[1], form.unit)


def spread(tiles: Tiles, w: Tensor) -> Any:  # (C, P) -> (chunks, P * width)
    """Return the numbers of the lanes of each chunk of channels."""
    padded = w.detach()
    if tiles.chunk * tiles.chunks != w.shape[0]:
        padded = torch.nn.functional.pad(padded, (0, 0, 0, tiles.chunk * tiles.chunks - w.shape[0]))
    lanes = padded.view(tiles.chunks, tiles.chunk, w.shape[1]).mT
    repeated = lanes.unsqueeze(2).expand(-1, -1, tiles.width // tiles.chunk, -1)
    return repeated.reshape(tiles.chunks, w.shape[1] * tiles.width).contiguous().numpy()


def _weights(form: Form, tiles: Tiles, w: Tensor | None, like: Tensor) -> Any:
    if w is not None:
        return spread(tiles, w)
    share = 2 * len(form.stages) // form.sizes[0]  # the number of stages, each of which doubles
    return torch.full((1, tiles.width), 0.5**share, dtype=like.dtype).numpy()


def sums(tiles: Tiles, count: int, dtype: torch.dtype) -> Tensor:  # (chunks, count * width)
    """Return zeros to which the loops add ``count`` numbers per lane."""
    return torch.zeros(tiles.chunks, count * tiles.width, dtype=dtype)


def folded(tiles: Tiles, total: Tensor, channels: int) -> Tensor:  # (chunks, P * width) -> (C, P)
    """Return the sums over the lanes of each channel."""
    lanes = total.view(tiles.chunks, -1, tiles.width // tiles.chunk, tiles.chunk).sum(2)
    return lanes.mT.reshape(tiles.chunks * tiles.chunk, -1)[:channels].contiguous()


def room(tiles: Tiles, dtype: torch.dtype, *components: int) -> list[Any]:
    """Return memory for components of a tile, all from one block; each part begins where a vector load likes it."""
    ends = list(accumulate(-(-c * tiles.width // _ALIGNED) * _ALIGNED for c in components))
    block = torch.empty(ends[-1], dtype=dtype).numpy()
    return [block[e : e + c * tiles.width] for c, e in zip(components, [0, *ends], strict=False)]


def flat(t: Tensor) -> Any:
    """Return the numbers in the order of rows, blades innermost."""
    return array(t).reshape(-1)


def contract(form: Form, order: str, a: Tensor, b: Tensor, w: Tensor | None) -> Tensor:  # (B, C, *)
    """Return the partial derivative of F by the first role, from the two others."""
    from geomlib.kernels.geometric_product import cpu

    out = torch.empty(*a.shape[:2], form.size(order[0]), dtype=a.dtype)
    if not out.numel():
        return out
    tiles, groups = _for(form, a), form.groups(order)
    so, sa, sb = (form.size(r) for r in order)
    rooms = room(tiles, a.dtype, 2 * sa, sb, so)
    cpu.contract(
        groups.first, groups.group, groups.term, form.stages, tiles.start, tiles.stop, tiles.lane, flat(a), flat(b),
        _weights(form, tiles, w, a), flat(out), sa, sb, so, tiles.width, *rooms,
    )  # fmt: skip
    return out


def pull(form: Form, x: Tensor, y: Tensor, g: Tensor) -> Tensor:  # -> (C, P)
    """Return the derivative of F by the weights."""
    from geomlib.kernels.geometric_product import cpu

    tiles, groups = _for(form, x), form.groups("gxy")
    gw = sums(tiles, form.weights, x.dtype)
    if x.numel():
        sg, sx, sy = form.sizes
        cpu.pull(
            groups.first, groups.group, groups.term, SIZE_TABLE, tiles.start, tiles.stop, tiles.lane, flat(x), flat(y),
            flat(g), gw.numpy(), sx, sy, sg, tiles.width, *room(tiles, x.dtype, 2 * sx, sy, sg, 1),
        )  # fmt: skip
    return folded(tiles, gw, x.shape[1])


def gradients(
    form: Form, g: Tensor, x: Tensor, y: Tensor, w: Tensor | None, want_w: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the derivatives of F by x, y and, where wanted, the weights, reading every row once."""
    from geomlib.kernels.geometric_product import cpu

    gx, gy = (torch.empty(t.shape, dtype=t.dtype) for t in (x, y))
    tiles = _for(form, x)
    gw = torch.zeros(tiles.chunks, form.weights * tiles.width if want_w else 1, dtype=x.dtype)
    if x.numel():
        sg, sx, sy = form.sizes
        tables = [
            t
            for order in ("xgy", "yxg", "gxy")
            for t in (form.groups(order).first, form.groups(order).group, form.groups(order).term)
        ]
        rooms = room(tiles, x.dtype, 2 * sx, sy, 2 * sg, max(sx, sy), 1)
        cpu.gradients(
            *tables, form.stages, SIZE_TABLE, tiles.start, tiles.stop, tiles.lane, want_w, flat(x), flat(y), flat(g),
            _weights(form, tiles, w, x), flat(gx), flat(gy), gw.numpy(), sx, sy, sg, tiles.width, *rooms,
        )  # fmt: skip
    return gx, gy, folded(tiles, gw, x.shape[1]) if want_w else None
