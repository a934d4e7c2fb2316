r"""Types: how one tensor transforms, an optional scope and a kind, ``node:8x0e+4x1o``, ``point``, ``graph:scalar``.

======================  =================  ================================================================
kind                    layout             action of an element with linear part A (Q if orthogonal), shift t
======================  =================  ================================================================
``8x0e+4x1o``           (..., dim)         block diagonal irreps in e3nn order, l <= 11; A must be in O(3)
``point``               (..., n)           A x + t
``vector``              (..., n)           A x
``covector``            (..., n)           A^-T x, the gradient of a scalar; the same as ``vector`` for O(n)
``pseudovector``        (..., n)           sign(det A) A x
``scalar``              (...)              unchanged
``pseudoscalar``        (...)              multiplied by sign(det A)
``tensor(k)``           (..., n, ..., n)   A on each of the last k axes
``sym2``                (..., n, n)        A X A^T
``columns``             (..., n, T)        A X: vectors are columns, channels of a series
``blocks(p)``           (..., p n, p n)    A on each of p blocks of rows and columns
``cell``                (..., n, n)        rows are vectors
``cartesian``           (..., 9, C)        irreps 0e + 1o + 2e on the next to last axis
``mv(p,q,r)[grades]``   (..., blades)      compound matrices of A, blades by grade and then lexicographic; null
                                           generators first, then positive, then negative; all grades by default
``spd(n)``              (..., n, n)        A X A^T
``grassmann(n,p)``      (..., n, n)        Q P Q^T on projectors; Q U on frames (..., n, p), and Q U R^T where
                                           the group has a factor of dimension p; U R^T where it has no other
``perm(k)``             (..., N, ..., N)   permutation of the nodes on each of the last k axes; ``node:perm(k)``
                                           on the first k axes, channels after them
``simplex(k)``          (k + 1, S)         integers: nodes of k-simplices, relabelled
``simplex(k)``          (..., subsets)     floats: alternating values on all sets of k + 1 nodes in lexicographic
                                           order; ``node:simplex(k)`` on the first axis
``index``               integers           node numbers, relabelled by a permutation of the nodes
``inv``                 anything           unchanged
======================  =================  ================================================================

The scope says what the first axis counts: ``node:`` rows follow a permutation of the nodes, ``edge:`` rows a
reordering of the edges, ``graph:`` rows neither. A trailing ``*`` means the dual, how gradients transform: ``sym2*``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb
from typing import Literal, TypeAlias

from geomlib.algebra.irreps.irreps import Irrep, Irreps, MulIrrep
from geomlib.errors import InvalidInput

__all__ = [
    "KINDS",
    "MAX_L",
    "PARAMETRIC",
    "SCOPES",
    "Irrep",
    "MulIrrep",
    "Scope",
    "TensorType",
    "closest",
    "dual_type",
    "know_kind",
    "parse_irreps",
    "parse_type",
]

Scope: TypeAlias = Literal["node", "edge", "graph", "cell"]

SCOPES = ("node", "edge", "graph", "cell")
#: Kinds without a parameter; those of `PARAMETRIC` and irreps strings come on top.
KINDS = (
    "point", "vector", "covector", "pseudovector", "scalar", "pseudoscalar", "sym2", "columns", "cell", "cartesian",
    "index", "inv",
)  # fmt: skip
#: Kinds with parameters, as they are written.
PARAMETRIC = ("tensor(k)", "blocks(p)", "mv(p,q,r)", "spd(n)", "grassmann(n,p)", "perm(k)", "simplex(k)")
#: Highest degree of the irreps known to this version.
MAX_L = 11

_KIND = re.compile(r"([A-Za-z_]\w*)\s*(?:\(([^()]*)\))?\s*(?:\[([^\[\]]*)\])?")
_EXAMPLES = {
    "tensor": "tensor(2)", "perm": "perm(2)", "simplex": "simplex(2)", "spd": "spd(3)", "grassmann": "grassmann(5,2)",
    "mv": "mv(3,0,0)", "blocks": "blocks(2)",
}  # fmt: skip
# Arguments whose first axis counts nodes in every library of the field: no scope needs to be written.
_NODE_NAMES = frozenset({"pos", "z", "x", "batch", "species", "atomic_numbers", "forces", "force"})
#: Kinds on which the dual acts as the kind itself does.
_SELF_DUAL = ("scalar", "pseudoscalar", "index", "inv", "irreps", "cartesian", "grassmann", "perm", "simplex")
_REGISTERED = set[str]()


@dataclass(frozen=True)
class TensorType:
    """A parsed type.

    Args:
        kind: one of `KINDS`, the name of one of `PARAMETRIC`, ``"irreps"``, or a registered one.
        scope: what the first axis counts, ``None`` when it was not written.
        order: k of ``tensor(k)``, ``perm(k)`` and ``simplex(k)``.
        irreps: blocks of an irreps string.
        args: numbers of ``mv(p,q,r)``, ``spd(n)``, ``grassmann(n,p)`` or a registered kind.
        grades: grades that a multivector holds, increasing; empty for all.
        dual: whether the tensor transforms as gradients with respect to the kind do.
    """

    kind: str
    scope: Scope | None = None
    order: int = 0
    irreps: tuple[MulIrrep, ...] = ()
    args: tuple[int, ...] = ()
    grades: tuple[int, ...] = ()
    dual: bool = False

    @property
    def moves(self) -> bool:
        """Whether a rotation or reflection can change a tensor of this type."""
        if self.kind == "irreps":
            return any(ir.l > 0 or ir.p == -1 for ir in self.irreps)
        if self.kind == "mv":
            return self.grades != (0,)
        still = ("scalar", "index", "inv", "perm", "simplex")
        return self.kind not in still and not (self.kind == "tensor" and self.order == 0)

    @property
    def dim(self) -> int | None:
        """Length of the axis the representation acts on; ``None`` when it acts on no axis, or on the nodes."""
        if self.kind == "irreps":
            return sum(ir.dim for ir in self.irreps)
        if self.kind == "mv":
            n = sum(self.args)
            return sum(comb(n, j) for j in self.grades) if self.grades else 2**n
        if self.kind in ("spd", "grassmann"):
            return self.args[0]
        if self.kind == "cartesian":
            return 9
        three = ("point", "vector", "covector", "pseudovector", "sym2", "cell", "tensor")
        return 3 if self.kind in three else None

    def named(self, argument: str) -> TensorType:
        """Return this type with the scope that the name of the argument implies, where none was written."""
        if self.scope is not None or self.kind in ("perm", "simplex"):
            return self
        if self.kind in ("point", "cartesian") or argument in _NODE_NAMES or argument.endswith("_batch"):
            return replace(self, scope="node")
        return replace(self, scope="edge") if self.kind == "index" else self

    def __str__(self) -> str:
        kind = self.kind
        if kind == "irreps":
            kind = "+".join(map(str, self.irreps))
        elif kind in ("tensor", "perm", "simplex"):
            kind = f"{kind}({self.order})"
        elif self.args:
            kind = f"{kind}({','.join(map(str, self.args))})"
        if self.grades:
            kind += f"[{','.join(map(str, self.grades))}]"
        return f"{self.scope + ':' if self.scope else ''}{kind}{'*' if self.dual else ''}"


def dual_type(t: TensorType) -> TensorType:
    """Return the type of gradients with respect to a tensor of this type: A^-T where A acts, and no shift.

    >>> str(dual_type(parse_type("node:point"))), str(dual_type(parse_type("spd(3)")))
    ('node:covector', 'spd(3)*')
    """
    if t.kind in _SELF_DUAL:
        return t
    named = {"point": "covector", "vector": "covector", "covector": "vector"}.get(t.kind)
    return replace(t, dual=not t.dual) if named is None else replace(t, kind=named)


def know_kind(name: str) -> None:
    """Add the name of a kind to the grammar, written plain or with numbers: ``spinor``, ``spinor(2)``."""
    _REGISTERED.add(name)
    parse_type.cache_clear()


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def parse_irreps(text: str) -> tuple[MulIrrep, ...]:
    """Return the blocks of an irreps string in e3nn's notation, as :class:`~geomlib.algebra.irreps.Irreps` reads it.

    >>> [str(block) for block in parse_irreps("8x0e + 1o")]
    ['8x0e', '1x1o']

    Raises:
        InvalidInput: not an irreps string, or a degree above `MAX_L`.
    """
    blocks = tuple(Irreps(text))
    for block in blocks:
        if block.l > MAX_L:
            raise InvalidInput(
                f"irreps {text!r}: degree {block.l} of '{block}' is above {MAX_L}, the highest known here."
            )
    return blocks


@lru_cache(maxsize=1024)
def parse_type(text: str) -> TensorType:
    """Return the parsed form of a type.

    >>> parse_type("node:8x0e+4x1o").dim
    20
    >>> str(parse_type("graph:tensor(2)"))
    'graph:tensor(2)'
    >>> parse_type("mv(3,0,1)[1,2]").dim
    10

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
    if body.endswith("*"):
        return dual_type(replace(_parsed(body[:-1].strip(), text), scope=scope))
    return replace(_parsed(body, text), scope=scope)


