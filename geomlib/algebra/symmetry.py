"""Symmetry declarations: which group, and how every argument and output transforms.

A *type* says how one tensor transforms: an optional scope and a kind, ``node:8x0e+4x1o``, ``point``,
``graph:scalar``.

===================  ==============  ================================================================
kind                 layout          action of a group element with linear part Q and shift t
===================  ==============  ================================================================
``8x0e+4x1o``        (..., dim)      block diagonal irreps in e3nn order, l <= 2
``point``            (..., 3)        Q x + t
``vector``           (..., 3)        Q x
``pseudovector``     (..., 3)        det(Q) Q x
``scalar``           (...)           unchanged
``pseudoscalar``     (...)           multiplied by det(Q)
``tensor(k)``        (..., 3, ...)   Q on each of the last k axes
``sym2``             (..., 3, 3)     Q X Q^T
``cell``             (..., 3, 3)     rows are vectors
``cartesian``        (..., 9, C)     irreps 0e + 1o + 2e on the next to last axis
``index``            integers        node numbers, relabelled by a permutation of the nodes
``inv``              anything        unchanged
===================  ==============  ================================================================

The scope says what the first axis counts: ``node:`` rows follow a permutation of the nodes, ``edge:`` rows a
reordering of the edges, ``graph:`` rows neither.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

from geomlib.algebra.groups import parse_group
from geomlib.errors import InvalidInput

__all__ = [
    "BREAKS",
    "KINDS",
    "MAX_L",
    "SCOPES",
    "Irrep",
    "Outputs",
    "Symmetry",
    "TensorType",
    "parse_irreps",
    "parse_type",
]

Scope: TypeAlias = Literal["node", "edge", "graph", "cell"]
Outputs: TypeAlias = "str | tuple[str, ...] | Mapping[str, str]"

SCOPES = ("node", "edge", "graph", "cell")
#: Kinds without a parameter; ``tensor(k)`` and irreps strings come on top.
KINDS = (
    "point", "vector", "pseudovector", "scalar", "pseudoscalar", "sym2", "cell", "cartesian", "index", "inv",
)  # fmt: skip
#: What a module may claim *not* to respect.
BREAKS = ("reflections", "rotations", "translations", "permutations")
#: Highest degree of the irreps known to this version.
MAX_L = 2

_IRREP = re.compile(r"(?:(\d+)x)?(\d+)([eo])")
_TENSOR = re.compile(r"tensor\((\d+)\)")
# Arguments whose first axis counts nodes in every library of the field: no scope needs to be written.
_NODE_NAMES = frozenset({"pos", "z", "x", "batch", "species", "atomic_numbers", "forces", "force"})


@dataclass(frozen=True)
class Irrep:
    """``mul`` copies of the irreducible representation of degree ``l`` and parity ``p``."""

    mul: int
    l: int  # noqa: E741 - the field's letter
    p: int

    @property
    def dim(self) -> int:
        """Number of components of all copies."""
        return self.mul * (2 * self.l + 1)

    def __str__(self) -> str:
        return f"{self.mul}x{self.l}{'e' if self.p == 1 else 'o'}"


@dataclass(frozen=True)
class TensorType:
    """A parsed type.

    Args:
        kind: one of `KINDS`, ``"tensor"`` or ``"irreps"``.
        scope: what the first axis counts, ``None`` when it was not written.
        order: k of ``tensor(k)``.
        irreps: blocks of an irreps string.
    """

    kind: str
    scope: Scope | None = None
    order: int = 0
    irreps: tuple[Irrep, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether a rotation or reflection can change a tensor of this type."""
        if self.kind == "irreps":
            return any(ir.l > 0 or ir.p == -1 for ir in self.irreps)
        return self.kind not in ("scalar", "index", "inv") and not (self.kind == "tensor" and self.order == 0)

    @property
    def dim(self) -> int | None:
        """Length of the axis the representation acts on; ``None`` when it acts on no axis."""
        if self.kind == "irreps":
            return sum(ir.dim for ir in self.irreps)
        if self.kind == "cartesian":
            return 9
        return 3 if self.kind in ("point", "vector", "pseudovector", "sym2", "cell", "tensor") else None

    def named(self, argument: str) -> TensorType:
        """Return this type with the scope that the name of the argument implies, where none was written."""
        if self.scope is not None:
            return self
        if self.kind in ("point", "cartesian") or argument in _NODE_NAMES or argument.endswith("_batch"):
            return TensorType(self.kind, "node", self.order, self.irreps)
        if self.kind == "index":
            return TensorType(self.kind, "edge", self.order, self.irreps)
        return self

    def __str__(self) -> str:
        kind = self.kind
        if kind == "irreps":
            kind = "+".join(map(str, self.irreps))
        elif kind == "tensor":
            kind = f"tensor({self.order})"
        return f"{self.scope}:{kind}" if self.scope else kind


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def parse_irreps(text: str) -> tuple[Irrep, ...]:
    """Return the blocks of an irreps string in e3nn's notation.

    >>> [str(block) for block in parse_irreps("8x0e + 1o")]
    ['8x0e', '1x1o']

    Raises:
        InvalidInput: not an irreps string, or a degree above `MAX_L`.
    """
    blocks: list[Irrep] = []
    for term in text.replace(" ", "").split("+"):
        match = _IRREP.fullmatch(term)
        if match is None:
            raise InvalidInput(
                f"irreps {text!r}: {term!r} is not a term. Expected '8x0e' or '1o', joined by '+'."
            )
        mul, degree, parity = match.groups()
        if int(degree) > MAX_L:
            raise InvalidInput(
                f"irreps {text!r}: degree {degree} of {term!r} is above {MAX_L}, the highest known here."
            )
        blocks.append(Irrep(int(mul or 1), int(degree), 1 if parity == "e" else -1))
    return tuple(blocks)


