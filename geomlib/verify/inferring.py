r"""Which representation is this? The irreps of a black box, read off its values.

For each of many elements g the matrix W(g) with :math:`f(gx) = f(x)\,W(g)` is fitted on half of the rows and tested on
the others. Its trace is a character, and characters have whole multiplicities.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Group
from geomlib.algebra.representations import act, matrix
from geomlib.algebra.symmetry import Symmetry, TensorType, parse_type
from geomlib.errors import InvalidInput
from geomlib.verify.characters import Basis, characters_of, solve_multiplicities, suggested
from geomlib.verify.fits import RANK_CUT, Fit, fit_linear, relative, shown
from geomlib.verify.moves import by_element
from geomlib.verify.prepared import Prepared, prepared
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.values import Leaves, Tree, leaves

__all__ = ["InferReport", "infer"]

#: Largest error of the fits of an exact representation, and of one with a table in float32.
_FITS, _NARROW = 1e-9, 8 * 2.0**-24
_WHOLE = 1e-6
_MOST_FEATURES, _MOST_SAMPLES = 1024, 4096
_PLURALS = {"points": "point", "vectors": "vector", "scalars": "scalar"}


@dataclass(frozen=True)
class InferReport:
    """Result of `infer`.

    Args:
        target: name of the layer.
        group: group that acted.
        output: name of the output.
        irreps: ``1x0e+1x2e``; empty where there is no representation.
        multiplicities: least squares values, not rounded.
        fit: held-out error of the worst linear map between f(x) and f(gx).
        residual: relative error of the traces.
        distance: largest distance of a multiplicity to a whole number.
        rank: independent features.
        features: all features.
        advice: what the findings mean.
    """

    target: str
    group: str
    output: str
    irreps: str
    multiplicities: Mapping[str, float]
    fit: float
    residual: float
    distance: float
    rank: int
    features: int
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether the output transforms by a representation at all."""
        return bool(self.irreps)

    def __str__(self) -> str:
        lines = [f"{self.target} [{self.output}] : {self.group}   {self.irreps or 'not a representation'}"]
        numbers = (self.fit, self.residual, self.distance)
        lines.append(" fit {}   characters {}   to whole numbers {}".format(*map(shown, numbers)))
        if self.rank < self.features:
            less = self.features - self.rank
            lines.append(
                f" rank {self.rank} of {self.features}: {less} features are linear combinations of the others"
            )
        return "\n".join([*lines, *([f" {self.advice}"] if self.advice else [])])


def infer(
    layer: Callable[..., Any],
    inputs: Any = None,
    group: str | Group | None = None,
    *,
    declared: str | None = None,
    output: str | None = None,
    example: Any = None,
    characters: str | None = None,
    seed: int = 0,
) -> InferReport:
    r"""Return the representation by which an output transforms, from its values alone.

    .. math:: f(gx) = f(x)\,W(g), \qquad \mathrm{tr}\,W(g) = \sum_i m_i\,\chi_i(g)

    Args:
        layer: any callable; one output at a time.
        inputs: types of the inputs (``"vector"``, ``{"pos": "point"}``) or tensors.
        group: by default that of ``layer.symmetry``, else O(3). S_n, O(n), O(p,q), Pin and point groups work too.
        declared: type that the output is said to have; the advice compares.
        output: which output, where there are several.
        example: tensors, where ``inputs`` holds types.
        characters: ``"irreps"``, ``"exterior"`` (grades of multivectors), ``"finite"`` or ``"permutations"``.
        seed: of all random choices.

    Returns:
        An `InferReport`: ``irreps``, ``fit``, ``rank``, ``advice``, and text as ``str(report)``.

    Raises:
        InvalidInput: inputs that do not fit, several outputs, or more than 1024 features.

    >>> infer(lambda x, y: torch.linalg.cross(x, y), ("vector", "vector")).irreps
    '1x1e'
    >>> infer(torch.tanh, "vector").ok
    False
    """
    with preserved_state():
        reseed(seed)
        generator = Generator().manual_seed(seed)
        if group is None and not isinstance(getattr(layer, "symmetry", None), Symmetry):
            group = "O(3)"
        ready = prepared("infer", layer, group, _singular(inputs), None, example, generator)
        return _Inference(ready, output, declared, characters, generator).report()


