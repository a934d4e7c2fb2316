r"""The statistic: errors measured in units of the target's own round-off.

For a move g and inputs x, per output field (Frobenius norms, differences in float64):

.. math::
    E_{64} &= \lVert f_{64}(gx) - \rho(g) f_{64}(x)\rVert, \qquad
    E_{32} = \lVert f_{32}(\mathrm{fl}(gx)) - \rho(g) f_{32}(x)\rVert \\
    \Delta_{32} &= \max\{\lVert\rho(g)(f_{32}(x) - f_{64}(x))\rVert,\;
        \lVert f_{32}(\mathrm{fl}(gx)) - f_{64}(\mathrm{fl}(gx))\rVert,\;
        \lVert f_{64}(\mathrm{fl}(gx)) - f_{64}(gx)\rVert\}

All three are divided by the same S, the larger of the norm of this trial and of the median norm of the
generic trials, and the largest value over the trials of one class of inputs is kept. An exact function has
:math:`e_{64} \le \tau = 16\,\max(d_{32}, 2^{-24})\,2^{-29}`: no tolerance is chosen by hand.

A function that computes in float64 whatever it is given shows in float32 the rounding of its inputs and results, and none of
the operations inside, whose round-off it has in float64. Where :math:`f_{32}` and :math:`f_{64}` differ by eight roundings
at most at equal inputs, :math:`2^{-21}`, an error above :math:`\tau` is judged by a unit eight times as large: logarithms of
matrices of 30 rows need that.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.verify.moves import Move
from geomlib.verify.target import Target, WrongShape
from geomlib.verify.values import Leaves, Tree, rounded

__all__ = [
    "HEADROOM",
    "UNIT_RATIO",
    "Evaluated",
    "Score",
    "Trial",
    "evaluate",
    "median_size",
    "relative",
    "run_trial",
    "score",
    "tolerance",
]

#: K: exact architectures of four families reach 2.7 at most, broken ones start near 1e10.
HEADROOM = 16.0
#: Ratio of the unit round-offs of float64 and float32.
UNIT_RATIO = 2.0**-29
_ROUND_OFF_32 = 2.0**-24
#: By how much more the unit counts where float32 may not show the operations inside, and where that is.
_HIDDEN, _FEW = 8.0, 8 * _ROUND_OFF_32


@dataclass(frozen=True)
class Evaluated:
    """One input with its outputs in both precisions."""

    tree: Tree
    wide: Leaves
    narrow: Leaves


@dataclass(frozen=True)
class Trial:
    """Norms of one output field under one move.

    Args:
        label: label of the move.
        e64: error in float64.
        e32: error in float32; NaN where it was not needed.
        d32: round-off of float32, from as many of its three terms as were needed.
        size: mean norm of the two sides.
        moved: how far the move takes the output.
        finite: whether every number is.
        rounded: the terms of d32 at equal inputs, without that of rounded inputs; NaN where it is not known.
    """

    label: str
    e64: float
    e32: float
    d32: float
    size: float
    moved: float
    finite: bool
    rounded: float = math.nan


@dataclass(frozen=True)
class Score:
    """Relative errors of one field over one class of inputs: the worst, and the median in float64."""

    e64: float
    e32: float
    d32: float
    tau64: float
    finite: bool
    worst: int
    trials: int
    median: float

    @property
    def ratio(self) -> float:
        """Error in units of the expected float64 round-off; exact functions stay below `HEADROOM`."""
        return self.e64 / (self.tau64 / HEADROOM)


def tolerance(d32: float, rounded: float = math.inf) -> float:
    """Return the largest e64 of an exact function whose float32 round-off is ``d32``, ``rounded`` at equal inputs."""
    hidden = _HIDDEN if rounded <= _FEW else 1.0
    return HEADROOM * hidden * max(d32, _ROUND_OFF_32) * UNIT_RATIO


def evaluate(target: Target, tree: Tree, *, gradients: bool | None = None) -> Evaluated:
    """Return the outputs of both precisions at ``tree``, which is float64 and float32-representable."""
    return Evaluated(tree, target.wide(tree, gradients=gradients), target.narrow(tree, gradients=gradients))


def run_trial(
    target: Target,
    at: Evaluated,
    move: Move,
    *,
    accept: Callable[[str, Trial], bool] | None = None,
    gradients: bool | None = None,
) -> dict[str, Trial]:
    """Return the norms of every output field under one move.

    Args:
        target: the callable.
        at: inputs with their outputs.
        move: what is done to them.
        accept: says whether the error of a field is round-off already in view of what is known; where all fields
            are accepted, three of the five evaluations are saved.
        gradients: whether gradients are fields too; must be that of ``at``.
    """
    moved = move.inputs(at.tree)
    wide = move.joined([target.wide(tree, gradients=gradients) for tree in moved])
    want, want_narrow = move.expected(_double(at.wide)), move.expected(_double(at.narrow))
    names = [name for name in wide if name in want and name in want_narrow]
    for name in names:
        if wide[name].shape != want[name].shape:
            raise WrongShape(
                f"verify: output {name!r} has shape {tuple(wide[name].shape)} after the move {move.label!r}, "
                f"{tuple(want[name].shape)} before it. The outputs must keep their shape."
            )
    if accept is not None:
        quick = {n: _trial(move, at, n, wide[n], want[n], want_narrow[n]) for n in names}
        if all(trial.finite and accept(n, trial) for n, trial in quick.items()):
            return quick
    near = [rounded(tree) for tree in moved]
    wide_near = move.joined([target.wide(tree, gradients=gradients) for tree in near])
    narrow = move.joined([target.narrow(tree, gradients=gradients) for tree in near])
    return {
        n: _trial(move, at, n, wide[n], want[n], want_narrow[n], (wide_near[n], narrow[n]))
        for n in names
        if n in narrow
    }


def _trial(
    move: Move,
    at: Evaluated,
    name: str,
    wide: Tensor,
    want: Tensor,
    want_narrow: Tensor,
    rest: tuple[Tensor, Tensor] | None = None,
) -> Trial:
    a, b, e = _wide(wide), _wide(want), _wide(want_narrow)
    found = [a, b, e]
    e32, d32 = float("nan"), _norm(e - b)
    alone = d32
    if rest is not None:
        c, d = (_wide(x) for x in rest)
        found.append(d)
        alone = max(d32, _norm(d - c))
        e32, d32 = _norm(d - e), max(alone, _norm(c - a))
    return Trial(
        move.label,
        e64=_norm(a - b),
        e32=e32,
        d32=d32,
        size=0.5 * (_norm(a) + _norm(b)),
        moved=_norm(b - _wide(at.wide[name])) if b.shape == at.wide[name].shape else 0.0,
        finite=all(bool(torch.isfinite(x).all()) for x in found),
        rounded=alone,
    )


def score(
    trials: list[Trial],
    field_size: float,
    *,
    floor: tuple[float, float] = (0.0, 0.0),
    only: int | None = None,
) -> Score:
    """Return the worst relative errors of trials of one class.

    Args:
        trials: norms of one field.
        field_size: S_field, the median norm over the generic trials of the same size and amplitude.
        floor: relative error and round-off of float32 known from other trials of that kind.
        only: the trial whose error counts, where one is repeated; the round-off is that of all.
    """
    errors = [relative(t.e64, t.size, field_size) for t in trials]
    order = range(len(trials)) if only is None else [only]
    worst = max(order, key=lambda k: errors[k] if errors[k] == errors[k] else math.inf)
    counted = [trials[k] for k in order]
    e32 = [relative(t.e32, t.size, field_size) for t in counted if t.e32 == t.e32 or not t.finite]
    seen = [relative(t.d32, t.size, field_size) for t in trials]
    d32 = max([floor[1], *(x for x in seen if x == x)])
    finite = all(t.finite for t in counted)
    tau64 = tolerance(d32)
    if errors[worst] > tau64:
        alone = [
            floor[1],
            *(relative(t.rounded, t.size, field_size) for t in trials if t.rounded == t.rounded),
        ]
        tau64 = tolerance(d32, max(alone) or math.inf)  # nothing is known of float32 where no term is
    return Score(
        errors[worst],
        max(e32, default=floor[0]),
        d32,
        tau64,
        finite,
        worst,
        len(trials),
        statistics.median(errors),
    )


def median_size(trials: list[Trial]) -> float:
    """Return S_field of these trials."""
    return statistics.median(t.size for t in trials) if trials else 0.0


def relative(error: float, size: float, field_size: float) -> float:
    """Return an error divided by S, the larger of the two sizes."""
    scale = max(size, field_size)
    if scale == 0.0:
        return 0.0 if error == 0.0 else math.inf
    return error / scale


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


def _wide(x: Tensor) -> Tensor:
    return torch.view_as_real(x).double() if x.is_complex() else x.double()


def _double(found: Leaves) -> Leaves:
    return {name: x.double() if x.is_floating_point() else x for name, x in found.items()}
