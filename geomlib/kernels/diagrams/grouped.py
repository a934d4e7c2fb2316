r"""The grouped multiplication: contract once per bottom type, mix types and channels in one product, embed once per top type.

Tensors are channel-last here, (B, n, .., n, C). Everything is plain torch and differentiable. The map and its derivatives
call nothing but :func:`contract`, products and :func:`embed`; the first and the last are the transposed of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geomlib.kernels.diagrams.mixing import mix, mix_gradients
from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.diagrams.stages import Stage
from geomlib.kernels.diagrams.views import Form, merge_axes, summed, summed_into
from geomlib.kernels.diagrams.waist import Side

__all__ = ["contract", "embed", "grouped_gradients", "grouped_map", "stage_gradients", "stage_weights"]


def contract(side: Side, x: Tensor, form: Form) -> list[list[Tensor]]:
    """Return, for each group of types of a row, the tensor of each type: views of few shared sums."""
    states: list[Tensor] = [x] * len(side.orders)
    for step in side.steps:
        states[step.child] = summed(states[step.parent], step.axes, 1, form)
    return [[merge_axes(states[s], groups, 1) for s, groups in group] for group in side.types]


class _Sums:
    """One sum per state of a side, made where something is added to it."""

    def __init__(self, side: Side, shape: tuple[int, int, int]) -> None:
        self.side, self.shape = side, shape
        self.held: list[Tensor | None] = [None] * len(side.orders)
        self.owned = [False] * len(side.orders)

    def add(self, state: int, t: Tensor, owned: bool) -> None:
        held = self.held[state]
        if held is None:
            self.held[state], self.owned[state] = t, owned
        elif self.owned[state]:
            held.add_(t)
        else:
            self.held[state], self.owned[state] = (t.add_(held) if owned else held + t), True

    def room(self, state: int, like: Tensor) -> Tensor:
        """Return the sum of a state in memory of its own, of the type of ``like``."""
        held = self.held[state]
        if held is None:
            batch, n, channels = self.shape
            held = like.new_zeros(batch, *[n] * self.side.orders[state], channels)
        elif not self.owned[state]:
            held = held.clone(memory_format=torch.contiguous_format)
        self.held[state], self.owned[state] = held, True
        return held


def embed(
    side: Side, parts: Sequence[Sequence[Tensor] | None], form: Form, shape: tuple[int, int, int]
) -> Tensor | None:
    """Return the sum of the tensors of all types put where they belong, the transposed of :func:`contract`.

    Args:
        side: the row.
        parts: for each group of types the tensor of each type, whose memory may be overwritten; None for a group of zeros.
        form: of pairs of legs.
        shape: batch, n and channels.

    Returns:
        The sum, which may be an expanded view; None for zero.
    """
    sums = _Sums(side, shape)
    mine: list[list[tuple[Tensor, tuple[tuple[int, ...], ...]]]] = [[] for _ in side.orders]
    for group, tensors in zip(side.types, parts, strict=True):
        if tensors is not None:
            for (state, groups), u in zip(group, tensors, strict=True):
                mine[state].append((u, groups))
    parents = {step.child: step for step in side.steps}
    for state in range(len(side.orders) - 1, -1, -1):
        for u, groups in mine[state]:
            if groups == tuple((i,) for i in range(side.orders[state])):
                sums.add(state, u, True)
            else:
                merge_axes(sums.room(state, u), groups, 1).add_(u)
        held, step = sums.held[state], parents.get(state)
        if held is None or step is None:
            continue
        if len(step.axes) == 1:
            at, n = 1 + step.axes[0], shape[1]
            wide = held.unsqueeze(at).expand(*held.shape[:at], n, *held.shape[at:])
            sums.add(step.parent, wide, False)
        else:
            summed_into(sums.room(step.parent, held), held, step.axes, 1, form)
    return sums.held[0]


def stage_weights(stage: Stage, weights: Tensor) -> Tensor:  # (D, C_out, C_in) -> (T, S, B, C_out, C_in)
    """Return the weights of a stage by types, zero where there is no diagram."""
    if stage.start is not None:
        chosen = weights.narrow(0, stage.start, stage.places)
    else:
        chosen = weights.index_select(0, stage.diagram.like(weights))
        if stage.signs is not None:
            chosen = chosen * stage.signs.like(weights)
        empty = weights.new_zeros(stage.places, *weights.shape[1:])
        chosen = empty.index_copy(0, stage.entry.like(weights), chosen)
    return chosen.reshape(stage.top, len(stage.sigmas), stage.bottom, *weights.shape[1:])


def stage_gradients(plan: Plan, parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the gradients of the weights in the order of the diagrams, the transposed of :func:`stage_weights`."""
    whole = torch.zeros_like(like, memory_format=torch.contiguous_format)
    for stage, part in zip(plan.grouped[0], parts, strict=True):
        rows = part.reshape(stage.places, *part.shape[3:])
        if stage.start is not None:
            whole[stage.start : stage.start + stage.places] = rows
            continue
        rows = rows.index_select(0, stage.entry.like(rows))
        if stage.signs is not None:
            rows = rows * stage.signs.like(rows)
        whole.index_copy_(0, stage.diagram.like(rows), rows)
    return whole


