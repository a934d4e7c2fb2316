"""The sparse table as the CPU loops read it: tiles sorted by shape, moments shared between paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geomlib.algebra.irreps import Irreps
from geomlib.kernels.tensor_product.plan import Table

__all__ = ["Loop", "blocks_of", "loop_of"]

#: Most components of the output, and of the features, in one tile.
SIDE = 3
_SHAPES = SIDE * SIDE


@dataclass(frozen=True, eq=False)
class Loop:
    """What ``cpu.contract`` and ``cpu.pulls`` read; see there."""

    first: np.ndarray  # (10,)
    tile: np.ndarray  # (B, 3) uint64
    at: np.ndarray  # (B, 6) uint64
    scale: np.ndarray  # (F,) float64
    which: np.ndarray  # (F,)
    moment: np.ndarray  # (M + 1,)
    entry_y: np.ndarray  # (R,)
    entry_c: np.ndarray  # (R,) float64
    _cast: dict[torch.dtype, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @property
    def moments(self) -> int:
        """Number of moments."""
        return self.moment.shape[0] - 1

    @property
    def factors(self) -> int:
        """Number of factors of all tiles."""
        return self.scale.shape[0]

    def arrays(self, dtype: torch.dtype) -> tuple[Any, ...]:
        """Return the arrays with coefficients in the type of the features."""
        if dtype not in self._cast:
            scale, c = (torch.from_numpy(t).to(dtype).numpy() for t in (self.scale, self.entry_c))
            self._cast[dtype] = (
                self.first, self.tile, self.at, scale, self.which, self.moment, self.entry_y, c,
            )  # fmt: skip
        return self._cast[dtype]


#: Offset in the output of every row of a path, and its entries by offset in the features: the bounds of a moment.
_Rows = dict[int, dict[int, tuple[int, int]]]


@dataclass(frozen=True)
class _Tile:
    outs: tuple[int, ...]
    ins: tuple[int, ...]


def loop_of(table: Table, weights: int, *, weighted: bool) -> Loop | None:
    """Return the tiles of the paths with weights, or of those without, sorted by shape; None if there are none.

    Weights beyond the first ``weights`` columns are ones; they are read from the start of a row of ones instead.
    """
    moments = _Moments()
    found: list[tuple[_Tile, int, int, _Rows]] = []
    for p, size, rows in _paths(table):
        if size and (p < weights) == weighted:
            found += [(tile, p if weighted else 0, size, rows) for tile in _cover(rows, size)]
    if not found:
        return None
    found.sort(key=lambda f: (len(f[0].outs), len(f[0].ins)))
    heads: list[list[int]] = []
    places: list[list[int]] = []
    factors: list[tuple[int, float]] = []
    counts = np.zeros(_SHAPES + 1, dtype=np.int64)
    for tile, p, size, rows in found:
        counts[SIDE * (len(tile.outs) - 1) + len(tile.ins)] += 1
        heads.append([p, size, len(factors)])
        places.append([*_padded(tile.outs), *_padded(tile.ins)])
        for o in tile.outs:
            for i in tile.ins:
                bounds = rows[o].get(i)
                factors.append((0, 0.0) if bounds is None else moments.add(*_entries(table, *bounds)))
    return Loop(
        np.cumsum(counts), np.array(heads, dtype=np.uint64), np.array(places, dtype=np.uint64),
        np.array([scale for _, scale in factors]), np.array([k for k, _ in factors], dtype=np.int64),
        *moments.arrays(),
    )  # fmt: skip


def _entries(table: Table, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    return table.entry_y[start:stop], table.entry_c[start:stop]


def _padded(offsets: tuple[int, ...]) -> tuple[int, ...]:
    return (*offsets, *(0,) * (SIDE - len(offsets)))


def _paths(table: Table) -> Iterator[tuple[int, int, _Rows]]:
    """Yield offset of the weights, channels and rows of every path; no path has one output twice."""
    rows: _Rows = {}
    before: tuple[int, int] | None = None
    for o, p, size, t, last in table.group.tolist():
        if before is not None and ((p, size) != before or o in rows):
            yield *before, rows
            rows = {}
        before = (p, size)
        rows[o] = {a: (start, stop) for a, start, stop in table.term[t:last].tolist()}
    if before is not None:
        yield *before, rows


def _cover(rows: _Rows, size: int) -> list[_Tile]:
    """Return the tiles of one shape, less what is zero, that take least time."""
    shapes = itertools.product(range(1, SIDE + 1), repeat=2)
    covers = [_tiles(rows, *shape) for shape in shapes]
    return min(covers, key=lambda cover: sum(_time(tile, size) for tile in cover))


def _tiles(rows: _Rows, most_outs: int, most_ins: int) -> list[_Tile]:
    found: list[_Tile] = []
    outs = list(rows)
    for k in range(0, len(outs), most_outs):
        chunk = outs[k : k + most_outs]
        ins = sorted({i for o in chunk for i in rows[o]})
        for j in range(0, len(ins), most_ins):
            part = ins[j : j + most_ins]
            used = tuple(o for o in chunk if any(i in rows[o] for i in part))
            found.append(_Tile(used, tuple(part)))
    return found


def _time(tile: _Tile, size: int) -> float:
    """Return the time of a tile in units of a memory access of eight channels, as fitted to measured loops."""
    r, s = len(tile.outs), len(tile.ins)
    return 24.0 + (-(-size // 8)) * (1 + s + 2 * r + s + r * s)


class _Moments:
    """Collects sums ``sum_j C y_j``, each once, whatever its factor."""

    def __init__(self) -> None:
        self.number: dict[tuple[tuple[int, float], ...], int] = {}
        self.entries: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, y: np.ndarray, c: np.ndarray) -> tuple[int, float]:
        """Return the number of the moment and the factor that gives these coefficients."""
        scale = float(c[0])
        # Equal moments of two paths differ by round-off; the first one met stands for both.
        key = tuple(zip(y.tolist(), np.round(c / scale, 12).tolist(), strict=True))
        if key not in self.number:
            self.number[key] = len(self.entries)
            self.entries.append((y, c / scale))
        return self.number[key], scale

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bounds of the moments, and what they add up."""
        lengths = np.array([len(y) for y, _ in self.entries], dtype=np.int64)
        none_y, none_c = np.zeros(0, dtype=np.int64), np.zeros(0)
        return (
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([none_y, *(y for y, _ in self.entries)]),
            np.concatenate([none_c, *(c for _, c in self.entries)]),
        )


def blocks_of(irreps: Irreps) -> np.ndarray:
    """Return offset, multiplicity and dimension of every block, or nothing where both orders are the same."""
    rows = [(s.start, b.mul, b.ir.dim) for s, b in zip(irreps.slices(), irreps, strict=True) if b.dim]
    if all(mul == 1 or dim == 1 for _, mul, dim in rows):
        rows = []
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
