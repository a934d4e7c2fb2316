r"""Which submodule breaks the symmetry first, without knowing the types of what flows between the submodules.

For one element g and many inputs, the rows of every intermediate tensor at x and at g x are compared as matrices A
and B. They are *invariant* if A = B, *equivariant* if some matrix W gives B = A W on rows it was not fitted to, and
*broken* otherwise. A representation is never asked for by name; only its existence is tested.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Group
from geomlib.errors import InvalidInput
from geomlib.verify.fits import relative, shown
from geomlib.verify.inputs import scaled
from geomlib.verify.moves import by_element
from geomlib.verify.prepared import Prepared, prepared, simple_elements
from geomlib.verify.rows import BAD, Judged, Rows, judge_rows
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.traces import Seen, Trace, traced
from geomlib.verify.values import Leaves, Tree, leaves, map_leaves

__all__ = ["LIMITS", "LocateReport", "LocateRow", "locate"]

LIMITS = (
    "Only the existence of a linear representation is tested: a wrong label passes, and one component rescaled is "
    "a change of basis (shown as 'stretched').",
    "A bias in a constant direction hides where features are shifted anyway, or behind a constant channel.",
    "Frames, canonicalisation and components taken one by one are not linear although the model may be sound: "
    "nothing is named where all outputs transform.",
    "What happens between submodules is attributed to the module around it; rows sorted by the data read as broken.",
)
#: Other sizes of the inputs, tried while nothing is broken: a clamp acts on large features only.
_AMPLITUDES = (1.0, 0.1, 10.0, 1e-3, 100.0, 1e3)
#: Inputs at other sizes, at least, at most; the last number is the longest row for which more are drawn.
_FEW, _SAMPLES, _MANY, _LONG = 3, 8, 16, 40
# A tensor that changes by more than the second number when the input changes by the first holds no digit.
_SHAKE, _SENSITIVE = 1e-10, 1e-4
_MODEL = "(model)"
#: Rows printed behind the one that is named.
_AFTER = 3


@dataclass(frozen=True)
class LocateRow:
    """One intermediate tensor.

    Args:
        name: ``layers.0``, ``layers.0.mix#2 [1]``; an input of a submodule is ``layers.0 <- x``.
        module: the module responsible for it.
        kind: class of that module.
        status: ``invariant``, ``equivariant``, ``stretched``, ``broken``, ``nonfinite``, ``constant`` or ``not tested``.
        residual: held-out error of the best linear map, or the change where it is invariant.
        shape: rows and features of one sample.
        element: the element under which it is worst.
        reason: one sentence where there is something to say.
    """

    name: str
    module: str
    kind: str
    status: str
    residual: float
    shape: tuple[int, ...]
    element: str
    reason: str = ""


@dataclass(frozen=True)
class LocateReport:
    """Result of `locate`.

    Args:
        target: name of the model.
        group: name of the group.
        rows: every tensor in call order, under the element that breaks something, else where it is worst.
        first_broken: dotted path of the first submodule that breaks, ``"(model)"`` for the model's own code, or None.
        culprit: the row that shows it.
        elements: what was tried, up to the first that breaks something.
        amplitude: size of the inputs at which it was found.
        notes: what else is worth knowing.
    """

    target: str
    group: str
    rows: tuple[LocateRow, ...]
    first_broken: str | None
    culprit: LocateRow | None
    elements: tuple[str, ...]
    amplitude: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[str, ...]:
        """What this method cannot see."""
        return LIMITS

    def __str__(self) -> str:
        listed = (
            self.rows if self.culprit is None else self.rows[: self.rows.index(self.culprit) + 1 + _AFTER]
        )
        cells = [("tensor", "shape", "status", "residual", "under", "")]
        cells += [
            (
                r.name or _MODEL,
                "x".join(map(str, r.shape)),
                r.status,
                shown(r.residual),
                r.element,
                r.reason,
            )
            for r in listed
        ]
        widths = [max(len(row[i]) for row in cells) for i in range(6)]
        lines = [
            " " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        if len(listed) < len(self.rows):
            lines.append(f" ... {len(self.rows) - len(listed)} more")
        notes = [f"note: {text}" for text in self.notes] + [f"limit: {text}" for text in LIMITS]
        head = f"{self.target} : {self.group}   ({', '.join(self.elements)})"
        return "\n".join([head, *lines, self._found(), *notes])

    def _found(self) -> str:
        c = self.culprit
        if c is None:
            return "nothing is broken"
        size = "" if self.amplitude == 1.0 else f", inputs x {self.amplitude:g}"
        what = c.reason or f"residual {shown(c.residual)}"
        return f"first broken: {c.module or _MODEL} ({c.kind}), {c.status} under {c.element}{size}: {what}"


def locate(
    model: Callable[..., Any],
    group: str | Group | None = None,
    inputs: Any = None,
    *,
    example: Any = None,
    elements: list[Element] | None = None,
    amplitudes: Sequence[float] = _AMPLITUDES,
    samples: int | None = None,
    train: bool = False,
    tol: float = 1e-9,
    seed: int = 0,
) -> LocateReport:
    r"""Name the first submodule whose output does not transform linearly.

    .. math:: \min_W \|A W - B\| \text{ on half of the rows,}\quad r = \|A' W - B'\| / \|B'\| \text{ on the others}

    Only the types of the *inputs* are needed; names such as ``pos`` and ``edge_index`` speak for themselves. The model
    is copied, in float64, and evaluated; it stays as it is.

    Args:
        model: a module, or a callable that uses modules; submodules are watched at all their public methods.
        group: for example ``"E(3)*S_n"``; by default that of ``model.symmetry``.
        inputs: tensors in any container the model takes (dict of arguments, tuple, ``Data``), or their types.
        example: tensors, where ``inputs`` holds types.
        elements: group elements to try; by default one per component of every factor.
        amplitudes: sizes of the inputs, tried in this order until something breaks.
        samples: number of inputs; by default as many as the fits need, 8 to 16.
        train: use the training mode, to find the dropout that breaks a symmetry.
        tol: largest residual of a sound tensor.
        seed: of the inputs and elements.

    Returns:
        A `LocateReport`: ``first_broken``, ``rows``, and the table as ``str(report)``.

    Raises:
        InvalidInput: no group, no inputs, or types that do not fit.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Tanh(), torch.nn.Identity())
    >>> locate(net, "SO(3)", "vector").first_broken
    '1'
    >>> locate(net[0], "O(3)", "vector").first_broken is None
    True
    """
    if not tol > 0 or (samples is not None and samples < 4):
        raise InvalidInput(
            f"verify.locate: tol={tol}, samples={samples}: expected tol > 0 and 4 samples or more."
        )
    with preserved_state():
        reseed(seed)
        generator = Generator().manual_seed(seed)
        ready = prepared("locate", model, group, inputs, None, example, generator)
        if train:
            for module in ready.target.modules.values():
                module.train()
        search = _Search(ready, elements, samples, tol, generator)
        reports = [search.generic(amplitudes[0])]
        for amplitude in amplitudes[1:]:
            if reports[-1].first_broken is not None:
                return reports[-1]
            reports += search.other(amplitude)
        return reports[-1] if reports[-1].first_broken is not None else reports[0]


class _Search:
    """The traces of all inputs and elements."""

    def __init__(
        self,
        ready: Prepared,
        elements: list[Element] | None,
        samples: int | None,
        tol: float,
        generator: Generator,
    ):
        self.ready, self.tol, self.generator, self.samples = ready, tol, generator, samples
        points = [
            x for n, x in leaves(ready.base).items() if n in ready.inputs and ready.inputs[n].kind == "point"
        ]
        scale = max((float(x.std()) for x in points if x.numel() > 3), default=1.0) or 1.0
        self.elements = simple_elements(ready.group, generator, scale) if elements is None else elements
        self.trees = [ready.base]

    def generic(self, amplitude: float) -> LocateReport:
        """Return the findings over all elements; draws the inputs."""
        with traced(self.ready.target.modules) as trace:
            first = self._trace(trace, self._scaled(self.ready.base, amplitude))
            turned = self._trace(trace, self._moved(self.elements[0], self.ready.base, amplitude))
            count = self.samples if self.samples is not None else self._needed(first, turned)
            self.trees += [self.ready.draw(self.generator) for _ in range(count - 1)]
            before = [first, *(self._trace(trace, self._scaled(t, amplitude)) for t in self.trees[1:])]
            return self._report(
                trace, before, self._excused(trace, first, amplitude), self.elements, amplitude
            )

    def other(self, amplitude: float) -> list[LocateReport]:
        """Return the findings at another size of the inputs; nothing where the model refuses it."""
        turning = [g for g in self.elements if bool(g.linear.numel()) and not bool(g.shift.any())]
        with traced(self.ready.target.modules) as trace:
            try:
                before = [self._trace(trace, self._scaled(t, amplitude)) for t in self.trees[:_FEW]]
                excused = self._excused(trace, before[0], amplitude)
                return [self._report(trace, before, excused, turning[-1:] or self.elements[-1:], amplitude)]
            except InvalidInput:
                return []

    def _report(
        self,
        trace: Trace,
        before: list[list[Seen]],
        excused: dict[int, Judged],
        elements: list[Element],
        amplitude: float,
    ) -> LocateReport:
        judged: list[list[Judged]] = []
        found: int | None = None
        for g in elements:
            after = [self._trace(trace, self._moved(g, t, amplitude)) for t in self.trees[: len(before)]]
            judged.append([excused.get(k, j) for k, j in enumerate(self._under(g, before, after))])
            found = _culprit(before[0], judged[-1])
            if found is not None:
                break
        return self._summary(before[0], judged, elements[: len(judged)], found, amplitude)

    def _excused(self, trace: Trace, first: list[Seen], amplitude: float) -> dict[int, Judged]:
        """Return what needs no fit: tensors that differ between two calls, and tensors that are only round-off."""
        tree = self._scaled(self.ready.base, amplitude)
        again = self._trace(trace, tree)
        near = self._trace(trace, map_leaves(tree, lambda _, x: self._shaken(x)))
        found: dict[int, Judged] = {}
        same, close = ({s.label: s.value for s in trace} for trace in (again, near))
        for k, seen in enumerate(first):
            x, y, z = seen.value, same.get(seen.label), close.get(seen.label)
            if y is None or x.shape != y.shape or not torch.equal(torch.nan_to_num(x), torch.nan_to_num(y)):
                found[k] = Judged("broken", float("nan"), "two calls at the same input differ")
            elif z is not None and x.shape == z.shape and _sensitivity(x, z) > _SENSITIVE:
                found[k] = Judged("not tested", float("nan"), "nothing but round-off")
        return found

    def _shaken(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x * (1.0 + _SHAKE * torch.randn(x.shape, generator=self.generator, dtype=x.dtype))

    def _scaled(self, tree: Tree, amplitude: float) -> Tree:
        return tree if amplitude == 1.0 else scaled(tree, self.ready.inputs, amplitude)

    def _moved(self, g: Element, tree: Tree, amplitude: float) -> Tree:
        return by_element(g, self.ready.inputs, {}).inputs(self._scaled(tree, amplitude))[0]

    def _trace(self, trace: Trace, tree: Tree) -> list[Seen]:
        trace.clear()
        trace.call("", self.ready.name, "forward", self._evaluate)(**tree)
        return trace.seen

    def _evaluate(self, **tree: Any) -> Leaves:
        return self.ready.evaluate(tree)

    def _needed(self, first: list[Seen], turned: list[Seen]) -> int:
        """Return how many inputs give two rows per feature to every flat tensor that is not invariant."""
        needed = _SAMPLES
        for a, b in zip(first, turned, strict=False):
            moves = a.value.shape != b.value.shape or relative(a.value - b.value, b.value) > self.tol
            features = a.value[0].numel() if a.value.dim() else 1
            if moves and a.value.dim() == 2 and features <= _LONG:
                needed = max(needed, -(-(2 * features + 8) // len(a.value)))
        return min(needed, _MANY)

    def _under(self, g: Element, before: list[list[Seen]], after: list[list[Seen]]) -> list[Judged]:
        """Judge every tensor of the first trace; a sample without it (a graph without edges) is left out."""
        rules = Rows(g, self.tol, self.generator)
        tables = [
            ({s.label: s for s in a}, {s.label: s for s in b}) for a, b in zip(before, after, strict=True)
        ]
        return [
            judge_rows([(a[s.label], b.get(s.label)) for a, b in tables if s.label in a], rules)
            for s in before[0]
        ]

    def _summary(
        self,
        seen: list[Seen],
        judged: list[list[Judged]],
        elements: list[Element],
        found: int | None,
        amplitude: float,
    ) -> LocateReport:
        last = len(judged) - 1
        worst = [max(range(len(judged)), key=lambda e: judged[e][k].rank) for k in range(len(seen))]
        rows = tuple(
            LocateRow(
                s.label, s.module, s.kind, judged[e][k].status, judged[e][k].residual, tuple(s.value.shape),
                elements[e].label, judged[e][k].reason,
            )
            for k, (s, e) in enumerate(zip(seen, worst if found is None else [last] * len(seen), strict=True))
        )  # fmt: skip
        notes = [text for text in self.ready.warnings if "absent" not in text]
        odd = [r for r in rows if r.status in BAD]
        if found is None and odd:
            notes.append(
                f"`{odd[0].name}` is not linear in the group, but every output is: no fault by itself."
            )
        found = _frozen(seen, rows) if found is None else found
        culprit = None if found is None else rows[found]
        name = None if culprit is None else culprit.module or _MODEL
        labels = tuple(g.label for g in elements)
        return LocateReport(
            self.ready.name, self.ready.group.name, rows, name, culprit, labels, amplitude, tuple(notes)
        )


def _sensitivity(x: Tensor, near: Tensor) -> float:
    """Return the relative change, 0 for numbers that are not finite: those are judged as such."""
    return relative(x - near, x) if bool(torch.isfinite(x).all() and torch.isfinite(near).all()) else 0.0


def _ends(seen: list[Seen]) -> list[int]:
    """Return the positions of the outputs of the model."""
    return [k for k, s in enumerate(seen) if not s.label or s.label.startswith(" [")]


def _culprit(seen: list[Seen], under: list[Judged]) -> int | None:
    """Return the first row that breaks, or None where all outputs of the model transform."""
    if not any(under[k].status in (*BAD, "stretched") for k in _ends(seen)):
        return None
    return next((k for k, j in enumerate(under) if j.status in BAD or _stretches(seen, under, k)), None)


def _stretches(seen: list[Seen], under: list[Judged], k: int) -> bool:
    """Return whether a module got orthogonal features and returned as many that are not: a rescaled component."""
    sources = [i for i in seen[k].sources if seen[i].value.shape == seen[k].value.shape]
    return under[k].status == "stretched" and any(under[i].status == "equivariant" for i in sources)


def _frozen(seen: list[Seen], rows: tuple[LocateRow, ...]) -> int | None:
    """Return the first row that stays constant although its input varies, where all outputs are constant."""
    if any(rows[k].status != "constant" for k in _ends(seen)):
        return None
    return next(
        (
            k
            for k, s in enumerate(seen)
            if rows[k].status == "constant" and any(rows[i].status != "constant" for i in s.sources)
        ),
        None,
    )
