"""From the norms of all trials to one verdict per output."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.symmetry import Symmetry, TensorType
from geomlib.verify.report import FieldResult
from geomlib.verify.statistic import HEADROOM, Evaluated, Score, Trial, median_size, score
from geomlib.verify.target import GRADIENT, gradient_type

__all__ = ["Class", "Collected", "judge"]

_UNMOVED = 1e-12


def _no_trials() -> dict[str, list[Trial]]:
    return {}


def _no_results() -> list[dict[str, Tensor]]:
    return []


@dataclass
class Class:
    """Trials of one class of inputs: the generic ones, one amplitude, one stress."""

    label: str
    amplitude: float
    trials: dict[str, list[Trial]] = field(default_factory=_no_trials)
    results: list[dict[str, Tensor]] = field(default_factory=_no_results)
    linear: list[Tensor] = field(default_factory=list[Tensor])

    def add(self, found: dict[str, Trial], at: Evaluated, element: Element | None) -> None:
        """Store the norms of one trial."""
        for name, trial in found.items():
            self.trials.setdefault(name, []).append(trial)
        if element is not None:
            self.results.append(at.wide)
            self.linear.append(element.linear)

    def score(self, name: str, like: Class | None = None) -> Score:
        """Return the worst errors of one field; S_field and the round-off come also from ``like``."""
        trials = self.trials[name]
        if like is None or like is self or name not in like.trials:
            return score(trials, median_size(trials))
        size = max(median_size(like.trials[name]), median_size(trials))
        return score(trials, size, floor=score(like.trials[name], size).d32)


@dataclass
class Collected:
    """Everything the trials gave."""

    classes: list[Class] = field(default_factory=list[Class])
    nondeterministic: set[str] = field(default_factory=set[str])
    moved: bool = False


def judge(
    collected: Collected,
    declared: Symmetry,
    outputs: Mapping[str, TensorType],
    inputs: Mapping[str, TensorType],
) -> list[FieldResult]:
    """Return one result per tested output and per gradient."""
    generic = collected.classes[0]
    results: list[FieldResult] = []
    for name in generic.trials:
        gradient = name.startswith(GRADIENT)
        t = inputs.get(name.removeprefix(GRADIENT)) if gradient else outputs.get(name)
        if t is not None:
            results.append(_field(name, gradient_type(t) if gradient else t, collected, declared))
    return results


def _field(name: str, t: TensorType, collected: Collected, declared: Symmetry) -> FieldResult:
    generic = collected.classes[0]
    scores: list[tuple[str, Score]] = []
    for found in collected.classes:
        if name in found.trials:
            like = generic if found.amplitude == generic.amplitude else None
            scores.append((found.label, found.score(name, like)))
    broken = [s for s in scores if not s[1].finite]
    # Where float32 keeps no digit at all, e64 says nothing: only round-off is being compared with round-off.
    judged = [s for s in scores if s[1].d32 <= 1.0] if scores[0][1].d32 <= 1.0 else scores[:1]
    label, worst = broken[0] if broken else max(judged, key=lambda s: s[1].ratio)
    where = f"{label}: {worst.worst}"
    verdict, reason = _verdict(name, t, collected, declared, worst, bool(broken))
    return FieldResult(
        name, str(t), worst.e64, worst.e32, worst.d32, worst.tau64, worst.ratio, verdict, where, reason
    )


def _verdict(
    name: str, t: TensorType, collected: Collected, declared: Symmetry, worst: Score, nonfinite: bool
) -> tuple[str, str]:
    if nonfinite:
        return "NONFINITE", "NaN or infinity from finite input"
    if name in collected.nondeterministic:
        return "NONDETERMINISTIC", "two evaluations at the same input differ"
    vacuous = None if name.startswith(GRADIENT) else _vacuous(name, t, collected)
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
    return "BROKEN", f"relative error {worst.e64:.1e}, an exact function would stay below {worst.tau64:.1e}"


def _vacuous(name: str, t: TensorType, collected: Collected) -> str | None:
    generic = collected.classes[0]
    trials = generic.trials[name]
    if not collected.moved:
        return "no element of the group changes any input"
    if all(trial.size == 0.0 for trial in trials):
        return "the output is zero for every input"
    values = [result[name] for result in generic.results if name in result]
    distinct = list({id(x): x for x in values}.values())
    if t.kind != "index" and len(distinct) > 1:
        first = distinct[0]
        if all(x.shape == first.shape and torch.equal(x, first) for x in distinct[1:]):
            return "the output does not depend on the input"
    turned = any(not torch.allclose(q, torch.eye(len(q)).to(q)) for q in generic.linear)
    still = all(trial.moved <= _UNMOVED * max(trial.size, 1e-300) for trial in trials)
    if t.moves and t.kind not in ("pseudoscalar", "irreps") and turned and still:
        return f"declared {t}, but no element of the group ever moves it"
    return None
