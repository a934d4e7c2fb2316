r"""Tables of the loops: which column is which harmonic, the recursion, and the gradient of solid harmonics."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geomlib.algebra.irreps import wigner_3j
from geomlib.algebra.irreps.harmonics import recursion_factors, scale_of, start_factor

__all__ = ["TILE", "Plan", "plan_of"]

#: Points that are worked on at once: a row of a tile is 512 bytes in float32.
TILE = 128


@dataclass(frozen=True, eq=False)
class Plan:
    r"""Spherical harmonics of some degrees.

    The harmonic (l, m) has the number :math:`l^2 + l + m`.

    Args:
        degrees: of the columns, increasing.
        normalize: evaluate at x/\|x\|.
        normalization: of the columns.
        column: number of the harmonic of every column.
        step: target and up to two predecessors in the recursion, -1 for none; a target of order l = m has the pair of
            degree l - 1 and its own partner of order -l as a fourth number, which is -1 for all others.
        scale: of every column.
        factor: of every step.
        slope: how much of each of ``lower``.
        lower: the five harmonics of degree l - 1 in the gradient of each harmonic, two for x, one for y, two for z.
    """

    degrees: tuple[int, ...]
    normalize: bool
    normalization: str
    column: np.ndarray  # (n,)
    step: np.ndarray  # (K, 4)
    lower: np.ndarray  # ((L + 1)^2, 5)
    scale: np.ndarray  # (n,)
    factor: np.ndarray  # (K, 2)
    slope: np.ndarray  # ((L + 1)^2, 5)
    _cast: dict[torch.dtype, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Number of harmonics to the highest degree."""
        return len(self.lower)

    @property
    def start(self) -> float:
        """The harmonic of degree 0."""
        return start_factor(0)

    def tables(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """Return what the loops read, five columns each, as rows one below the other.

        The first in a type: (below which size a vector is scaled up, by what, Y_0), scales, factors, slopes. The second as
        integers: (last row of scales, of factors, of slopes, whether to normalise), columns, steps, lower.
        """
        if dtype not in self._cast:
            sizes = np.array([[torch.finfo(dtype).tiny * 2.0**30, 2.0**60, start_factor(0)]])
            real = _stacked(sizes, self.scale[:, None], self.factor, self.slope)
            a, b, c = np.cumsum([len(self.column), len(self.step), len(self.lower)])
            head = np.array([[a, b, c, int(self.normalize)]])
            index = _stacked(head, self.column[:, None], self.step, self.lower)
            self._cast[dtype] = torch.from_numpy(real).to(dtype).numpy(), index
        return self._cast[dtype]


def _stacked(*tables: np.ndarray) -> np.ndarray:  # each (n, up to 5) -> (sum of n, 5)
    return np.concatenate([np.pad(t, ((0, 0), (0, 5 - t.shape[1]))) for t in tables])


@functools.lru_cache(maxsize=256)
def plan_of(degrees: tuple[int, ...], normalize: bool, normalization: str) -> Plan:
    """Return the tables of increasing degrees, at least one of them."""
    lmax = max(degrees)
    column = [k for d in degrees for k in range(d * d, (d + 1) ** 2)]
    scale = [scale_of(d, normalization) for d in degrees for _ in range(2 * d + 1)]
    step: list[tuple[int, int, int, int]] = []
    factor: list[tuple[float, float]] = []
    for l in range(1, lmax + 1):
        here, below, under = (k * k + k for k in (l, l - 1, l - 2))
        for m in range(-l + 1, l):
            step.append((here + m, below + m, under + m if abs(m) < l - 1 else -1, -1))
            factor.append(recursion_factors(l, abs(m)))
        step.append((here + l, below + l - 1, below - l + 1 if l > 1 else -1, here - l))
        factor.append((start_factor(l) / start_factor(l - 1), 0.0))
    lower, slope = _gradient(lmax)
    return Plan(
        degrees, normalize, normalization, np.array(column, dtype=np.int64),
        np.array(step, dtype=np.int64).reshape(-1, 4), lower, np.array(scale, dtype=np.float64),
        np.array(factor, dtype=np.float64).reshape(-1, 2), slope,
    )  # fmt: skip


def _gradient(lmax: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return where and how much of each harmonic of degree l - 1 is in the gradient of one of degree l.

    .. math:: \partial_a (r^l Y_{lm}) = (2l+1)\sqrt l \sum_{m'} C^{l,1,l-1}_{m a m'}\, r^{l-1} Y_{l-1,m'}

    with the constant that follows from :math:`\int |\nabla (r^l Y)|^2 d\Omega = l (2l+1)` on the unit sphere.
    """
    lower, slope = np.zeros(((lmax + 1) ** 2, 5), dtype=np.int64), np.zeros(((lmax + 1) ** 2, 5))
    for l in range(1, lmax + 1):
        tensor = (2 * l + 1) * math.sqrt(l) * wigner_3j(l, 1, l - 1).numpy()
        for m in range(2 * l + 1):
            for axis, place in ((0, 0), (1, 2), (2, 3)):
                for n, k in enumerate(np.flatnonzero(np.abs(tensor[m, axis]) > 1e-12)):
                    lower[l * l + m, place + n] = (l - 1) ** 2 + k
                    slope[l * l + m, place + n] = tensor[m, axis, k]
    return lower, slope
