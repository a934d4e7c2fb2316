"""One check from the first evaluation to the report."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import parse_group, stratified
from geomlib.algebra.symmetry import Symmetry, closest
from geomlib.errors import InvalidInput
from geomlib.verify.arguments import normalized, resolved
from geomlib.verify.claims import compiled_failures, gradient_failures, nondeterministic
from geomlib.verify.conservative import conservative_failure
from geomlib.verify.findings import Evidence, explain
from geomlib.verify.inputs import Draw, example_of, infer_types, invented, jittered
from geomlib.verify.judge import STRIDE, Class, Judged
from geomlib.verify.leak import narrowed_at_the_end, watched, widened
from geomlib.verify.moves import num_nodes
from geomlib.verify.report import SEVERITY, Replay, Report
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.statistic import Evaluated, evaluate
from geomlib.verify.stress import Setting
from geomlib.verify.target import COTANGENT, GRADIENT, Target
from geomlib.verify.trials import Trials
from geomlib.verify.unread import unread_inputs
from geomlib.verify.values import Tree, leaves, map_leaves, rounded

__all__ = ["Options", "Session", "name_of"]

#: Float32 round-off above which something narrower than float32 must be at work.
_COARSE = 2.0**-13


@dataclass(frozen=True)
class Options:
    """How a check is run; see `geomlib.verify.check`."""

    trials: int = 24
    seed: int = 0
    gradients: bool = True
    stress: bool = True
    conservative: bool | None = None
    compiled: bool = False
    trial: int | None = None
    strict: bool = False
    explain: bool = True


class Session:
    """State of one check.

    Args:
        function: the callable.
        declared: what it promises.
        example: inputs in any container, ``None`` for those of the target or of the types.
        options: how to run.
    """

    def __init__(self, function: Callable[..., Any], declared: Symmetry, example: Any, options: Options):
        if options.trials < 1:
            raise InvalidInput(f"verify.check: trials={options.trials}, expected at least 1.")
        self.function, self.declared, self.example, self.options = function, declared, example, options
        self.name = name_of(function)
        self.rng = self._generator(0)
        self.group = parse_group(declared.group)
        base, self.draw = self._source(example)
        empty = {name for name, value in base.items() if value is None}
        given = {name: t for name, t in declared.input_types().items() if name not in empty}
        types, absent = resolved(function, given, leaves(base), strict=options.strict)
        self.inputs, untyped = infer_types(base, types)
        warnings = [f"input `{n}` is typed but absent from the inputs: not tested" for n in absent] + untyped
        if example is not None:
            self.draw = jittered(base, self.inputs)
        self.outputs = declared.output_types()
        self.target = Target(function, self.inputs, gradients=options.gradients)
        self.base = rounded(self.target.with_cotangents(rounded(base), self.rng))
        self.inputs |= self.target.cotangent_types(self.outputs) if options.gradients else {}
        self.trials = Trials(self.target, self.inputs, self.outputs, self.group, self._generator)
        self.trials.warnings += warnings

    def _generator(self, index: int) -> Generator:
        """Return the source of randomness of one class of trials, so that each can be repeated alone."""
        return Generator().manual_seed((1_000_003 * self.options.seed + index) % 2**63)

    def _source(self, example: Any) -> tuple[Tree, Draw]:
        own = example_of(self.function)
        dim = self.group.identity().linear.shape[0] or 3
        draw = invented(self.declared.input_types(), dim) if own is None else own
        base = normalized(self.function, example) if example is not None else draw(self.rng)
        for name, x in leaves(base).items():
            if x.is_floating_point() and not bool(torch.isfinite(x).all()):
                raise InvalidInput(f"verify.check: example input `{name}` holds NaN or infinity.")
        return base, draw

    def report(self) -> Report:
        """Run everything and return the findings."""
        first = self._first()
        scale, trial = self._length(), self.options.trial
        run = self.trials
        random = run.generic(first, self._fresh, self.options.trials, scale)
        if self.options.stress or trial is not None:
            setting = Setting(first.tree, self._fresh, self.inputs, self.outputs, self.group, scale)
            run.stress(setting, None if trial is None else trial // STRIDE)
        repeated = trial is not None
        claimed = () if repeated else self.declared.breaks
        if not repeated:
            self._claims()
            silent = unread_inputs(self.target, first, self._fresh(self._generator(-2)), self.inputs)
            run.warnings += [f"input `{n}` changes no output: nothing is tested about it" for n in silent]
        breaks = {name: self._break(name, first, scale) for name in claimed}
        evidence = self._evidence(scale)
        found = explain(evidence)
        run.warnings += evidence.notes
        self._warn_of_coarse(found.judged)
        return Report(
            self.name,
            self.declared.group,
            self.options.seed,
            self.options.trials,
            tuple(j.result for j in found.judged),
            run.components(random, first),
            breaks,
            tuple(run.failures),
            tuple(dict.fromkeys([*run.warnings, *self.target.notes])),
            passes=found.diagnosis.passes,
            fails=found.diagnosis.fails,
            advice=found.diagnosis.advice,
            first_broken=found.first_broken,
            leaks=found.leaks,
            lie=dict(found.lie),
            replay=self._replay(found.judged),
            case=self._case(found.judged),
        )

    def _evidence(self, scale: float) -> Evidence:
        trial = self.options.trial
        if trial is not None:
            self.trials.collected.only = (trial // STRIDE, trial % STRIDE)
            found = [c for c in self.trials.collected.classes if c.index == trial // STRIDE]
            if not found or trial % STRIDE >= len(found[0].cases):
                last = len(self.trials.collected.classes[0].cases) - 1
                raise InvalidInput(
                    f"verify.check: there is no trial {trial}. Generic trials are 0..{last}; others come from the "
                    "replay line of a report."
                )
        return Evidence(
            self.function, self.target, self.declared, self.group, self.inputs, self.outputs, self.trials.collected, scale,
            self._generator(STRIDE), self.options.explain,
        )  # fmt: skip

    @staticmethod
    def _worst(judged: list[Judged]) -> Judged | None:
        return max(judged, key=lambda j: (SEVERITY.index(j.result.verdict), j.result.ratio), default=None)

    def _case(self, judged: list[Judged]) -> tuple[Any, dict[str, Any]] | None:
        worst = self._worst(judged)
        if worst is None:
            return None
        at, move = worst.found.cases[worst.trial]
        return move.element, {n: x for n, x in at.tree.items() if not n.startswith(COTANGENT)}

    def _replay(self, judged: list[Judged]) -> Replay:
        worst = self._worst(judged)
        number = self.options.trial if worst is None or self.options.trial is not None else worst.number
        o = self.options
        rest = "" if o.trials == Options.trials else f", trials={o.trials}"
        text = f"geomlib.verify.check({self.name}, seed={o.seed}{rest}, trial={number})"

        def again() -> Report:
            with preserved_state():
                reseed(o.seed)
                return Session(self.function, self.declared, self.example, replace(o, trial=number)).report()

        return Replay(text, again, number)

    # ---- the first evaluation -------------------------------------------------------------------------------

    def _first(self) -> Evaluated:
        pristine = map_leaves(self.base, lambda _, x: x.clone())
        results: list[dict[str, Tensor]] = []
        for offset in (0, 0, 1):
            reseed(self.options.seed + offset)
            # The first call gets the inputs themselves, so that a change in place is seen.
            tree = map_leaves(pristine, lambda _, x: x.clone()) if results else self.base
            results.append({n: x.detach().clone() for n, x in self.target.raw(tree).items()})
        reseed(self.options.seed)
        self.trials.collected.nondeterministic = nondeterministic(results)
        before, after = leaves(pristine), leaves(self.base)
        touched = [n for n, x in before.items() if n not in after or not _same(after[n], x)]
        self.trials.failures += [f"input `{name}` is modified in place" for name in touched]
        self.trials.failures += [
            f"the target adds `{name}` to its inputs" for name in after if name not in before
        ]
        self.base = pristine
        first = evaluate(self.target, pristine)
        if any(
            x.is_floating_point() and x.element_size() < 8 for n, x in first.wide.items() if n in self.outputs
        ):
            first = self._widened(first)
        missing = sorted(set(self.outputs) - set(first.wide))
        if len(missing) == len(self.outputs):
            raise InvalidInput(
                f"verify.check: outputs declared {missing}, the target returned {sorted(first.wide)}."
                + closest(missing[0], first.wide)
            )
        self.trials.warnings += [
            f"output `{name}` is declared but was not returned: not tested" for name in missing
        ]
        known = {*self.outputs, *before}
        extra = [n for n in first.wide if n not in known and not n.startswith(GRADIENT)]
        self.trials.warnings += [f"output `{name}` has no declared type: not tested" for name in extra]
        self._warn_of_silence(first)
        return first

    def _widened(self, first: Evaluated) -> Evaluated:
        """Judge a target that only rounds its outputs before that rounding."""
        found, out = watched(self.target, first.tree, gradients=False)
        if not narrowed_at_the_end(found, out):
            return first
        names = [n for n, x in out.items() if x.is_floating_point() and x.element_size() < 8]
        self.target.watch = widened
        self.trials.warnings += [
            f"output `{n}` is {str(out[n].dtype).removeprefix('torch.')} for float64 inputs: judged before that rounding"
            for n in names
        ]
        return evaluate(self.target, first.tree)

    def _warn_of_silence(self, first: Evaluated) -> None:
        floats = [n for n, x in first.wide.items() if x.is_floating_point() and not n.startswith(GRADIENT)]
        if (
            self.options.gradients
            and floats
            and not self.target.differentiable
            and self.target.variables(self.base)
        ):
            self.trials.warnings.append(
                "no output carries a gradient (no_grad, inference_mode or detach inside): gradients not tested"
            )

    # ---- the trials -----------------------------------------------------------------------------------------

    def _fresh(self, generator: Generator) -> Tree:
        tree = {name: value for name, value in self.draw(generator).items() if name in self.base}
        return rounded(self.target.with_cotangents(rounded(tree), generator, self.base))

    def _length(self) -> float:
        """Return the size of the data, which is that of the random translations."""
        points = [
            x for n, x in leaves(self.base).items() if n in self.inputs and self.inputs[n].kind == "point"
        ]
        spread = [float(x.std()) for x in points if x.numel() > 3]
        return max(spread, default=1.0) or 1.0

    def _claims(self) -> None:
        o = self.options
        if o.conservative is not False:
            wrong = conservative_failure(
                self.target, self.base, self.inputs, self.outputs, self.rng, required=bool(o.conservative)
            )
            self.trials.failures += [wrong] if wrong else []
        if o.compiled:
            self.trials.failures += compiled_failures(self.target, self.base)
        if o.gradients:
            failures, warnings = gradient_failures(self.target, self.base, self.rng)
            if failures and any(leak.made for leak in watched(self.target, self.base)[0]):
                failures, warnings = self._without_casts(failures, warnings)
            self.trials.failures += failures
            self.trials.warnings += warnings

    def _without_casts(self, failures: list[str], warnings: list[str]) -> tuple[list[str], list[str]]:
        """Return the findings about gradients where casts to narrower types do nothing: no differences of noise."""
        old, self.target.watch = self.target.watch, widened
        try:
            return gradient_failures(self.target, self.base, self.rng)
        except (RuntimeError, TypeError, ValueError):  # an operation insists on the narrow type
            return failures, warnings
        finally:
            self.target.watch = old

    def _break(self, name: str, first: Evaluated, scale: float) -> float:
        group = parse_group(name).sized(num_nodes(leaves(first.tree), self.inputs) or 0)
        found = Class(f"breaks {name}")
        for g in stratified(group, 4, self.rng, scale):
            self.trials.add(found, first, self.trials.move(g, first.tree))
        scores = {field: found.score(field) for field in found.trials if field in self.outputs}
        worst = max((s.e64 / s.tau64 for s in scores.values()), default=0.0)
        if worst <= 1.0:
            self.trials.failures.append(
                f"breaks={name!r} is claimed, but the target respects {name} to round-off"
            )
        return worst

    def _warn_of_coarse(self, judged: list[Judged]) -> None:
        generic = self.trials.collected.classes[0]
        for name in (j.result.name for j in judged):
            d32 = generic.score(name).d32 if name in generic.trials else 0.0
            if _COARSE <= d32 <= 1.0:
                self.trials.warnings.append(
                    f"output `{name}` keeps {-math.log10(d32):.1f} digits in float32: TF32 or bfloat16 in use, or "
                    "the function is ill conditioned"
                )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def name_of(target: Any) -> str:
    """Return how a report calls a target."""
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__