@lru_cache(maxsize=1024)
def parse_type(text: str) -> TensorType:
    """Return the parsed form of a type.

    >>> parse_type("node:8x0e+4x1o").dim
    20
    >>> str(parse_type("graph:tensor(2)"))
    'graph:tensor(2)'

    Raises:
        InvalidInput: unknown scope or kind; the message suggests the nearest one.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        raise InvalidInput(f"a type is a string such as 'node:vector', got {type(text).__name__}.")
    scope: Scope | None = None
    body = text.strip()
    if ":" in body:
        prefix, body = (part.strip() for part in body.split(":", 1))
        if prefix not in SCOPES:
            raise InvalidInput(
                f"type {text!r}: unknown scope {prefix!r}. Expected one of {', '.join(SCOPES)}."
                + closest(prefix, SCOPES)
            )
        scope = prefix
    if body in KINDS:
        return TensorType(body, scope)
    tensor = _TENSOR.fullmatch(body)
    if tensor is not None:
        return TensorType("tensor", scope, order=int(tensor.group(1)))
    if re.match(r"\d", body):
        return TensorType("irreps", scope, irreps=parse_irreps(body))
    raise InvalidInput(
        f"type {text!r}: unknown kind {body!r}. Expected an irreps string such as '8x0e+4x1o', 'tensor(k)', "
        f"or one of {', '.join(KINDS)}.{closest(body, [*KINDS, 'tensor(2)'])}"
    )


def _no_types() -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Symmetry:
    """What a callable promises: rotate, shift or permute the inputs and the outputs follow.

    Args:
        group: factors joined by ``*``, for example ``"E(3)*S_n"``.
        inputs: type of every tensor argument, by name.
        outputs: one type, one per element of a returned tuple, or a dict for a returned dict.
        exact: whether the promise holds to round-off; if not, ``rtol`` says how well.
        rtol: relative error of a promise that is not exact (a quadrature, a grid).
        breaks: what is *claimed not to hold*: ``("reflections",)`` for a module that sees handedness.

    Raises:
        InvalidInput: unknown group, type or break; ``exact=False`` without ``rtol``.

    >>> Symmetry("E(3)*S_n", {"z": "inv", "pos": "point"}, "graph:scalar").input_types()["pos"].scope
    'node'
    """

    group: str = "E(3)*S_n"
    inputs: Mapping[str, str] = field(default_factory=_no_types)
    outputs: Outputs = "scalar"
    exact: bool = True
    rtol: float | None = None
    breaks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_group(self.group)
        self.input_types()
        self.output_types()
        if not self.exact and (self.rtol is None or not self.rtol > 0):
            raise InvalidInput(
                f"Symmetry: exact=False needs rtol > 0, the relative error to allow; got rtol={self.rtol!r}."
            )
        if isinstance(self.breaks, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a usual slip
            raise InvalidInput(
                f"Symmetry: breaks is a tuple of names, got a string. Write ({self.breaks!r},)."
            )
        for name in self.breaks:
            if name not in BREAKS:
                raise InvalidInput(
                    f"Symmetry: unknown entry {name!r} in breaks. Expected {', '.join(BREAKS)}."
                    + closest(name, BREAKS)
                )

    def input_types(self) -> dict[str, TensorType]:
        """Return the parsed input types with their implied scopes."""
        return {name: parse_type(text).named(name) for name, text in self.inputs.items()}

    def output_types(self) -> dict[str, TensorType]:
        """Return the parsed output types by name: ``out`` for one tensor, ``0``, ``1``, ... for a tuple."""
        return {name: parse_type(text).named(name) for name, text in self.output_texts().items()}

    def output_texts(self) -> dict[str, str]:
        """Return the output types as written, by name."""
        if isinstance(self.outputs, str):
            return {"out": self.outputs}
        if isinstance(self.outputs, Mapping):
            return dict(self.outputs)
        return {str(i): text for i, text in enumerate(self.outputs)}
