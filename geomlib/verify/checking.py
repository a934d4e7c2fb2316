"""One call that proves or refutes a declared symmetry."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from geomlib.algebra.groups import Element, Euclidean, Group, Product, parse_group, stratified
from geomlib.algebra.symmetry import Outputs, Symmetry, TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.derivatives import TOLERANCE, derivative_error
from geomlib.verify.inputs import Draw, example_of, infer_types, invented, jittered, scaled
from geomlib.verify.judge import Class, Collected, judge
from geomlib.verify.moves import Move, batch_gap, batch_split, by_element, num_edges, num_nodes, strided
from geomlib.verify.report import Replay, Report
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.statistic import Evaluated, evaluate, run_trial
from geomlib.verify.target import GRADIENT, Target
from geomlib.verify.values import Leaves, Tree, leaves, map_leaves, rounded

__all__ = ["check"]

AMPLITUDES = (1e-3, 0.1, 10.0, 100.0, 1e3)
_FAR = 1e3
#: Float32 round-off above which something narrower than float32 must be at work.
_COARSE = 2.0**-13


def check(
    target: Callable[..., Any],
    group: str | None = None,
    inputs: str | Mapping[str, Any] | None = None,
    outputs: Outputs | None = None,
    *,
    symmetry: Symmetry | None = None,
    example: Mapping[str, Any] | None = None,
    trials: int = 24,
    seed: int = 0,
    gradients: bool = True,
    stress: bool = True,
    exact: bool = True,
    rtol: float | None = None,
) -> Report:
    r"""Test whether :math:`f(\rho_{in}(g) x) = \rho_{out}(g) f(x)` holds to float64 round-off.

    The tolerance is not chosen: errors are compared with the target's own float32 round-off, scaled to
    float64 (see :mod:`geomlib.verify.statistic`). The target is copied; inputs and global
    state are left as is.

    Args:
        target: a module (tested in evaluation mode) or any callable that follows the dtype of its inputs.
        group: for example ``"E(3)*S_n"``; by default that of ``target.symmetry``.
        inputs: types by argument name, or one type for a single positional argument. A dict of tensors is
            taken as ``example``.
        outputs: one type, a tuple, or a dict of types.
        symmetry: all of the above in one object.
        example: one set of inputs; by default from ``target.example(generator)``, else made from the types.
        trials: random group elements, at least a quarter of them from every component.
        seed: seed of every random choice.
        gradients: test the gradients too: their equivariance, and that they are derivatives of the outputs.
        stress: test other amplitudes, far translations, edge order, memory layout and batch composition.
        exact: whether round-off is the tolerance.
        rtol: tolerance where ``exact=False``.

    Returns:
        A `Report`; ``report.ok``, ``print(report)`` and ``report.raise_if_failed()``.

    Raises:
        InvalidInput: no declaration, no inputs, or types that do not fit the tensors.

    >>> import torch
    >>> check(lambda x: x * x.norm(dim=-1, keepdim=True), "O(3)", "vector", "vector").verdict
    'EXACT'
    >>> check(torch.tanh, "O(3)", "vector", "vector").verdict
    'BROKEN'
    """
    if isinstance(target, type):
        raise InvalidInput(f"verify.check: {target.__name__} is a class. Pass an instance.")
    if isinstance(inputs, Mapping) and any(not isinstance(value, str) for value in inputs.values()):
        inputs, example = None, inputs
    declared = _declaration(target, group, inputs, outputs, symmetry, exact, rtol)
    with preserved_state():
        reseed(seed)
        return _Run(target, declared, example, trials, seed, gradients, stress).report()


def _declaration(
    target: Any,
    group: str | None,
    inputs: str | Mapping[str, str] | None,
    outputs: Outputs | None,
    symmetry: Symmetry | None,
    exact: bool,
    rtol: float | None,
) -> Symmetry:
    own = symmetry if symmetry is not None else getattr(target, "symmetry", None)
    if own is not None and not isinstance(own, Symmetry):
        raise InvalidInput(
            f"verify.check: symmetry is {type(own).__name__}, expected geomlib.algebra.Symmetry."
        )
    if own is None and (group is None or inputs is None or outputs is None):
        given = {"group": group, "inputs": inputs, "outputs": outputs}
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise InvalidInput(
            f"verify.check: {_name(target)} declares no symmetry, so {missing} must be given, "
            "for example group='E(3)*S_n', inputs={'pos': 'node:point'}, outputs='graph:scalar'."
        )
    if isinstance(inputs, str):
        inputs = {"0": inputs}
    if own is None:
        return Symmetry(
            cast(str, group), cast("Mapping[str, str]", inputs), cast(Outputs, outputs), exact, rtol
        )
    if group is None and inputs is None and outputs is None:
        return own
    same = group in (None, own.group)
    return Symmetry(
        own.group if group is None else group,
        own.inputs if inputs is None else inputs,
        own.outputs if outputs is None else outputs,
        own.exact,
        own.rtol,
        own.breaks if same else (),
    )


class _Run:
    """State of one check."""

    def __init__(
        self,
        target: Callable[..., Any],
        declared: Symmetry,
        example: Mapping[str, Any] | None,
        trials: int,
        seed: int,
        gradients: bool,
        stress: bool,
    ):
        if trials < 1:
            raise InvalidInput(f"verify.check: trials={trials}, expected at least 1.")
        self.name, self.declared, self.trials, self.seed, self.stress = (
            _name(target),
            declared,
            trials,
            seed,
            stress,
        )
        self.rng = torch.Generator().manual_seed(seed)
        given = declared.input_types()
        base, self.draw = self._source(target, given, example)
        self.inputs, self.warnings = infer_types(base, given)
        if example is not None:
            self.draw = jittered(base, self.inputs)
        self.outputs = declared.output_types()
        self.target = Target(target, self.inputs, gradients=gradients)
        self.base = rounded(self.target.with_cotangents(rounded(base), self.rng))
        self.inputs |= self.target.cotangent_types(self.outputs) if gradients else {}
        self.collected = Collected()
        self.failures: list[str] = []

    def _source(
        self, target: Any, given: Mapping[str, TensorType], example: Mapping[str, Any] | None
    ) -> tuple[Tree, Draw]:
        own = example_of(target)
        draw = invented(given) if own is None else own
        base = dict(example) if example is not None else draw(self.rng)
        for name, x in leaves(base).items():
            if x.is_floating_point() and not bool(torch.isfinite(x).all()):
                raise InvalidInput(f"verify.check: example input `{name}` holds NaN or infinity.")
        return base, draw

    def report(self) -> Report:
        """Run everything and return the findings."""
        first = self._first()
        group = self._sized(parse_group(self.declared.group), first)
        scale = self._length(first.tree)
        random = stratified(group, self.trials, self.rng, scale)
        generic = [
            (self._fresh() if k else first, by_element(g, self.inputs, self.outputs))
            for k, g in enumerate(random)
        ]
        generic += [(first, by_element(g, self.inputs, self.outputs)) for g in group.special(self.rng)]
        self._class("generic", generic, [*random, *[None] * (len(generic) - len(random))])
        if self.stress:
            self._amplitudes(group, scale)
            self._stress(group, first)
        self._derivatives()
        breaks = {name: self._break(name, first, scale) for name in self.declared.breaks}
        fields = judge(self.collected, self.declared, self.outputs, self.inputs)
        self.warnings += [
            f"output `{f.name}` keeps {-math.log10(f.d32):.1f} digits in float32: TF32 or bfloat16 in use, "
            "or the function is ill conditioned"
            for f in fields
            if _COARSE <= self.collected.classes[0].score(f.name).d32 <= 1.0
        ]
        return Report(
            self.name,
            self.declared.group,
            self.seed,
            self.trials,
            tuple(fields),
            {name: sum(g.label == name for g in random) for name in group.components()},
            breaks,
            tuple(self.failures),
            tuple([*self.warnings, *self.target.notes]),
            replay=Replay(f"verify.check({self.name}, group={self.declared.group!r}, seed={self.seed})"),
        )

    def _first(self) -> Evaluated:
        before = {name: x.clone() for name, x in leaves(self.base).items()}
        self._deterministic(before)
        touched = [name for name, x in leaves(self.base).items() if not torch.equal(x, before[name])]
        self.failures += [f"input `{name}` is modified in place" for name in touched]
        first = evaluate(self.target, map_leaves(self.base, lambda name, _: before[name]))
        missing = sorted(set(self.outputs) - set(first.wide))
        if len(missing) == len(self.outputs):
            raise InvalidInput(
                f"verify.check: outputs declared {missing}, the target returned {sorted(first.wide)}."
            )
        self.warnings += [f"output `{name}` is declared but was not returned: not tested" for name in missing]
        extra = [n for n in first.wide if n not in self.outputs and not n.startswith(GRADIENT)]
        self.warnings += [f"output `{name}` has no declared type: not tested" for name in extra]
        return first

    def _deterministic(self, before: Leaves) -> None:
        results: list[dict[str, Tensor]] = []
        for offset in (0, 0, 1):
            reseed(self.seed + offset)
            # The first call gets the inputs themselves, so that a change in place is seen.
            tree = map_leaves(self.base, lambda name, _: before[name].clone()) if results else self.base
            results.append({n: x.detach().clone() for n, x in self.target.raw(tree).items()})
        for name, x in results[0].items():
            if any(not _agree(x, other[name]) for other in results[1:]):
                self.collected.nondeterministic.add(name)

    def _fresh(self) -> Evaluated:
        tree = {name: value for name, value in self.draw(self.rng).items() if name in self.base}
        return evaluate(self.target, rounded(self.target.with_cotangents(rounded(tree), self.rng)))

    def _sized(self, group: Group, at: Evaluated) -> Group:
        nodes = num_nodes(leaves(at.tree), self.inputs)
        if nodes is None:
            nodes = num_nodes(at.wide, self.outputs)
        return group.sized(nodes or 0)

    def _length(self, tree: Tree) -> float:
        points = [x for n, x in leaves(tree).items() if n in self.inputs and self.inputs[n].kind == "point"]
        spread = [float(x.std()) for x in points if x.numel() > 3]
        return max(spread, default=1.0) or 1.0

    def _class(
        self,
        label: str,
        pairs: list[tuple[Evaluated, Move]],
        elements: list[Element | None],
        *,
        amplitude: float = 1.0,
    ) -> None:
        found = Class(label, amplitude)
        for (at, move), element in zip(pairs, elements, strict=True):
            self.collected.moved |= _changes(move, at.tree)
            found.add(run_trial(self.target, at, move), at, element)
        self.collected.classes.append(found)

    def _amplitudes(self, group: Group, scale: float) -> None:
        for amplitude in AMPLITUDES:
            elements = [group.sample(c, self.rng, scale * amplitude) for c in group.components()]
            tree = rounded(scaled(self._fresh().tree, self.inputs, amplitude))
            moves = [by_element(g, self.inputs, self.outputs) for g in elements]
            self._attempt(f"amplitude {amplitude:g}", tree, moves, amplitude=amplitude)

    def _stress(self, group: Group, first: Evaluated) -> None:
        tree = first.tree
        if _shifts(group) is not None:
            far = Element(
                torch.eye(3).double(), _FAR * torch.randn(3, generator=self.rng).double(), label="far"
            )
            self._attempt("translation by 1e3", tree, [by_element(far, self.inputs, self.outputs)])
        edges = num_edges(leaves(tree), self.inputs)
        if edges is not None and edges > 1:
            e = Element(torch.eye(3).double(), torch.zeros(3).double(), label="shuffled edges")
            orders = [torch.randperm(edges, generator=self.rng), torch.arange(edges).flip(0)]
            shuffled = [Element(e.linear, e.shift, edges=order, label=e.label) for order in orders]
            self._attempt("edge order", tree, [by_element(g, self.inputs, self.outputs) for g in shuffled])
        self._attempt("memory layout", tree, [strided()])
        for make in (batch_split, batch_gap):
            move = make(tree, self.inputs, self.outputs)
            if move is not None:
                self._attempt("batch", tree, [move])

    def _attempt(self, label: str, tree: Tree, moves: list[Move], *, amplitude: float = 1.0) -> None:
        # A typed refusal of an extreme input is a correct answer; it is reported, not judged.
        try:
            at = evaluate(self.target, tree)
            self._class(label, [(at, move) for move in moves], [None] * len(moves), amplitude=amplitude)
        except InvalidInput as refusal:
            self.warnings.append(f"{label}: refused by the target ({str(refusal).splitlines()[0]})")

    def _derivatives(self) -> None:
        if not self.target.gradients:
            return
        found = derivative_error(self.target, self.base, self.rng)
        if found is not None and not found[0] <= TOLERANCE:
            self.failures.append(
                f"the gradient with respect to `{found[1]}` is not the derivative of the output: central "
                f"differences differ by {found[0]:.1e}, allowed {TOLERANCE:.0e}"
            )

    def _break(self, name: str, first: Evaluated, scale: float) -> float:
        group = self._sized(parse_group(name), first)
        moves = [by_element(g, self.inputs, self.outputs) for g in stratified(group, 4, self.rng, scale)]
        found = Class(f"breaks {name}", 1.0)
        for move in moves:
            found.add(run_trial(self.target, first, move), first, None)
        scores = {field: found.score(field) for field in found.trials if field in self.outputs}
        worst = max((s.e64 / s.tau64 for s in scores.values()), default=0.0)
        if worst <= 1.0:
            self.failures.append(f"breaks={name!r} is claimed, but the target respects {name} to round-off")
        return worst


def _shifts(group: Group) -> Euclidean | None:
    factors = group.factors if isinstance(group, Product) else (group,)
    return next((f for f in factors if isinstance(f, Euclidean) and f.translations), None)


def _changes(move: Move, tree: Tree) -> bool:
    moved, before = move.inputs(tree), leaves(tree)
    after = leaves(moved[0])
    return len(moved) > 1 or any(
        x.shape != after[n].shape or not torch.equal(x, after[n]) for n, x in before.items()
    )


def _agree(a: Tensor, b: Tensor) -> bool:
    if a.is_cuda:  # atomics add in any order
        return torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-14, equal_nan=True)
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


def _name(target: Any) -> str:
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__
