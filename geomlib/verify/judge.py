"""From the norms of all trials to one verdict per output."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from geomlib.algebra.symmetry import Symmetry, TensorType
from geomlib.verify.moves import Move
from geomlib.verify.report import FieldResult
from geomlib.verify.statistic import (
    HEADROOM,
    Evaluated,
    Score,
    Trial,
    median_size,
    relative,
    score,
    tolerance,
)
from geomlib.verify.target import GRADIENT, gradient_type

__all__ = ["LEAK", "STRIDE", "Class", "Collected", "Judged", "judge"]

#: Largest error that a computation in float32 explains.
LEAK = 8.0 * 2.0**-24
#: Trial ``k`` of class ``c`` has the number ``STRIDE * c + k``.
STRIDE = 1000
_UNMOVED = 1e-12
#: Groups under which gradients turn as vectors do.
_ORTHOGONAL = re.compile(r"(^|\*)(S?[OE]|T)\(\d+\)")
#: Share of the tolerance up to which one of the three terms of the round-off is enough to accept a trial.
_SURE = 0.25


def _no_trials() -> dict[str, list[Trial]]:
    return {}


def _no_sizes() -> dict[str, float]:
    return {}


def _no_floors() -> dict[str, tuple[float, float]]:
    return {}


@dataclass
class Class:
    """Trials of one class of inputs: the generic ones, one amplitude, one stress.

    Args:
        label: for reports.
        index: number of the class, from which trials are numbered.
        amplitude: factor on the inputs.
        tied: whether distances in these inputs are equal on purpose.
        size: S_field of generic inputs of this kind, by field.
        floor: relative e32 and d32 of generic inputs of this kind, by field.
    """

    label: str
    index: int = 0
    amplitude: float = 1.0
    tied: bool = False
    size: dict[str, float] = field(default_factory=_no_sizes)
    floor: dict[str, tuple[float, float]] = field(default_factory=_no_floors)
    trials: dict[str, list[Trial]] = field(default_factory=_no_trials)
    cases: list[tuple[Evaluated, Move]] = field(default_factory=list[tuple[Evaluated, Move]])

    def add(self, found: dict[str, Trial], at: Evaluated, move: Move) -> None:
        """Store the norms of one trial."""
        for name, trial in found.items():
            self.trials.setdefault(name, []).append(trial)
        self.cases.append((at, move))

    def learn(self, at: Evaluated) -> None:
        """Take S_field and round-off from generic inputs of this kind."""
        for name, x in at.wide.items():
            if x.is_floating_point() and name in at.narrow:
                size = float(x.double().norm())
                e32, d32 = self.floor.get(name, (0.0, 0.0))
                seen = relative(float((at.narrow[name].double() - x.double()).norm()), size, 0.0)
                self.size[name] = max(size, self.size.get(name, 0.0))
                self.floor[name] = (e32, max(d32, seen if math.isfinite(seen) else 0.0))

    def accepts(self, name: str, trial: Trial) -> bool:
        """Return whether an error is round-off in view of the trials so far, so that nothing more is needed."""
        known = max(trial.size, self.size.get(name, 0.0))
        floor = self.floor.get(name, (0.0, 0.0))[1]
        seen = [relative(t.d32, t.size, known) for t in (*self.trials.get(name, []), trial)]
        allowed = _SURE * tolerance(max([floor, *(x for x in seen if x == x)]))
        return relative(trial.e64, trial.size, known) <= allowed

    def score(self, name: str, only: int | None = None) -> Score:
        """Return the worst errors of one field."""
        trials = self.trials[name]
        size = max(median_size(trials), self.size.get(name, 0.0))
        return score(trials, size, floor=self.floor.get(name, (0.0, 0.0)), only=only)


@dataclass
class Collected:
    """Everything the trials gave.

    Args:
        classes: the first holds the generic trials.
        nondeterministic: outputs that differ between two evaluations.
        moved: whether any move changed any input.
        movable: outputs whose type lets some element of the group move them.
        narrowed: whether something was computed in a narrower type that explains the error.
        only: class and trial that count, where one is repeated.
    """

    classes: list[Class] = field(default_factory=list[Class])
    nondeterministic: set[str] = field(default_factory=set[str])
    moved: bool = False
    movable: set[str] = field(default_factory=set[str])
    narrowed: bool = False
    only: tuple[int, int] | None = None


@dataclass(frozen=True)
class Judged:
    """One field with the trial that decided it."""

    result: FieldResult
    found: Class
    trial: int

    @property
    def number(self) -> int:
        """Number of the trial, for a replay."""
        return STRIDE * self.found.index + self.trial


def judge(
    collected: Collected,
    declared: Symmetry,
    outputs: Mapping[str, TensorType],
    inputs: Mapping[str, TensorType],
) -> list[Judged]:
    """Return one result per tested output and per gradient."""
    results: list[Judged] = []
    for name in collected.classes[0].trials:
        gradient = name.startswith(GRADIENT)
        t = inputs.get(name.removeprefix(GRADIENT)) if gradient else outputs.get(name)
        if t is not None:
            found = _field(name, gradient_type(t) if gradient else t, collected, declared)
            results += [] if found is None else [found]
    return results


def _field(name: str, t: TensorType, collected: Collected, declared: Symmetry) -> Judged | None:
    scores: list[tuple[Class, Score]] = []
    for found in collected.classes:
        if name in found.trials:
            only = None
            if collected.only is not None:
                if found.index != collected.only[0] or collected.only[1] >= len(found.trials[name]):
                    continue
                only = collected.only[1]
            scores.append((found, found.score(name, only)))
    if not scores:
        return None
    broken = [s for s in scores if not s[1].finite]
    # Where float32 keeps no digit at all, e64 says nothing: only round-off is being compared with round-off.
    judged = [s for s in scores if s[1].d32 <= 1.0] if scores[0][1].d32 <= 1.0 else scores[:1]
    where, worst = broken[0] if broken else max(judged, key=lambda s: s[1].ratio)
    label = where.trials[name][worst.worst].label
    verdict, reason = _verdict(name, t, collected, declared, worst, bool(broken))
    result = FieldResult(
        name,
        str(replace(t, kind="vector") if t.kind == "covector" and _ORTHOGONAL.search(declared.group) else t),
        worst.e64,
        worst.e32,
        worst.d32,
        worst.tau64,
        worst.ratio,
        verdict,
        f"{where.label}: {label}" if label != where.label else label,
        reason,
        scores[0][1].median,
    )
    return Judged(result, where, worst.worst)


def _verdict(
    name: str, t: TensorType, collected: Collected, declared: Symmetry, worst: Score, nonfinite: bool
) -> tuple[str, str]:
    if nonfinite:
        return "NONFINITE", "NaN or infinity from finite input"
    if name in collected.nondeterministic:
        return "NONDETERMINISTIC", "two evaluations at the same input differ"
    vacuous = None if name.startswith(GRADIENT) or collected.only else _vacuous(name, t, collected)
    if vacuous is not None:
        return "VACUOUS", vacuous
    if worst.d32 > 1.0:
        return "VACUOUS", "the output is nothing but round-off: no digit agrees between float32 and float64"
    if worst.ratio <= HEADROOM:
        return "EXACT", ""
    if not declared.exact and declared.rtol is not None:
        if worst.e64 <= declared.rtol:
            return "APPROXIMATE", f"relative error {worst.e64:.1e}, declared {declared.rtol:.1e}"
        return "BROKEN", f"relative error {worst.e64:.1e} above the declared rtol {declared.rtol:.1e}"
    error = f"relative error {worst.e64:.1e} (median {worst.median:.1e} of {worst.trials} trials)"
    expected = f"{error}, an exact function would stay below {worst.tau64:.1e}"
    if worst.e64 <= LEAK and collected.narrowed:
        return "PRECISION LEAK", f"{expected}; part of the computation is narrower than float64"
    return "BROKEN", expected


def _vacuous(name: str, t: TensorType, collected: Collected) -> str | None:
    generic = collected.classes[0]
    trials = generic.trials[name]
    if not collected.moved:
        return "no element of the group changes any input"
    if all(trial.size == 0.0 for trial in trials):
        return "the output is zero for every input"
    values = [at.wide[name] for at, _ in generic.cases if name in at.wide]
    distinct: list[Tensor] = list({id(x): x for x in values}.values())
    if t.kind != "index" and len(distinct) > 1:
        first = distinct[0]
        if all(x.shape == first.shape and torch.equal(x, first) for x in distinct[1:]):
            return "the output does not depend on the input"
    still = all(trial.moved <= _UNMOVED * max(trial.size, 1e-300) for trial in trials)
    if name in collected.movable and still:
        return f"declared {t}, but no element of the group ever moves it"
    return None
