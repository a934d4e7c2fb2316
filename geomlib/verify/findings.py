"""After a failed check: what is narrower, what still holds, where it starts, and how to see it again."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator

from geomlib.algebra.groups import Group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.verify.diagnosis import Diagnosis, diagnose
from geomlib.verify.judge import LEAK, Class, Collected, Judged, judge
from geomlib.verify.leak import Leaks, find_leaks
from geomlib.verify.moves import Move, Types
from geomlib.verify.statistic import HEADROOM, Evaluated, median_size, relative
from geomlib.verify.target import COTANGENT, GRADIENT, Target
from geomlib.verify.values import Leaves, Tree, map_leaves

__all__ = ["Evidence", "Findings", "explain"]

#: Noise whose effect shows a discontinuity, and the relative change that noise cannot cause otherwise.
_NOISE, _JUMP = 1e-7, 1e-4
#: Most features of an output whose representation is inferred after a failure.
_FEW_FEATURES = 64
_OK = ("EXACT", "APPROXIMATE")


@dataclass(frozen=True)
class Evidence:
    """What the findings are drawn from.

    Args:
        function: the user's callable.
        target: its copies.
        declared: what it promises.
        group: the declared group.
        inputs: types of the inputs.
        outputs: types of the outputs.
        collected: all trials.
        scale: length of the translations.
        generator: draws the elements of the guesses.
        search: whether to look for what still holds and where a failure starts.
        notes: what a tool could not do.
    """

    function: Callable[..., Any]
    target: Target
    declared: Symmetry
    group: Group
    inputs: Types
    outputs: Types
    collected: Collected
    scale: float
    generator: Generator
    search: bool = True
    notes: list[str] = field(default_factory=list[str])

    def judged(self, classes: list[Class] | None = None) -> list[Judged]:
        """Return the verdicts in view of some classes, or of all."""
        chosen = self.collected if classes is None else replace(self.collected, classes=classes)
        return judge(chosen, self.declared, self.outputs, self.inputs)


def _nothing() -> Diagnosis:
    return Diagnosis((), (), "")


@dataclass(frozen=True)
class Findings:
    """What a report says besides numbers."""

    judged: list[Judged]
    diagnosis: Diagnosis = field(default_factory=_nothing)
    first_broken: str = ""
    leaks: tuple[str, ...] = ()
    lie: tuple[tuple[str, float], ...] = ()


def explain(e: Evidence) -> Findings:
    """Return verdicts and findings; the search runs only where something failed."""
    judged = e.judged()
    broken = [j for j in judged if j.result.verdict == "BROKEN"]
    failed = [j for j in judged if j.result.verdict not in _OK]
    if not failed or e.collected.only is not None:
        return Findings(judged)
    leaks = Leaks()
    if broken:
        small = [j for j in broken if j.result.e64 <= LEAK]
        if small or e.search:
            leaks = _leaks(e, max(small or broken, key=lambda j: j.result.ratio))
        if small and leaks.explain:
            e.collected.narrowed = True
            judged = e.judged()
            broken = [j for j in judged if j.result.verdict == "BROKEN"]
    lines = leaks.texts if leaks.explain else ()
    if not e.search:
        return Findings(judged, leaks=lines)
    if not broken:
        return Findings(judged, first_broken=_located(e, failed), leaks=lines)
    judged = [_with_jump(e, j) for j in judged]
    diagnosis = _diagnosed(e, broken)
    if leaks.casts:
        diagnosis = replace(diagnosis, advice="without the narrower type the function is exact")
    elif not diagnosis.explained and not {"S_n", "translations"} & set(diagnosis.fails):
        diagnosis = replace(diagnosis, advice=_inferred(e, broken) or diagnosis.advice)
    return Findings(judged, diagnosis, _located(e, failed), lines, _lie(e))


def _case(j: Judged) -> tuple[Evaluated, Move]:
    return j.found.cases[j.trial]


def _error(
    e: Evidence,
    tree: Tree,
    move: Move,
    fields: dict[str, float],
    *,
    gradients: bool,
    wide: Leaves | None = None,
) -> dict[str, float]:
    """Return relative float64 errors of fields (with their S_field) under one move; ``wide`` are known outputs."""
    wide = e.target.wide(tree, gradients=gradients) if wide is None else wide
    moved = move.joined([e.target.wide(t, gradients=gradients) for t in move.inputs(tree)])
    want = move.expected({n: x.double() if x.is_floating_point() else x for n, x in wide.items()})
    found: dict[str, float] = {}
    for name, size in fields.items():
        if name in moved and name in want and moved[name].shape == want[name].shape:
            a, b = moved[name].double(), want[name].double()
            found[name] = relative(float((a - b).norm()), 0.5 * float(a.norm() + b.norm()), size)
    return found


def _leaks(e: Evidence, j: Judged) -> Leaks:
    at, move = _case(j)
    name, gradients = j.result.name, j.result.name.startswith(GRADIENT)
    size = j.found.size.get(name, 0.0)

    def error() -> float:
        return _error(e, at.tree, move, {name: size}, gradients=gradients).get(name, float("nan"))

    return find_leaks(e.target, at.tree, error, j.result.tau64)


def _passes_without(e: Evidence, name: str, classes: list[Class]) -> bool:
    """Return whether a field is exact in view of some classes only."""
    found = {j.result.name: j.result.verdict for j in e.judged(classes)} if classes else {}
    return found.get(name) in _OK


def _with_jump(e: Evidence, j: Judged) -> Judged:
    """Say so where an error shows on tied inputs only and the function jumps there."""
    if j.result.verdict != "BROKEN" or not j.found.tied:
        return j
    if not _passes_without(e, j.result.name, [c for c in e.collected.classes if not c.tied]):
        return j
    jump = _jump(e, _case(j)[0], j.result.name)
    if jump <= _JUMP:
        return j
    text = f"discontinuous at this input: noise of {_NOISE:g} changes the output by {jump:.1e}"
    return replace(j, result=replace(j.result, reason=f"{text}; {j.result.reason}"))


def _jump(e: Evidence, at: Evaluated, name: str) -> float:
    """Return the largest relative change of an output under several small noises."""
    still = at.wide[name].double()
    worst = 0.0
    for _ in range(4):

        def shake(path: str, x: torch.Tensor) -> torch.Tensor:
            t = e.inputs.get(path)
            if t is None or not t.moves or not x.is_floating_point() or path.startswith(COTANGENT):
                return x
            return x + _NOISE * torch.randn(x.shape, generator=e.generator, dtype=torch.float64).to(x)

        found = e.target.wide(map_leaves(at.tree, shake), gradients=False)
        if name in found and found[name].shape == still.shape:
            worst = max(
                worst, relative(float((found[name].double() - still).norm()), float(still.norm()), 0.0)
            )
    return worst


def _diagnosed(e: Evidence, broken: list[Judged]) -> Diagnosis:
    """Try subgroups and declarations on the first inputs that fail: generic ones where those do."""
    names = [j.result.name for j in broken]
    names = [n for n in names if not n.startswith(GRADIENT)] or names
    gradients = names[0].startswith(GRADIENT)
    failing = [
        (c, {n: s for n in names if n in c.trials and (s := c.score(n)).ratio > HEADROOM})
        for c in e.collected.classes
    ]
    failing = [(c, scores) for c, scores in failing if scores]
    if not failing:
        return _nothing()
    first, scores = failing[0]
    at, move = first.cases[max(scores.values(), key=lambda s: s.ratio).worst]
    sizes = {n: max(first.size.get(n, 0.0), median_size(first.trials[n])) for n in scores}

    def holds(tree: Tree, moves: list[Move]) -> bool:
        for m in moves:
            errors = _error(e, tree, m, sizes, gradients=gradients, wide=at.wide)
            if len(errors) < len(sizes) or any(not errors[n] <= scores[n].tau64 for n in sizes):
                return False
        return True

    only = ""
    if first.index > 1:
        labels = sorted(failing, key=lambda f: -max(s.ratio for s in f[1].values()))
        only = ", ".join(c.label for c, _ in labels[:4])
        only = only if move.element is not None else f"{first.label} ({move.label})"
    tree = {n: x for n, x in at.tree.items() if gradients or not n.startswith(COTANGENT)}
    bare = [n.removeprefix(GRADIENT) for n in sizes]
    return diagnose(tree, e.group, e.inputs, e.outputs, bare, e.scale, e.generator, holds, only)


def _asked(e: Evidence, name: str, *arguments: Any, **options: Any) -> Any:
    """Return what a tool finds; ``None`` where it does not apply, or fails, which is noted for the report."""
    from geomlib import verify

    try:
        return getattr(verify, name)(e.function, *arguments, **options)
    except InvalidInput:
        return None  # the tool says that it cannot look at such a target
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        text = (str(error).splitlines() or [""])[0]
        e.notes.append(f"verify.{name} failed with {type(error).__name__} ({text})")
        return None


def _arguments(e: Evidence) -> tuple[dict[str, str], Tree]:
    at = e.collected.classes[0].cases[0][0]
    tree = {n: x for n, x in at.tree.items() if not n.startswith(COTANGENT)}
    return {n: str(t) for n, t in e.inputs.items() if not n.startswith(COTANGENT)}, tree


def _located(e: Evidence, failed: list[Judged]) -> str:
    """Return the first submodule that breaks, where the target has submodules."""
    watched = any(any(m.children()) for m in e.target.modules.values())
    if not watched or all(j.result.name.startswith(GRADIENT) for j in failed):
        return ""
    types, tree = _arguments(e)
    found = _asked(e, "locate", e.group.name, types, example=tree)
    return "" if found is None else found.first_broken or ""


def _inferred(e: Evidence, broken: list[Judged]) -> str:
    """Return how the first broken output transforms instead, where it has few features and a representation."""
    named = [j for j in broken if not j.result.name.startswith(GRADIENT)]
    spatial = [g for g in e.group.name.split("*") if g not in ("S_n", "A_n")]
    if not named or len(spatial) != 1:
        return ""
    name, (types, tree) = named[0].result.name, _arguments(e)
    x = named[0].found.cases[0][0].wide[name]
    if x.dim() < 2 or x[0].numel() > _FEW_FEATURES:
        return ""
    found = _asked(e, "infer", types, spatial[0], declared=str(e.outputs[name]), output=name, example=tree)
    if found is None or not found.ok or not found.advice.startswith("declared"):
        return ""
    # The declared irreps in another basis: the subgroups that hold say more.
    other = ": " not in found.advice.removesuffix(": parity label")
    return f"`{name}` {found.advice}" if other else ""


def _lie(e: Evidence) -> tuple[tuple[str, float], ...]:
    types, tree = _arguments(e)
    found = _asked(e, "lie", e.group.name, types, e.declared.outputs, example=tree)
    return () if found is None else tuple(dict(found).items())
