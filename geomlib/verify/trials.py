"""The trials of a check: generic inputs, special elements, and every stress that the declared types allow."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections import abc
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Generator

from geomlib.algebra.groups import Element, Group, stratified
from geomlib.algebra.representations import act
from geomlib.errors import InvalidInput
from geomlib.verify.batches import spoilt_graph
from geomlib.verify.judge import Class, Collected
from geomlib.verify.moves import Move, Types, by_element, num_nodes
from geomlib.verify.statistic import HEADROOM, Evaluated, Trial, evaluate, median_size, run_trial
from geomlib.verify.stress import STRESSES, Setting, Stress, within_graphs
from geomlib.verify.target import GRADIENT, Target, WrongShape
from geomlib.verify.values import Tree, leaves

__all__ = ["Trials"]

_GENERIC, _SPECIAL = 0, 1
#: Ratio above which the round-off of a class is measured in full.
_DOUBTFUL = 4.0
#: Largest ratio at which more elements are tried, how often per component, and the source of their randomness.
_NEAR, _MORE, _AGAIN = 1e3, 6, 500


@dataclass
class Trials:
    """Runs trials and collects their norms.

    Args:
        target: the callable.
        inputs: types of the inputs, cotangents included.
        outputs: types of the outputs.
        group: the declared group.
        source: gives the generator of one class of trials, so that each can be repeated alone.
    """

    target: Target
    inputs: Types
    outputs: Types
    group: Group
    source: Callable[[int], Generator]
    collected: Collected = field(default_factory=Collected)
    failures: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def generic(
        self, first: Evaluated, fresh: Callable[[Generator], Tree], trials: int, scale: float
    ) -> list[Element]:
        """Run random elements on random inputs and special elements on the first; return the random ones."""
        generator = self.source(_GENERIC + 1)
        group = self._sized(first)
        random = stratified(group, trials, generator, scale)
        generic = Class("generic", _GENERIC)
        for k, g in enumerate(random):
            at = evaluate(self.target, fresh(generator)) if k else first
            self.add(generic, at, self.move(g, at.tree))
        self.collected.classes.append(generic)
        special = self._like_generic("special elements", _SPECIAL)
        for g in group.special(generator):
            self.add(special, first, self.move(g, first.tree), lazy=True)
        self._complete(special)
        self.collected.classes += [special] if special.cases else []
        self._note_motion(random, generic)
        return random

    def components(self, random: list[Element], first: Evaluated) -> dict[str, int]:
        """Return how many elements of each connected component were tried."""
        return {name: sum(g.label == name for g in random) for name in self._sized(first).components()}

    def stress(self, setting: Setting, only: int | None = None) -> None:
        """Run every stress that the types allow, or the one with this number."""
        for index, (label, build) in enumerate(STRESSES.items(), start=_SPECIAL + 1):
            if only is None or only == index:
                self._stress(label, index, build, setting)

    def move(self, g: Element, tree: Tree) -> Move:
        """Return the move of an element that respects the blocks of a batch."""
        return by_element(within_graphs(g, tree), self.inputs, self.outputs)

    def add(
        self,
        found: Class,
        at: Evaluated,
        move: Move,
        *,
        lazy: bool = False,
        gradients: bool | None = None,
        enlarge: Callable[[], None] | None = None,
    ) -> None:
        """Run one trial of a class, in float32 only as far as the float64 error does not settle it."""

        def accept(name: str, trial: Trial) -> bool:
            if found.accepts(name, trial):
                return True
            if enlarge is not None:  # how large are outputs of generic inputs of this size?
                enlarge()
            return found.accepts(name, trial)

        found.add(
            run_trial(self.target, at, move, accept=accept if lazy else None, gradients=gradients), at, move
        )

    def _complete(self, found: Class) -> None:
        """Measure the whole round-off of every trial where an error seems large: accepted trials had only a part."""
        if all(found.score(name).ratio <= _DOUBTFUL for name in found.trials):
            return
        gradients = any(name.startswith(GRADIENT) for name in found.trials)
        for k, (at, move) in enumerate(found.cases):
            partial = [
                n for n, trials in found.trials.items() if k < len(trials) and trials[k].e32 != trials[k].e32
            ]
            if not partial:
                continue
            whole = run_trial(self.target, at, move, gradients=gradients)
            for name in partial:
                found.trials[name][k] = whole[name]

    def _sized(self, at: Evaluated) -> Group:
        nodes = num_nodes(leaves(at.tree), self.inputs)
        if nodes is None:
            nodes = num_nodes(at.wide, self.outputs)
        return self.group.sized(nodes or 0)

    def _like_generic(self, label: str, index: int) -> Class:
        """Return a class for inputs of the size of the generic ones, whose sizes and round-off are known."""
        generic = self.collected.classes[0]
        scores = {n: generic.score(n) for n in generic.trials}
        sizes = {n: median_size(trials) for n, trials in generic.trials.items()}
        return Class(label, index, size=sizes, floor={n: (s.e32, s.d32) for n, s in scores.items()})

    def _note_motion(self, random: list[Element], generic: Class) -> None:
        """Find out what the group can move at all: only that is tested."""
        tree, wide = generic.cases[0][0].tree, generic.cases[0][0].wide
        self.collected.moved = any(_changes(move, at.tree) for at, move in generic.cases)
        noise = self.source(-1)
        for name, t in self.outputs.items():
            x = wide.get(name)
            if x is None or not t.moves or not x.is_floating_point() or not x.numel():
                continue
            y = torch.randn(x.shape, generator=noise, dtype=torch.float64)
            still = [Element(g.linear, torch.zeros_like(g.shift), label=g.label) for g in random]
            if any(not torch.allclose(act(t, g, y, name=name), y) for g in still):
                self.collected.movable.add(name)
        for factor in getattr(self.group, "factors", (self.group,)):
            sized = factor.sized(num_nodes(leaves(tree), self.inputs) or 0)
            drawn = [sized.sample(c, noise) for c in sized.components()]
            if not any(_changes(self.move(g, tree), tree) for g in drawn):
                self.warnings.append(
                    f"no element of {factor.name} changes any input: nothing is tested about it"
                )

    def _stress(
        self, label: str, index: int, build: Callable[[Setting, Generator], Stress | None], setting: Setting
    ) -> None:
        with self._refusals(label):
            stress = build(setting, self.source(index))
            if stress is not None:
                self._run(label, index, stress, setting)

    @contextmanager
    def _refusals(self, label: str) -> abc.Generator[None, None, None]:
        """Report errors of the target instead of raising them: refusing an extreme input is a correct answer."""
        try:
            yield
        except WrongShape as wrong:
            self.failures.append(f"{label}: {str(wrong).removeprefix('verify: ')}")
        except InvalidInput as refusal:
            self.warnings.append(f"{label}: refused by the target ({str(refusal).splitlines()[0]})")
        except (
            RuntimeError,
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            ArithmeticError,
            AssertionError,
        ) as error:
            text = (str(error).splitlines() or [""])[0]
            self.warnings.append(f"{label}: the target fails with {type(error).__name__} ({text})")

    def _run(self, label: str, index: int, stress: Stress, setting: Setting) -> None:
        gradients = stress.gradients and self.target.gradients
        at = evaluate(self.target, stress.tree, gradients=gradients)
        if self._out_of_range(label, at, stress):
            return
        found = self._like_generic(label, index)
        if (
            stress.amplitude != 1.0 or not stress.gradients
        ):  # other sizes: only e32 is borrowed, for the table
            found.size, found.floor = {}, {n: (e32, 0.0) for n, (e32, _) in found.floor.items()}
        found.amplitude, found.tied = stress.amplitude, stress.tied
        known: list[None] = []

        def enlarge() -> None:
            if not known and stress.variation is not None:
                known.append(None)
                found.learn(evaluate(self.target, stress.variation(), gradients=gradients))

        for move in stress.moves:
            with self._refusals(label):  # the other moves count all the same
                self.collected.moved = self.collected.moved or _changes(move, at.tree)
                self.add(found, at, move, lazy=True, gradients=gradients, enlarge=enlarge)
        for g in stress.still:
            move = self.move(g, at.tree)
            trial = _still(at, g, move)
            if any(not found.accepts(n, t) for n, t in trial.items()):
                enlarge()
            found.add(trial, at, move)
        self._complete(found)
        if any(0.5 * HEADROOM < found.score(name).ratio <= _NEAR for name in found.trials):
            # Of few trials the largest round-off may be small by chance, a fault shows under any element.
            generator = self.source(_AGAIN + index)
            for _ in range(_MORE):
                for move in setting.moves(at.tree, generator, every=True, scale=stress.amplitude):
                    with self._refusals(label):
                        self.add(found, at, move, gradients=gradients)
        self.collected.classes += [found] if found.cases else []
        leak = spoilt_graph(self.target, at, self.inputs, self.outputs) if stress.spoil else None
        self.failures += [leak] if leak else []

    def _out_of_range(self, label: str, at: Evaluated, stress: Stress) -> bool:
        """Return whether numbers leave the range of the type at an extreme amplitude, or the domain at its edge."""
        wide, narrow = (all(bool(torch.isfinite(x).all()) for x in y.values()) for y in (at.wide, at.narrow))
        if wide and not narrow and stress.amplitude != 1.0:
            self.warnings.append(f"{label}: the outputs leave the range of float32")
            return True
        if not wide and stress.forgive:
            self.warnings.append(f"{label}: the output is NaN or infinite there")
            return True
        return False


def _still(at: Evaluated, g: Element, move: Move) -> dict[str, Trial]:
    """Return the norms of f(x) - rho(h) f(x) for an element h that leaves x as it is: no evaluation is needed."""
    found: dict[str, Trial] = {}
    wide = {n: x.double() for n, x in at.wide.items() if x.is_floating_point()}
    narrow = {n: at.narrow[n].double() for n in wide if n in at.narrow}
    want, want_narrow = move.expected(wide), move.expected(narrow)
    for name, x in wide.items():
        if name not in narrow or want[name].shape != x.shape or not x.dim():
            continue
        d32 = float((narrow[name] - x).norm())
        e32 = float((want_narrow[name] - narrow[name]).norm())
        finite = bool(torch.isfinite(x).all() and torch.isfinite(narrow[name]).all())
        moved = float((want[name] - x).norm())
        found[name] = Trial(g.label, moved, e32, d32, float(x.norm()), moved, finite)
    return found


def _changes(move: Move, tree: Tree) -> bool:
    moved, before = move.inputs(tree), leaves(tree)
    after = leaves(moved[0])
    return len(moved) > 1 or any(
        x.shape != after[n].shape or not torch.equal(x, after[n]) for n, x in before.items()
    )
