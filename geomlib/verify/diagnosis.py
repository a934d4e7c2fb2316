"""Which part of a broken promise still holds, and the mistake that this implies."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Group, inverse, parse_group, rotation
from geomlib.algebra.symmetry import TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.moves import Move, Types, by_element, num_nodes
from geomlib.verify.stress import within_graphs
from geomlib.verify.values import Tree, last_name, leaves

__all__ = ["Diagnosis", "diagnose"]

#: Elements tried per guess, in float64 only.
TRIALS = 6
_OTHER_PARITY = {"vector": "pseudovector", "pseudovector": "vector", "scalar": "pseudoscalar", "pseudoscalar": "scalar",
                 "inv": "pseudoscalar"}  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """What was tried.

    Args:
        passes: subgroups and changes of the declaration under which the error is gone.
        fails: subgroups under which it stays.
        advice: the sentence that they imply.
        explained: whether a change of the declaration or the choice of special inputs explains the error.
    """

    passes: tuple[str, ...]
    fails: tuple[str, ...]
    advice: str
    explained: bool = False


@dataclass(frozen=True)
class _Trial:
    """One guess: elements of the inputs, and how the outputs answer."""

    elements: list[Element]
    inputs: Types
    outputs: Types
    answer: Callable[[Element], Element] | None = None

    def moves(self, tree: Tree) -> list[Move]:
        return [
            by_element(
                within_graphs(g, tree),
                self.inputs,
                self.outputs,
                answer=None if self.answer is None else self.answer(g),
            )
            for g in self.elements
        ]


def _turns_about(axis: int, angles: list[float]) -> list[Element]:
    e = torch.eye(3, dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    return [Element(rotation(e[axis], angle), zero, label=f"about {'xyz'[axis]}") for angle in angles]


def _cubic(generator: Generator, *, reflections: bool) -> list[Element]:
    found: list[Element] = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            q = torch.zeros(3, 3, dtype=torch.float64)
            q[torch.arange(3), torch.tensor(order)] = torch.tensor(signs, dtype=torch.float64)
            if reflections or float(torch.linalg.det(q)) > 0:
                found.append(Element(q, torch.zeros(3, dtype=torch.float64), label="cubic"))
    # Axis permutations, which a componentwise function respects, are kept apart from turns by a right angle.
    chosen = torch.randperm(len(found), generator=generator)[:TRIALS].tolist()
    return [found[i] for i in chosen]


class _Guesses:
    """All guesses that make sense for a declaration, in the order in which they are reported."""

    def __init__(
        self, group: Group, inputs: Types, outputs: Types, fields: list[str], untyped: Mapping[str, Tensor],
        nodes: int, scale: float, generator: Generator,
    ):  # fmt: skip
        self.inputs, self.outputs, self.fields, self.untyped = inputs, outputs, fields, untyped
        self.nodes, self.scale, self.generator = nodes, scale, generator
        self.group = group.sized(nodes)
        factors = group.name.split("*")
        self.spatial = next((f for f in factors if re.fullmatch(r"S?[OE]\(\d+\)|T\(\d+\)", f)), None)
        self.permutes = any(f in ("S_n", "A_n") for f in factors)

    def _drawn(self, name: str) -> list[Element]:
        group = parse_group(name).sized(self.nodes)
        names = group.components()
        return [group.sample(names[k % len(names)], self.generator, self.scale) for k in range(TRIALS)]

    def _plain(self, elements: list[Element]) -> _Trial:
        return _Trial(elements, self.inputs, self.outputs)

    def subgroups(self) -> dict[str, _Trial]:
        """Return the subgroups of the declared group."""
        found: dict[str, _Trial] = {}
        match = re.fullmatch(r"(S?)([OET])\((\d+)\)", self.spatial or "")
        if match is not None:
            special, family, n = match[1] == "S", match[2], int(match[3])
            shifts = family in ("E", "T")
            if family != "T":
                found[f"{'SE' if shifts else 'SO'}({n})"] = self._plain(
                    self._drawn(f"{'SE' if shifts else 'SO'}({n})")
                )
                if shifts:
                    found[f"SO({n})"] = self._plain(self._drawn(f"SO({n})"))
                if not special:
                    found["reflections"] = self._plain(_improper(self._drawn(f"O({n})")))
            if shifts:
                found["translations"] = self._plain(self._drawn(f"T({n})"))
        elif self.spatial is None and "*" in self.group.name:
            for name in self.group.name.split("*"):
                found[name] = self._plain(self._drawn(name))
        elif not self.permutes:
            for name in self.group.components()[: 4 if len(self.group.components()) > 1 else 0]:
                drawn = [self.group.sample(name, self.generator, self.scale) for _ in range(TRIALS)]
                found[name] = self._plain(drawn)
        if self.permutes:
            found["S_n"] = self._plain(self._drawn("S_n" if "S_n" in self.group.name else "A_n"))
        return found

    def smaller(self) -> dict[str, _Trial]:
        """Return subgroups of SO(3) and O(3), for where those fail."""
        if self.spatial not in ("O(3)", "SO(3)", "E(3)", "SE(3)"):
            return {}
        found: dict[str, _Trial] = {}
        for axis in range(3):
            angles = (0.3 + 2.5 * torch.rand(TRIALS, generator=self.generator)).tolist()
            found[f"SO(2) about {'xyz'[axis]}"] = self._plain(_turns_about(axis, angles))
        for axis in range(3):
            quarter = [0.5 * torch.pi * k for k in (1, 2, 3)]
            found[f"C_4 about {'xyz'[axis]}"] = self._plain([_exact(g) for g in _turns_about(axis, quarter)])
        reflections = not self.spatial.startswith("S")
        found["O_h" if reflections else "O"] = self._plain(_cubic(self.generator, reflections=reflections))
        signs = [torch.tensor(s, dtype=torch.float64) for s in product((1.0, -1.0), repeat=3) if reflections or
                 s.count(-1.0) % 2 == 0]  # fmt: skip
        flips = [
            Element(torch.diag(s), torch.zeros(3, dtype=torch.float64), label="axis signs") for s in signs
        ]
        found["axis signs"] = self._plain(flips)
        return found

    def declarations(self) -> dict[str, tuple[_Trial, str]]:
        """Return changes of the declaration, each with the sentence that follows if it removes the error."""
        elements = [self.group.sample(c, self.generator, self.scale) for c in self.group.components()]
        elements = (elements * TRIALS)[: max(TRIALS, len(elements))]
        found: dict[str, tuple[_Trial, str]] = {}
        if self.spatial is not None and not self.spatial.startswith("T"):
            turned = _Trial(elements, self.inputs, self.outputs, lambda g: inverse_turn(g))
            found["R replaced by its transpose"] = (
                turned,
                "the output turns by the inverse: x @ R in place of x @ R.T",
            )
        found |= self._axes(elements)
        found |= self._parities(elements)
        for name, t in self.inputs.items():
            if t.kind == "index":
                continue
            if t.kind in ("vector", "pseudovector"):
                other = replace(t, kind=_OTHER_PARITY[t.kind])
                found[f"`{name}` typed {other}"] = self._input(elements, name, other)
            if t.kind in ("point", "vector") and (self.spatial or "").startswith(("E(", "SE(", "T(")):
                other = replace(t, kind="vector" if t.kind == "point" else "point")
                found[f"`{name}` typed {other}"] = self._input(elements, name, other)
            if t.moves and any(
                other.moves for n, other in self.inputs.items() if n != name
            ):  # else nothing moves
                found[f"`{name}` typed inv"] = self._input(elements, name, replace(_bare(t), kind="inv"))
        for name, x in self.untyped.items():
            for other in _guessed(name, x, self.inputs, self.nodes):
                found[f"`{name}` typed {other}"] = self._input(elements, name, other)
        return found

    def _input(self, elements: list[Element], name: str, t: TensorType) -> tuple[_Trial, str]:
        old = self.inputs.get(name)
        was = f"declared {old}" if old is not None else "has no type"
        sentence = f"`{name}` {was}, but the function takes it as {t}: change its type, or how it is used"
        return _Trial(elements, {**self.inputs, name: t}, self.outputs), sentence

    def _axes(self, elements: list[Element]) -> dict[str, tuple[_Trial, str]]:
        """Return outputs whose axes come in another order, as the harmonics of some libraries do."""
        if self.spatial not in ("O(3)", "SO(3)", "E(3)", "SE(3)"):
            return {}
        found: dict[str, tuple[_Trial, str]] = {}
        for order in list(permutations(range(3)))[1:]:
            p = torch.eye(3, dtype=torch.float64)[list(order)]
            name = ", ".join("xyz"[k] for k in order)
            turned = _Trial(
                elements, self.inputs, self.outputs, lambda g, p=p: replace(g, linear=p @ g.linear @ p.mT)
            )
            found[f"axes in the order {name}"] = (
                turned,
                f"the components come in the order {name}, not x, y, z",
            )
        return found

    def _parities(self, elements: list[Element]) -> dict[str, tuple[_Trial, str]]:
        """Return the flipped parity of all outputs in doubt, one by one and together."""
        flipped = {n: _flipped(self.outputs[n]) for n in self.fields if n in self.outputs}
        known = {n: t for n, t in flipped.items() if t is not None}
        if not known or len(known) < len(self.fields) or (self.spatial or "S").startswith("S"):
            return {}
        names = ", ".join(f"`{n}` declared {self.outputs[n]}, transforms as {t}" for n, t in known.items())
        return {
            "output parity flipped": (
                _Trial(elements, self.inputs, {**self.outputs, **known}), f"parity label: {names}"
            )
        }  # fmt: skip


def inverse_turn(g: Element) -> Element:
    """Return the element with its linear part inverted, everything else as it is."""
    return replace(g, linear=inverse(g).linear)


def _exact(g: Element) -> Element:
    return replace(g, linear=g.linear.round())


def _improper(elements: list[Element]) -> list[Element]:
    return [g if g.det < 0 else replace(g, linear=-g.linear, label="improper") for g in elements]


def _bare(t: TensorType) -> TensorType:
    return TensorType(t.kind, t.scope)


def _flipped(t: TensorType) -> TensorType | None:
    if t.kind == "irreps":
        return replace(t, irreps=tuple(replace(b, ir=replace(b.ir, p=-b.p)) for b in t.irreps))
    return replace(t, kind=_OTHER_PARITY[t.kind]) if t.kind in _OTHER_PARITY else None


def _guessed(name: str, x: Tensor, inputs: Types, nodes: int) -> list[TensorType]:
    """Return what a tensor without a type may be."""
    if not x.is_floating_point() or x.dim() == 0:
        return [TensorType("inv", "node")] if x.dim() and x.shape[0] == nodes else []
    rows = [s for s in ("node",) if x.shape[0] == nodes]
    scope = rows[0] if rows else "edge" if "edge" in last_name(name) else None
    found = [TensorType("inv", scope)] if scope == "node" else []  # pyright: ignore[reportArgumentType]
    if x.shape[-1] == 3 and x.dim() > 1:
        square = x.shape[-2] == 3 and last_name(name) not in ("pos", "x")
        found = [TensorType("cell", "graph")] if square else [TensorType("vector", scope)]  # pyright: ignore[reportArgumentType]
    return found


def diagnose(
    tree: Tree,
    group: Group,
    inputs: Types,
    outputs: Types,
    fields: list[str],
    scale: float,
    generator: Generator,
    holds: Callable[[Tree, list[Move]], bool],
    only_at: str,
) -> Diagnosis:
    """Try the subgroups of the declared group, and the usual wrong declarations, in float64 only.

    Args:
        tree: inputs at which the error is seen.
        group: the declared group.
        inputs: types of the inputs.
        outputs: types of the outputs.
        fields: outputs with an error.
        scale: length of the translations.
        generator: draws the elements.
        holds: says whether some moves leave no error.
        only_at: label of the class of inputs, where generic inputs show no error; else nothing.
    """
    untyped = {n: x for n, x in leaves(tree).items() if n not in inputs}
    nodes = num_nodes(leaves(tree), inputs) or 0
    guesses = _Guesses(group, inputs, outputs, fields, untyped, nodes, scale, generator)

    def passed(trial: _Trial) -> bool:
        try:
            return holds(tree, trial.moves(tree))
        except (InvalidInput, RuntimeError, ValueError, IndexError):
            return False

    found = {name: passed(trial) for name, trial in guesses.subgroups().items()}
    turning = [n for n in ("SE(3)", "SO(3)") if n in found]
    if turning and not found[turning[-1]]:
        found |= {name: passed(trial) for name, trial in guesses.smaller().items()}
    sentences = [
        (name, sentence) for name, (trial, sentence) in guesses.declarations().items() if not all(found.values())
        and passed(trial)
    ]  # fmt: skip
    passes = [name for name, ok in found.items() if ok]
    fails = [name for name, ok in found.items() if not ok]
    advice = [*(s for _, s in sentences[:2]), *_advice(found, bool(sentences))]
    if only_at:
        advice.insert(0, f"fails only for: {only_at}")
    return Diagnosis(
        (*_largest(passes), *(name for name, _ in sentences)),
        tuple(_largest(fails, up=False)),
        "; ".join(advice),
        bool(sentences or only_at),
    )


def _largest(names: list[str], *, up: bool = True) -> list[str]:
    """Return the names without those implied by larger groups (passing) or caused by smaller ones (failing)."""
    inside = {
        "SO(3)": ["SE(3)"], "translations": ["SE(3)"],
        **{f"{kind} about {a}": ["SO(3)", "SE(3)"] for kind in ("SO(2)", "C_4") for a in "xyz"},
    }  # fmt: skip
    if up:
        kept = [n for n in names if not any(big in names for big in inside.get(n, []))]
        return [n for n in kept if not (n.startswith("C_4") and f"SO(2){n[3:]}" in kept)]
    small = [n for n in names if n not in ("SE(3)",) or not {"SO(3)", "translations"} & set(names)]
    return [n for n in small if not n.startswith(("SO(2)", "C_4", "axis"))]


def _advice(found: Mapping[str, bool], explained: bool) -> list[str]:
    """Return what a pattern of passing and failing subgroups usually means."""
    fails = {name for name, ok in found.items() if not ok}
    if not fails:
        return []
    turns = {n for n in fails if n.startswith(("SO(", "SE(")) and "about" not in n}
    if fails == {"reflections"}:
        return [] if explained else ["reflections only fail: a parity label, or an SO(3)-only product"]
    if fails <= {"translations", "SE(3)"} and found.get("SO(3)", True):
        return ["translations only fail: positions enter without a difference or a centring"]
    sentences: list[str] = []
    if "S_n" in fails:
        sentences.append(
            "the result depends on the order of the nodes: neighbours cut off at a number, an index used as a feature, "
            "or rows pooled by position"
        )
    axes = [a for a in "xyz" if found.get(f"SO(2) about {a}", False)]
    cubic = found.get("O_h", found.get("O", False))
    if "SO(3)" in turns and not explained:
        if len(axes) == 1:
            sentences.append(f"only turns about {axes[0]} hold: the {axes[0]} axis is singled out")
        elif cubic:
            sentences.append(
                "equivariant for the cubic group, not for SO(3): a non-linearity acts on components"
            )
        elif found.get("axis signs", False):
            sentences.append("only signs of the axes hold: components are treated one by one or unequally")
        else:
            sentences.append(
                "rotations fail: a bias, a non-linearity on components, or an input that must turn too"
            )
    return sentences
