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
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.verify.moves import Move
from geomlib.verify.target import Target
from geomlib.verify.values import Leaves, Tree, rounded

__all__ = [
    "HEADROOM",
    "UNIT_RATIO",
    "Evaluated",
    "Score",
    "Trial",
    "evaluate",
    "run_trial",
    "score",
    "tolerance",
]

#: K: exact architectures of four families reach 2.7 at most, broken ones start near 1e10.
HEADROOM = 16.0
#: Ratio of the unit round-offs of float64 and float32.
UNIT_RATIO = 2.0**-29
_ROUND_OFF_32 = 2.0**-24


@dataclass(frozen=True)
class Evaluated:
    """One input with its outputs in both precisions."""

    tree: Tree
    wide: Leaves
    narrow: Leaves


@dataclass(frozen=True)
class Trial:
    """Norms of one output field under one move."""

    label: str
    e64: float
    e32: float
    d32: float
    size: float
    moved: float
    finite: bool


@dataclass(frozen=True)
class Score:
    """Worst relative errors of one field over one class of inputs."""

    e64: float
    e32: float
    d32: float
    tau64: float
    finite: bool
    worst: str
    trials: int

    @property
    def ratio(self) -> float:
        """Error in units of the expected float64 round-off; exact functions stay below `HEADROOM`."""
        return self.e64 / (self.tau64 / HEADROOM)


def tolerance(d32: float) -> float:
    """Return the largest e64 of an exact function whose float32 round-off is ``d32``."""
    return HEADROOM * max(d32, _ROUND_OFF_32) * UNIT_RATIO


def evaluate(target: Target, tree: Tree) -> Evaluated:
    """Return the outputs of both precisions at ``tree``, which is float64 and float32-representable."""
    return Evaluated(tree, target.wide(tree), target.narrow(tree))


def run_trial(target: Target, at: Evaluated, move: Move) -> dict[str, Trial]:
    """Return the norms of every output field under one move."""
    moved = move.inputs(at.tree)
    near = [rounded(tree) for tree in moved]
    wide = move.joined([target.wide(tree) for tree in moved])
    wide_near = move.joined([target.wide(tree) for tree in near])
    narrow = move.joined([target.narrow(tree) for tree in near])
    want, want_narrow = move.expected(_double(at.wide)), move.expected(_double(at.narrow))
    trials: dict[str, Trial] = {}
    for name in wide:
        if name not in want or name not in narrow or name not in want_narrow:
            continue
        a, b, c, d, e = (_wide(x[name]) for x in (wide, want, wide_near, narrow, want_narrow))
        if a.shape != b.shape:
            raise InvalidInput(
                f"verify: output {name!r} has shape {tuple(a.shape)} after the move {move.label!r}, "
                f"{tuple(b.shape)} before it. The outputs must keep their shape."
            )
        trials[name] = Trial(
            move.label,
            e64=_norm(a - b),
            e32=_norm(d - e),
            d32=max(_norm(e - b), _norm(d - c), _norm(c - a)),
            size=0.5 * (_norm(a) + _norm(b)),
            moved=_norm(b - _wide(at.wide[name])) if b.shape == at.wide[name].shape else 0.0,
            finite=all(bool(torch.isfinite(x).all()) for x in (a, b, d, e)),
        )
    return trials


def score(trials: list[Trial], field_size: float, floor: float = 0.0) -> Score:
    """Return the worst relative errors of trials of one class.

    Args:
        trials: norms of one field.
        field_size: S_field, the median norm over the generic trials of the same amplitude.
        floor: round-off known from other trials of the same amplitude.
    """
    finite = all(t.finite for t in trials)
    rows = [(_relative(t.e64, t, field_size), t) for t in trials]
    e64, worst = max(rows, key=lambda row: row[0] if row[0] == row[0] else float("inf"))
    e32 = max(_relative(t.e32, t, field_size) for t in trials)
    d32 = max(floor, *(_relative(t.d32, t, field_size) for t in trials))
    return Score(e64, e32, d32, tolerance(d32), finite, worst.label, len(trials))


def median_size(trials: list[Trial]) -> float:
    """Return S_field of these trials."""
    return statistics.median(t.size for t in trials) if trials else 0.0


def _relative(error: float, trial: Trial, field_size: float) -> float:
    scale = max(trial.size, field_size)
    if scale == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / scale


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


def _wide(x: Tensor) -> Tensor:
    return torch.view_as_real(x).double() if x.is_complex() else x.double()


def _double(found: Leaves) -> Leaves:
    return {name: x.double() if x.is_floating_point() else x for name, x in found.items()}
