"""Products over the sparse table: Numba loops, and the same sum in torch."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.gaunt.tables import SparseTable, degree_of
from geomlib.kernels.arrays import array
from geomlib.kernels.gaunt.constants import cast_once
from geomlib.kernels.gaunt.spec import SignalProduct, Space, dimension

__all__ = ["STRAIGHT", "compiled_product", "sparse_product"]

STRAIGHT = 1400
"""Tables with at most so many entries become straight-line code."""


@cast_once
def _entries(spec: SignalProduct) -> dict[str, Any]:
    t = spec.table
    return {"i": t.i, "j": t.j, "k": t.k, "value": t.value}


def sparse_product(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:
    """Return the product of columns in torch, x (d1, n) and y (d2, n) to (d3, n)."""
    t = _entries(spec, dtype=x.dtype, device=x.device)
    terms = x.index_select(0, t["i"]) * y.index_select(0, t["j"]) * t["value"][:, None]
    return x.new_zeros(spec.dims[2], x.shape[1]).index_add(0, t["k"], terms)


@dataclass(eq=False)
class _Loops:
    """What the loops read for one product."""

    table: SparseTable
    dims: np.ndarray
    program: Any
    spaces: Any
    _streams: dict[tuple[int, torch.dtype], tuple[np.ndarray, ...]] = field(default_factory=dict)

    def streams(self, pitch: int, dtype: torch.dtype) -> tuple[np.ndarray, ...]:
        """Return the table in reading order, places multiplied by the distance of components."""
        key = pitch, dtype
        if key not in self._streams:
            self._streams[key] = _streams(self.table, pitch, dtype)
        return self._streams[key]


@functools.lru_cache(maxsize=256)
def _loops(kind: str, first: Space, second: Space, out: Space) -> _Loops:
    from geomlib.kernels.gaunt import cpu
    from geomlib.kernels.gaunt.weave import Spaces

    spec = SignalProduct(kind, first, second, out)
    program = cpu.Program(spec.table) if len(spec.table.value) <= STRAIGHT else None
    spaces = Spaces(*(tuple(2 * degree_of(s) + 1 for s in space) for space in spec.spaces))
    return _Loops(spec.table, np.array(spec.dims, dtype=np.int64), program, spaces)


def _streams(table: SparseTable, pitch: int, dtype: torch.dtype) -> tuple[np.ndarray, ...]:
    pairs: dict[tuple[int, int], list[int]] = {}
    for n, (k, i) in enumerate(zip(table.k.tolist(), table.i.tolist(), strict=True)):
        pairs.setdefault((k, i), []).append(n)
    # Equal lengths side by side: the inner loop's length is then predicted.
    order = sorted(pairs, key=lambda ki: (ki[0], len(pairs[ki]), ki[1]))
    single, several = np.zeros(table.shape[2]), np.zeros(table.shape[2])
    for k, i in order:
        (single if len(pairs[k, i]) == 1 else several)[k] += 1
    entries = [n for key in order for n in pairs[key]]
    whole = [
        single, several, [len(pairs[key]) for key in order], pitch * np.arange(table.shape[2]),
        [pitch * i for _, i in order], pitch * table.j[entries],
    ]  # fmt: skip
    value = torch.from_numpy(table.value[entries]).to(dtype).numpy()
    return *(np.asarray(w).astype(np.int32) for w in whole), value


@functools.lru_cache(maxsize=512)
def _blocks(space: Space, channels: int, layout: str) -> np.ndarray:  # (n, 4)
    """Return, per degree, its offset, the distance of channels, that of components, and its length."""
    if channels == 1:  # everything lies in order, whatever the degrees
        size = dimension(space)
        return np.array([[0, size, 1, size]], dtype=np.int64)
    rows: list[tuple[int, int, int, int]] = []
    start = 0
    for label in space:
        size = 2 * degree_of(label) + 1
        apart, step = (size, 1) if layout == "mul_ir" else (1, channels)
        rows.append((start, apart, step, size))
        start += channels * size
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def compiled_product(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:  # (B, d C)
    """Return the product of rows by the Numba loops."""
    from geomlib.kernels.gaunt import cpu
    from geomlib.kernels.lanes import width

    loops = _loops(spec.kind, spec.first, spec.second, spec.out)
    rows = x.shape[0]
    if not rows or not len(loops.table.value):
        return x.new_zeros(rows, spec.sizes[2])
    z = x.new_empty(rows, spec.sizes[2])
    lanes = width(x.element_size())
    common = (
        array(x).reshape(-1),
        array(y).reshape(-1),
        z.numpy().reshape(-1),
        rows,
        loops.dims,
        spec.channels,
        lanes,
    )
    straight = loops.program is not None
    if spec.layout == "ir_mul" and spec.channels % lanes == 0:
        if straight:
            cpu.straight_direct(loops.program, *common)
        else:
            cpu.table_direct(*loops.streams(spec.channels, x.dtype), *common)
        return z
    tile = lanes if straight else 4 * lanes
    tiles = [torch.zeros(d * tile, dtype=x.dtype).numpy() for d in spec.dims]
    if spec.channels % lanes == 0:
        if straight:
            cpu.straight_woven(loops.program, loops.spaces, *common, *tiles)
        else:
            cpu.table_woven(*loops.streams(tile, x.dtype), loops.spaces, *common, *tiles)
        return z
    blocks = [_blocks(space, spec.channels, spec.layout) for space in spec.spaces]
    if straight:
        cpu.straight_tiled(loops.program, *common, *blocks, *tiles)
    else:
        cpu.table_tiled(*loops.streams(tile, x.dtype), *common, *blocks, *tiles)
    return z