def _parsed(body: str, text: str) -> TensorType:
    if body in KINDS or body in _REGISTERED:
        return TensorType(body)
    if re.match(r"\d", body):
        return TensorType("irreps", irreps=parse_irreps(body))
    match = _KIND.fullmatch(body)
    if match is not None and (match[1] in _EXAMPLES or (match[1] in _REGISTERED and match[2])):
        return _parametric(match[1], match[2], match[3], text)
    known = [*KINDS, *_EXAMPLES.values(), *_REGISTERED]
    raise InvalidInput(
        f"type {text!r}: unknown kind {body!r}. Expected an irreps string such as '8x0e+4x1o', one of "
        f"{', '.join([*KINDS, *sorted(_REGISTERED)])}, or {', '.join(PARAMETRIC)}.{closest(body, known)}"
    )


def _parametric(kind: str, inside: str | None, grades: str | None, text: str) -> TensorType:
    numbers, held = _numbers(inside), _numbers(grades)
    n = sum(numbers or ())
    problem = ""
    if not numbers or (grades is not None and not held):
        problem = "whole numbers are missing"
    elif grades is not None and kind != "mv":
        problem = "only mv(p,q,r) takes grades in brackets"
    elif kind in ("tensor", "perm", "simplex"):
        problem = (
            ""
            if len(numbers) == 1 and (kind != "perm" or n)
            else "it takes one order k (for perm, at least 1)"
        )
    elif kind == "blocks":
        problem = "" if len(numbers) == 1 and n else "it takes one number p of blocks"
    elif kind == "spd":
        problem = "" if len(numbers) == 1 and n else "it takes one dimension n"
    elif kind == "grassmann":
        fits = len(numbers) == 2 and 0 < numbers[1] < numbers[0]
        problem = "" if fits else "it takes the dimensions n > p > 0 of the space and of the subspaces"
    elif kind == "mv":
        order = list(held or [])
        if len(numbers) > 3 or not 0 < n <= 10:
            problem = "it takes the numbers p, q, r of generators that square to 1, -1, 0, ten at most in all"
        elif order != sorted(set(order)) or any(j > n for j in order):
            problem = f"grades increase and lie within 0..{n}"
        numbers = [*numbers, 0, 0][:3]
    if problem or numbers is None:
        example = _EXAMPLES.get(kind, f"{kind}(1)")
        raise InvalidInput(f"type {text!r}: {problem}. Did you mean {example!r}?")
    if kind in ("tensor", "perm", "simplex"):
        return TensorType(kind, order=numbers[0])
    return TensorType(kind, args=tuple(numbers), grades=tuple(held or ()))


def _numbers(text: str | None) -> list[int] | None:
    parts = [part.strip() for part in (text or "").split(",")]
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else None