def _singular(inputs: Any) -> Any:
    return _PLURALS.get(inputs, inputs) if isinstance(inputs, str) else inputs


class _Inference:
    """Values of one output at many inputs, and at every element."""

    def __init__(
        self,
        ready: Prepared,
        output: str | None,
        declared: str | None,
        characters: str | None,
        generator: Generator,
    ):
        self.ready, self.generator = ready, generator
        self.declared = None if declared is None else parse_type(declared)
        found = ready.evaluate(ready.base)
        self.output = _chosen(found, output)
        first = found[self.output]
        multivectors = any(t.kind == "mv" for t in ready.inputs.values())
        kind = suggested(ready.group, multivectors, generator) if characters is None else characters
        #: With permutations, or without an axis of rows, one sample is one row.
        self.by_sample = kind == "permutations" or (first.dim() == 1 and not self._is_row(first))
        features = self._rows(first).shape[1]
        if features > _MOST_FEATURES:
            raise InvalidInput(
                f"verify.infer: output {self.output!r} has {features} features, at most {_MOST_FEATURES} can be "
                "resolved. Build the layer with fewer channels."
            )
        self.basis = characters_of(ready.group, features, kind, generator)
        count = min(-(-(2 * features + 16) // max(len(self._rows(first)), 1)), _MOST_SAMPLES)
        self.trees = [ready.base, *(ready.draw(generator) for _ in range(count - 1))]
        self.values = self._evaluated(self.trees)
        self.a = torch.cat([self._rows(x) for x in self.values])

    def report(self) -> InferReport:
        """Fit every element and solve for the multiplicities."""
        moved = [self._at(g) for g in self.basis.elements]
        fits = [fit_linear(self.a, b, self.generator) for b in moved]
        traces = torch.stack([f.matrix.trace() for f in fits])
        solved = solve_multiplicities(self.basis, traces)
        fit = max((f.residual for f in fits), key=lambda r: r if r == r else float("inf"))
        zero = float(torch.linalg.vector_norm(self.a)) == 0.0
        sound = fit <= _NARROW and solved.residual <= _WHOLE and solved.distance <= _WHOLE and not zero
        label = self.basis.label(solved.multiplicities) if sound else ""
        return InferReport(
            self.ready.name,
            self.ready.group.name,
            self.output,
            label,
            dict(zip(self.basis.names, solved.multiplicities.tolist(), strict=True)),
            fit,
            solved.residual,
            solved.distance,
            int(torch.linalg.matrix_rank(self.a, rtol=RANK_CUT)),
            self.a.shape[1],
            "the output is zero" if zero else self._advice(label, moved, fits, fit),
        )

    def _is_row(self, x: Tensor) -> bool:
        """Return whether one number per row of some input comes out."""
        found = {n: y for n, y in leaves(self.ready.base).items() if n in self.ready.inputs}
        return any(y.dim() > _axes(self.ready.inputs[n]) and len(x) == len(y) for n, y in found.items())

    def _rows(self, x: Tensor) -> Tensor:
        if self.by_sample:
            return x.reshape(1, -1)
        return x.reshape(len(x), -1) if x.dim() else x.reshape(1, 1)

    def _evaluated(self, trees: list[Tree]) -> list[Tensor]:
        return [self.ready.evaluate(tree)[self.output].double() for tree in trees]

    def _at(self, g: Element) -> Tensor:
        move = by_element(g, self.ready.inputs, {})
        return torch.cat([self._rows(x) for x in self._evaluated([move.inputs(t)[0] for t in self.trees])])

    def _advice(self, label: str, moved: list[Tensor], fits: list[Fit], fit: float) -> str:
        if not label:
            return _failure(self.basis, fits)
        if fit > _FITS:
            return f"exact to float32 only ({fit:.0e}): a table or an operation is in float32"
        turning = _short(label) in ("1o", "1e", "1x1") and self.a.shape[1] == 3
        axes = _axes_of(self.a, moved, self.basis.elements) if turning else ""
        if self.declared is None:
            return axes
        text = _short(str(self.declared).rpartition(":")[2])
        said = _irreps_of(self.declared, self.basis)
        if said is not None and said != label:
            parity = _without_parity(said) == _without_parity(label)
            return f"declared {text}, transforms as {_short(label)}" + (": parity label" if parity else "")
        if self._as_declared(moved):
            return ""
        return f"declared {text}, transforms as {_short(label)}: {axes or 'another basis or order of the features'}"

    def _as_declared(self, moved: list[Tensor]) -> bool:
        """Return whether the declared type, acting on the output, gives the output at the moved input."""
        assert self.declared is not None
        t = self.declared.named(self.output)
        try:
            for g, b in zip(self.basis.elements, moved, strict=True):
                want = torch.cat([self._rows(act(t, g, x, name=self.output)) for x in self.values])
                if not relative(want - b, b) <= _FITS:
                    return False
        except InvalidInput:  # another shape than the type needs
            return False
        return True


def _chosen(found: Leaves, output: str | None) -> str:
    names = [n for n, x in found.items() if x.is_floating_point() and x.numel()]
    if output is not None and output in names:
        return output
    if output is None and len(names) == 1:
        return names[0]
    what = "no output" if output is None else f"output {output!r} is not there, or not floating; none"
    raise InvalidInput(
        f"verify.infer: {what} was chosen of {', '.join(map(repr, names)) or 'nothing'}. Pass output=..., one of them."
    )


def _axes(t: TensorType) -> int:
    """Return how many axes the representation takes."""
    if t.kind in ("sym2", "cell", "cartesian", "columns", "blocks"):
        return 2
    return {"scalar": 0, "pseudoscalar": 0, "inv": 0, "index": 0}.get(
        t.kind, t.order if t.kind == "tensor" else 1
    )


def _failure(basis: Basis, fits: list[Fit]) -> str:
    proper = [float(torch.linalg.det(g.linear)) > 0 for g in basis.elements]
    if basis.names[0] == "0e" and max(f.residual for f, p in zip(fits, proper, strict=True) if p) <= _FITS:
        return "rotations act linearly, inversions do not: parities are mixed, or an SO(3)-only product"
    if max(f.residual for f in fits) <= _FITS:
        return "linear in the group, but no sum of the known irreducible representations"
    return "not linear in the group: componentwise nonlinearity, mixed axes, or a wrong type of an input"


def _irreps_of(t: TensorType, basis: Basis) -> str | None:
    """Return the declared type in the names of the basis; ``None`` where its trace says nothing here."""
    if any(g.nodes is not None for g in basis.elements):
        return None
    matrices = [matrix(t, g) for g in basis.elements]
    traces = torch.stack([(m[:-1, :-1] if t.kind == "point" else m).trace() for m in matrices])
    solved = solve_multiplicities(basis, traces)
    return basis.label(solved.multiplicities) if max(solved.distance, solved.residual) <= _WHOLE else None


def _short(label: str) -> str:
    """Leave out a multiplicity of one where there is a single term with a parity."""
    return label.removeprefix("1x") if "+" not in label and label[-1:] in "eo" else label


def _without_parity(label: str) -> list[str]:
    counts: dict[str, int] = {}
    for term in label.split("+"):
        mul, _, name = term.partition("x")
        counts[name.rstrip("eo")] = counts.get(name.rstrip("eo"), 0) + int(mul)
    return sorted(f"{m}x{n}" for n, m in counts.items())


def _axes_of(a: Tensor, moved: list[Tensor], elements: tuple[Element, ...]) -> str:
    """Return what is unusual about three features that turn like a vector or pseudovector, or nothing."""
    signs = [float(torch.linalg.det(g.linear)) for g in elements]
    for axes in itertools.permutations(range(3)):
        plain = a[:, torch.argsort(torch.tensor(axes))]
        for pseudo in (False, True):
            turned = [
                (plain @ g.linear.mT * (s if pseudo else 1.0))[:, list(axes)]
                for g, s in zip(elements, signs, strict=True)
            ]
            if all(relative(t - b, b) <= _FITS for t, b in zip(turned, moved, strict=True)):
                order = ", ".join("xyz"[i] for i in axes)
                return "" if axes == (0, 1, 2) else f"the axes are in the order ({order})"
    return "the features are in another basis than (x, y, z)"
