r"""The grouped multiplication with compiled loops: contract all types of a stage, one product, embed all types.

A stage is :math:`y \mathrel{+}= E\,(K x\,M)` with tables K and E that say which entries are added up and a matrix M of
weights; the permutations are part of either K or E. Derivatives exchange K and E. Channel-last, contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.kernels.arrays import array, empty, zeros
from geomlib.kernels.diagrams.grouped import stage_gradients, stage_weights
from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.diagrams.stages import Stage
from geomlib.kernels.diagrams.views import Form
from geomlib.kernels.diagrams.waist import Row

__all__ = ["looped_gradients", "looped_map"]


@dataclass(frozen=True, eq=False)
class _Table:
    """Where the entries of all types of a stage are; see :mod:`geomlib.kernels.diagrams.cpu`."""

    at: np.ndarray  # (types, positions)
    first: np.ndarray  # (types + 1,)
    step: np.ndarray
    factor: np.ndarray
    whole: bool  # one type, which is the tensor itself

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.at, self.first, self.step, self.factor


def _table(
    rows: tuple[Row, ...],
    turns: tuple[tuple[int, ...], ...],
    legs: int,
    n: int,
    form: Form,
    dtype: torch.dtype,
) -> _Table:
    """Return the table of every row after every permutation: the i-th marked block is at position ``turn[i]``."""
    stride = [n ** (legs - 1 - leg) for leg in range(legs)]
    at: list[np.ndarray] = []
    first, step, factor = [0], list[np.ndarray](), list[np.ndarray]()
    for row, turn in product(rows, turns):
        widths = [sum(stride[leg] for leg in block) for block in row.marked + row.free]
        order = [turn.index(j) for j in range(len(turn))] + list(range(len(turn), len(widths)))
        at.append(_sums([np.arange(n) * widths[i] for i in order]))
        places, values = np.zeros(1, np.int64), np.ones(1)
        for block in row.closed:
            where, weight = _closed([stride[leg] for leg in block], n, form)
            places, values = (places[:, None] + where).ravel(), (values[:, None] * weight).ravel()
        first.append(first[-1] + len(places))
        step.append(places)
        factor.append(values)
    same = turns == (tuple(range(legs)),) and [row.marked for row in rows] == [
        tuple((i,) for i in range(legs))
    ]
    numbers = np.concatenate(factor).astype(np.float32 if dtype == torch.float32 else np.float64)
    return _Table(np.stack(at), np.array(first), np.concatenate(step), numbers, same)


def _sums(parts: list[np.ndarray]) -> np.ndarray:
    total = np.zeros(1, np.int64)
    for part in parts:
        total = (total[:, None] + part).ravel()
    return total


def _closed(strides: list[int], n: int, form: Form) -> tuple[np.ndarray, np.ndarray]:
    if len(strides) != 2:
        return np.arange(n) * sum(strides), np.ones(n)
    where: list[np.ndarray] = []
    weight: list[np.ndarray] = []
    for offset, weights in form:
        i = np.arange(max(0, -offset), n - max(0, offset))
        values = np.ones(len(i)) if weights is None else weights.value.numpy()
        where.append((i * strides[0] + (i + offset) * strides[1])[values != 0])
        weight.append(values[values != 0])
    return np.concatenate(where), np.concatenate(weight)


@dataclass(frozen=True, eq=False)
class _Pass:
    """A stage with its permutations in the table below or in the table above."""

    stage: Stage
    below: _Table
    above: _Table
    on_top: bool

    def matrix(self, weights: Tensor) -> Tensor:
        """Return the weights as a matrix from columns below to columns above."""
        w = stage_weights(self.stage, weights)  # (T, S, B, C_out, C_in)
        moved = w.permute(2, 4, 0, 1, 3) if self.on_top else w.permute(2, 1, 4, 0, 3)
        return moved.reshape(self.below.at.shape[0] * w.shape[4], -1)

    def weights(self, matrix: Tensor, c_out: int, c_in: int) -> Tensor:
        """Return the matrix as weights (T, S, B, C_out, C_in)."""
        s = self.stage
        if self.on_top:
            return matrix.view(s.bottom, c_in, s.top, len(s.sigmas), c_out).permute(2, 3, 0, 4, 1)
        return matrix.view(s.bottom, len(s.sigmas), c_in, s.top, c_out).permute(3, 1, 0, 4, 2)


@lru_cache(maxsize=256)
def _passes(plan: Plan, n: int, dtype: torch.dtype, wide: bool) -> tuple[_Pass, ...]:
    """Return the passes of all stages; ``wide`` if there are more channels above than below."""
    found: list[_Pass] = []
    for stage in plan.grouped[0]:
        if stage.core is not None:
            on_top = not stage.core.late  # an epsilon sees its indices before they are permuted
        else:
            on_top = stage.top < stage.bottom or (stage.top == stage.bottom and not wide)
        plain = (tuple(range(stage.order)),)
        turns = (
            stage.sigmas if on_top else tuple(tuple(s.index(i) for i in range(len(s))) for s in stage.sigmas)
        )
        rows = stage.rows
        below = _table(rows[1], plain if on_top else turns, plan.k, n, plan.forms.bottom, dtype)
        above = _table(rows[0], turns if on_top else plain, plan.l, n, plan.forms.top, dtype)
        found.append(_Pass(stage, below, above, on_top))
    return tuple(found)


def _contracted(
    table: _Table, x: Any, channels: int, dtype: torch.dtype
) -> Tensor:  # (B, positions, types C)
    from geomlib.kernels.diagrams import cpu

    types, positions = table.at.shape
    out = empty(x.shape[0], positions, types, channels, dtype=dtype)
    cpu.contract_stage(x, *table.arrays, out.numpy())
    return out.view(x.shape[0], positions, types * channels)


def _embedded(table: _Table, u: Tensor, channels: int, y: Any) -> None:  # u (B, positions, types C)
    from geomlib.kernels.diagrams import cpu

    cpu.embed_stage(array(u.view(*u.shape[:2], len(table.at), channels)), *table.arrays, y)


def _with_epsilon(stage: Stage, z: Tensor, n: int, late: bool, turned: bool = False) -> Tensor:
    core = stage.core
    if core is None or stage.epsilon is None or core.late != late:
        return z
    held = core.above if turned else core.below
    shape = z.shape[0], *[n] * (stage.order + held), z.shape[2]
    return stage.epsilon[turned](z.view(shape), 1 + stage.order - core.shared).reshape(
        z.shape[0], -1, z.shape[2]
    )


def _flat(x: Tensor, n: int, order: int) -> Any:  # (B, n, .., n, C) -> (B, n^k, C)
    return array(x.reshape(x.shape[0], n**order, x.shape[-1]))


class _Sum:
    """A sum whose first term, where it is a whole product, needs no zeros to be added to."""

    def __init__(self, batch: int, places: int, channels: int, dtype: torch.dtype) -> None:
        self.shape, self.dtype = (batch, places, channels), dtype
        self.held: Tensor | None = None

    def room(self) -> Tensor:
        if self.held is None:
            self.held = zeros(*self.shape, dtype=self.dtype)
        return self.held

    def add_product(self, rows: Tensor, matrix: Tensor) -> None:
        if self.held is None:
            self.held = (rows @ matrix).view(self.shape)
        else:
            self.held.view(-1, self.shape[2]).addmm_(rows, matrix)


def _whole_first(passes: tuple[_Pass, ...], above: bool) -> list[_Pass]:
    return sorted(passes, key=lambda p: not (p.above if above else p.below).whole)


def looped_map(x: Tensor, weights: Tensor, plan: Plan, n: int) -> Tensor:
    """Return y of (B, n, .., n, C_in) as (B, n, .., n, C_out)."""
    batch, c_out, c_in = x.shape[0], weights.shape[1], weights.shape[2]
    y = _Sum(batch, n**plan.l, c_out, x.dtype)
    source = _flat(x.detach(), n, plan.k)
    for one in _whole_first(_passes(plan, n, x.dtype, c_out > c_in), True):
        z = _with_epsilon(one.stage, _contracted(one.below, source, c_in, x.dtype), n, False)
        rows, matrix = z.view(-1, z.shape[2]), one.matrix(weights)
        if one.above.whole and one.stage.core is None:
            y.add_product(rows, matrix)
        else:
            u = (rows @ matrix).view(batch, z.shape[1], matrix.shape[1])
            _embedded(one.above, _with_epsilon(one.stage, u, n, True), c_out, y.room().numpy())
    return y.room().view(batch, *[n] * plan.l, c_out)


def looped_gradients(
    g: Tensor, x: Tensor, weights: Tensor, plan: Plan, n: int, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of <g, y> with respect to x and to the weights, those that are needed."""
    batch, c_out, c_in = x.shape[0], weights.shape[1], weights.shape[2]
    gx = _Sum(batch, n**plan.k, c_in, x.dtype)
    source, above = _flat(x.detach(), n, plan.k), _flat(g.detach(), n, plan.l)
    parts: dict[Stage, Tensor] = {}
    for one in _whole_first(_passes(plan, n, x.dtype, c_out > c_in), False):
        u = _with_epsilon(one.stage, _contracted(one.above, above, c_out, x.dtype), n, True, True)
        rows = u.view(-1, u.shape[2])
        if needs[1]:
            z = _with_epsilon(one.stage, _contracted(one.below, source, c_in, x.dtype), n, False)
            parts[one.stage] = one.weights(z.view(-1, z.shape[2]).mT @ rows, c_out, c_in)
        if needs[0]:
            matrix = one.matrix(weights).mT
            if one.below.whole and one.stage.core is None:
                gx.add_product(rows, matrix)
            else:
                v = (rows @ matrix).view(batch, u.shape[1], matrix.shape[1])
                _embedded(one.below, _with_epsilon(one.stage, v, n, False, True), c_in, gx.room().numpy())
    gw = stage_gradients(plan, [parts[s] for s in plan.grouped[0]], weights) if needs[1] else None
    return gx.room().view(batch, *[n] * plan.k, c_in) if needs[0] else None, gw