def _with_epsilon(stage: Stage, zs: list[Tensor], late: bool, turned: bool = False) -> list[Tensor]:
    """Apply epsilon, or its transposed, where it is due: before the mixing, or after it if it comes late."""
    core = stage.core
    if core is None or stage.epsilon is None or core.late != late:
        return zs
    return [stage.epsilon[turned](z, 1 + stage.order - core.shared) for z in zs]


def _last(plan: Plan, order: int) -> int:
    """Return the number of the stage whose types are the whole tensor of this order, or -1."""
    return next((i for i, s in enumerate(plan.grouped[0]) if s.core is None and s.order == order), -1)


def grouped_map(x: Tensor, weights: Tensor, plan: Plan, n: int, *, sparing: bool = False) -> Tensor:
    """Return y of (B, n, .., n, C_in) as (B, n, .., n, C_out).

    Args:
        x: features.
        weights: one matrix for each diagram.
        plan: the diagrams.
        n: length of an axis.
        sparing: work in pieces; no derivative is recorded.
    """
    stages, bottom, top = plan.grouped
    forms = plan.forms
    shape = (x.shape[0], n, weights.shape[1])
    last = _last(plan, plan.l)
    zs = contract(bottom, x, forms.bottom)
    parts: list[list[Tensor] | None] = []
    for i, stage in enumerate(stages):
        if i == last:
            parts.append(None)
            continue
        found = mix(
            stage_weights(stage, weights), stage.sigmas, _with_epsilon(stage, zs[i], False), sparing=sparing
        )
        parts.append(_with_epsilon(stage, found, True))
    y = embed(top, parts, forms.top, shape)
    if last >= 0:
        stage = stages[last]
        (y,) = mix(stage_weights(stage, weights), stage.sigmas, zs[last], y, sparing=sparing)
    return _whole(y, plan.l, shape, x)


def _whole(y: Tensor | None, order: int, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    batch, n, channels = shape
    return like.new_zeros(batch, *[n] * order, channels) if y is None else y


def grouped_gradients(
    g: Tensor,  # (B, n, .., n, C_out)
    x: Tensor,  # (B, n, .., n, C_in)
    weights: Tensor,
    plan: Plan,
    n: int,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of <g, y> with respect to x and to the weights, those that are needed."""
    stages, bottom, top = plan.grouped
    forms = plan.forms
    shape = (x.shape[0], n, weights.shape[2])
    last = _last(plan, plan.k)
    gus = contract(top, g, forms.top)
    zs = contract(bottom, x, forms.bottom) if needs[1] else None
    parts: list[list[Tensor] | None] = [None] * len(stages)
    of_weights: list[Tensor] = [weights] * len(stages)

    def pull(i: int, into: Tensor | None) -> list[Tensor] | None:
        stage = stages[i]
        below = None if zs is None else _with_epsilon(stage, zs[i], False)
        us = _with_epsilon(stage, gus[i], True, True)
        found, part = mix_gradients(
            stage_weights(stage, weights), stage.sigmas, us, below, into, features=needs[0]
        )
        if part is not None:
            of_weights[i] = part
        return None if found is None else _with_epsilon(stage, found, False, True)

    for i in range(len(stages)):
        if i != last:
            parts[i] = pull(i, None)
    gx = embed(bottom, parts, forms.bottom, shape) if needs[0] else None
    if last >= 0:
        found = pull(last, gx)
        gx = None if found is None else found[0]
    return (
        _whole(gx, plan.k, shape, g) if needs[0] else None,
        stage_gradients(plan, of_weights, weights) if needs[1] else None,
    )
