"""The sparse table as the CPU loops read it: groups sorted by size, moments shared between paths."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geomlib.algebra.irreps import Irreps
from geomlib.kernels.tensor_product.plan import Table

__all__ = ["Loop", "blocks_of", "loop_of"]

#: Most terms that one pass over the channels adds up; more are split evenly.
TERMS = 4


@dataclass(frozen=True, eq=False)
class Loop:
    """What ``cpu.contract`` and ``cpu.pulls`` read; see there."""

    first: np.ndarray  # (TERMS + 2,)
    group: np.ndarray  # (G, 4)
    term: np.ndarray  # (T, 2)
    scale: np.ndarray  # (T,) float64
    moment: np.ndarray  # (M + 1,)
    entry_y: np.ndarray  # (R,)
    entry_c: np.ndarray  # (R,) float64
    _cast: dict[torch.dtype, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @property
    def moments(self) -> int:
        """Number of moments."""
        return self.moment.shape[0] - 1

    def arrays(self, dtype: torch.dtype) -> tuple[Any, ...]:
        """Return the arrays with coefficients in the type of the features."""
        if dtype not in self._cast:
            scale, c = (torch.from_numpy(t).to(dtype).numpy() for t in (self.scale, self.entry_c))
            self._cast[dtype] = (self.first, self.group, self.term, scale, self.moment, self.entry_y, c)
        return self._cast[dtype]


def loop_of(table: Table, weights: int, *, weighted: bool) -> Loop | None:
    """Return the groups with weights, or those without, sorted; None if there are none.

    Weights beyond the first ``weights`` columns are ones; they are read from the start of a row of ones instead.
    """
    moments = _Moments()
    scaled = [moments.add(table.entry_y[a:b], table.entry_c[a:b]) for _, a, b in table.term.tolist()]
    chunks: list[tuple[int, list[int], list[int]]] = []
    for o, p, size, t, last in table.group.tolist():
        if (p < weights) != weighted:
            continue
        pieces = -(-(last - t) // TERMS)
        bounds = [t + (last - t) * k // pieces for k in range(pieces + 1)]
        for a, b in itertools.pairwise(bounds):
            chunks.append((b - a, [o, p if weighted else 0, size], list(range(a, b))))
    if not chunks:
        return None
    chunks.sort(key=lambda chunk: chunk[0])
    group: list[list[int]] = []
    order: list[int] = []
    for _, head, terms in chunks:
        group.append([*head, len(order)])
        order += terms
    sizes = np.bincount(np.array([c[0] for c in chunks], dtype=np.int64), minlength=TERMS + 1)
    return Loop(
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.array(group, dtype=np.int64).reshape(-1, 4),
        np.array([[table.term[t, 0], scaled[t][0]] for t in order], dtype=np.int64).reshape(-1, 2),
        np.array([scaled[t][1] for t in order], dtype=np.float64),
        *moments.arrays(),
    )


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
