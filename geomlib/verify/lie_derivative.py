r"""Equivariance one generator at a time: which direction of the group does a function not respect?

Along the flow :math:`t \mapsto \exp(tX)` an equivariant function has

.. math:: \mathrm{d}f(x)\,[\mathrm{d}\rho_{in}(X)\,x] = \mathrm{d}\rho_{out}(X)\,f(x).

All generators and one element per further component certify a linear function completely; another function at the
points tested.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Flow, Group, parse_group
from geomlib.algebra.representations import infinitesimal
from geomlib.errors import InvalidInput
from geomlib.verify.fits import shown
from geomlib.verify.moves import by_element
from geomlib.verify.prepared import Prepared, prepared
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.values import Leaves, Tree, leaves, replaced

__all__ = ["LieErrors", "lie"]

#: Step of differences in units of the size of the inputs.
_STEP = 1e-5
#: Largest relative difference between forward mode and a central difference that round-off explains.
_TRUSTED = 1e-6
#: Errors below are exact: forward mode carries round-off, differences along a flow truncation too.
_EXACT, _DIFFERENCE = 1e-9, 1e-7
_POINTS = 3


class LieErrors(dict[str, float]):
    """Errors by generator, ``{"Rx": 4e-1, "Rz": 1e-16, "mirror x": 2.0}``; discrete elements come last.

    Args:
        errors: the errors, each relative to the size of the output.
        method: how derivatives were taken, and why.
        reading: what the errors mean together.
        failing: names whose error is more than round-off.
        notes: inputs without a type.
    """

    def __init__(
        self,
        errors: dict[str, float],
        method: str,
        reading: str,
        failing: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ):
        super().__init__(errors)
        self.method, self.reading, self.failing, self.notes = method, reading, failing, notes

    @property
    def ok(self) -> bool:
        """Whether every generator and every discrete element is respected, and there is one."""
        return bool(self) and not self.failing

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {shown(error)}" for name, error in self.items())
        return "\n ".join([numbers or "no generators", self.reading, self.method, *self.notes])


def lie(
    model: Callable[..., Any],
    group: str | Group | None = None,
    inputs: Any = None,
    outputs: Any = None,
    *,
    example: Any = None,
    points: int = _POINTS,
    seed: int = 0,
) -> LieErrors:
    r"""Return the error of every generator of the group, and of one element per further component.

    .. math:: \|\mathrm{d}f(x)[X x] - X f(x)\| / \max(\|f(x)\|, \|\mathrm{d}f(x)[X x]\|)

    The derivative is taken in forward mode. An operation that has only a backward rule gives a zero tangent without a
    word, so one random direction is compared with a central difference first; where they differ, or where forward mode
    is refused, differences along the flow are used and ``method`` says so.

    Args:
        model: any callable.
        group: by default that of ``model.symmetry``.
        inputs: types of the inputs, or tensors.
        outputs: types of the outputs.
        example: tensors, where ``inputs`` holds types.
        points: inputs tried; the largest error counts.
        seed: of the inputs.

    Returns:
        A dict from generator to error, with ``ok``, ``reading`` and ``method``.

    Raises:
        InvalidInput: no group, no inputs, or no types of the outputs.

    >>> leak = lambda v: v + 0.4 * v[:, 2:] * torch.tensor([0.0, 0.0, 1.0]).to(v)
    >>> [name for name, error in lie(leak, "SO(3)", "vector", "vector").items() if error > 1e-9]
    ['Rx', 'Ry']
    """
    if points < 1:
        raise InvalidInput(f"verify.lie: points={points}, expected at least 1.")
    with preserved_state():
        reseed(seed)
        generator = Generator().manual_seed(seed)
        ready = prepared("lie", model, group, inputs, outputs, example, generator)
        if not ready.outputs:
            raise InvalidInput(
                f"verify.lie: no types are known for the outputs of {ready.name}. Pass outputs='vector'."
            )
        trees = [ready.base, *(ready.draw(generator) for _ in range(points - 1))]
        return _Derivatives(ready, trees, generator).errors()


@dataclass
class _Derivatives:
    """Derivatives of one function along flows."""

    ready: Prepared
    trees: list[Tree]
    generator: Generator
    why: str = ""

    def errors(self) -> LieErrors:
        """Return all errors with their reading."""
        group = self.ready.group
        flows = group.generators()
        forward = self._trusted() if flows else True
        errors = {flow.name: self._worst(lambda t, f=flow: self._along(f, t, forward)) for flow in flows}
        for g in group.discrete(self.generator):
            errors[g.label] = self._worst(lambda t, g=g: self._at(g, t))
        method = "derivatives by forward mode, compared with a central difference"
        if not forward:
            method = f"derivatives by differences along the flow (h = {_STEP:g}): {self.why}"
        allowed = {flow.name: _EXACT if forward else _DIFFERENCE for flow in flows}
        notes = tuple(text for text in self.ready.warnings if "absent" not in text)
        failing = tuple(name for name, error in errors.items() if not error <= allowed.get(name, _EXACT))
        return LieErrors(errors, method, self._reading(errors, flows, failing), failing, notes)

    def _worst(self, error: Callable[[Tree], float]) -> float:
        found = [error(tree) for tree in self.trees]
        return max(found, key=lambda e: e if e == e else float("inf"))

    def _along(self, flow: Flow, tree: Tree, forward: bool) -> float:
        """Return the error of one generator at one input."""
        value = self.ready.evaluate(tree)
        if forward:
            found = self._pushed(tree, self._tangents(flow, tree))
        else:
            ends = [self._evaluated(flow(t), tree) for t in (_STEP, -_STEP)]
            found = {n: (ends[0][n] - ends[1][n]) / (2 * _STEP) for n in value}
        want = {
            n: infinitesimal(t, flow, value[n], name=n) for n, t in self.ready.outputs.items() if n in value
        }
        return _ratio(found, want, value)

    def _at(self, g: Element, tree: Tree) -> float:
        """Return the error of one discrete element at one input."""
        value = self.ready.evaluate(tree)
        want = by_element(g, self.ready.inputs, self.ready.outputs).expected(
            {n: x for n, x in value.items() if n in self.ready.outputs}
        )
        return _ratio(self._evaluated(g, tree), want, value)

    def _evaluated(self, g: Element, tree: Tree) -> Leaves:
        return self.ready.evaluate(by_element(g, self.ready.inputs, {}).inputs(tree)[0])

    def _tangents(self, flow: Flow, tree: Tree) -> Leaves:
        return {
            n: infinitesimal(self.ready.inputs[n], flow, x, name=n)
            for n, x in leaves(tree).items()
            if x.is_floating_point() and n in self.ready.inputs
        }

    def _pushed(self, tree: Tree, tangents: Leaves) -> Leaves:
        """Return the derivative of every output along the tangents, in forward mode."""
        names = list(tangents)
        at = tuple(leaves(tree)[n].clone() for n in names)

        def function(*xs: Tensor) -> Leaves:
            found = self.ready.target.raw(replaced(tree, dict(zip(names, xs, strict=True))))
            return {n: x for n, x in found.items() if x.is_floating_point()}

        return torch.func.jvp(function, at, tuple(tangents[n] for n in names))[1]

    def _trusted(self) -> bool:
        """Return whether forward mode agrees with a central difference in a random direction."""
        tree = self.trees[0]
        found = {n: x for n, x in leaves(tree).items() if x.is_floating_point() and n in self.ready.inputs}
        along = {n: torch.randn(x.shape, generator=self.generator, dtype=x.dtype) for n, x in found.items()}
        step = _STEP * (
            max((float(x.square().mean().sqrt()) for x in found.values() if x.numel()), default=1.0) or 1.0
        )
        try:
            pushed = self._pushed(tree, along)
        except Exception as error:  # whatever an operation without a forward rule raises
            self.why = f"forward mode is refused ({type(error).__name__}: {str(error).splitlines()[0][:80]})"
            return False
        ends = [
            self.ready.evaluate(replaced(tree, {n: x + s * step * along[n] for n, x in found.items()}))
            for s in (1, -1)
        ]
        for name, tangent in pushed.items():
            numeric = (ends[0][name] - ends[1][name]) / (2.0 * step)
            size = max(_norm(numeric), _norm(tangent), 2.0**-40 * _norm(ends[0][name]) / step)
            if not _norm(tangent - numeric) <= _TRUSTED * size:
                what = "is silently zero" if _norm(tangent) == 0.0 else "disagrees with differences"
                self.why = f"the tangent of forward mode {what} (output {name!r})"
                return False
        return True

    def _reading(self, errors: dict[str, float], flows: Iterable[Flow], failing: tuple[str, ...]) -> str:
        if not errors:
            return "nothing was tested: the group has no generators"
        if not failing:
            return "every generator is respected"
        text = f"{', '.join(failing)} fail"
        kept = [name for name in errors if name not in failing]
        text += f"; {', '.join(kept)} hold" if kept else ""
        turns = [
            f for f in flows if f.name in failing and f.linear.shape == (3, 3) and f.name.startswith("R")
        ]
        if len(turns) == 3 and self._cubic():
            text += ": equivariant for the cubic group, not for SO(3)"
        elif all(name.startswith("T") for name in failing):
            text += ": positions are not centred, or a difference is missing"
        elif not any(f.name in failing for f in flows):
            text += ": a parity label, or an SO(3)-only product"
        return text

    def _cubic(self) -> bool:
        """Return whether the 24 rotations of a cube are respected although the generators are not."""
        return all(
            self._worst(lambda t, g=g: self._at(g, t)) <= _EXACT for g in parse_group("O").elements() or []
        )


def _ratio(found: Leaves, want: Leaves, value: Leaves) -> float:
    """Return the largest error of the outputs, each relative to its own size."""
    worst = 0.0
    for name, b in want.items():
        a = found[name]
        size = max(_norm(value[name]), _norm(a), _norm(b))
        error = _norm(a - b) / size if size > 0.0 else 0.0
        worst = error if error != error else max(worst, error)
    return worst


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.detach()))
