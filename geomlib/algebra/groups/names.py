"""How groups are written, and the registry of groups that users add."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from geomlib.algebra.groups.automorphisms import Automorphisms, parse_automorphisms
from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.classical import GeneralLinear, Indefinite, Symplectic
from geomlib.algebra.groups.euclidean import AxisRotations, Euclidean, Scalings
from geomlib.algebra.groups.kronecker import Kronecker
from geomlib.algebra.groups.laws import check_group
from geomlib.algebra.groups.permutations import Permutations
from geomlib.algebra.groups.point_groups import parse_point_group
from geomlib.algebra.groups.product import Product
from geomlib.algebra.groups.signed_permutations import SignedPermutations
from geomlib.algebra.groups.versors import Versors
from geomlib.errors import InvalidInput

__all__ = ["EXAMPLES", "parse_group", "register_group", "split_factors"]

#: One spelling per family, which error messages list.
EXAMPLES = (
    "O(3)", "SO(3)", "E(3)", "SE(3)", "T(3)", "S_n", "A_n", "O(1,3)", "SO+(1,3)", "Sp(4)", "GL(3)", "SL(3)", "B(3)",
    "Pin(3,0,0)", "Spin(3,0,0)", "Aut(4; 0-1, 1-2)", "Kron(S_3, O(2))", "C_4", "C_4v", "D_4", "D_4h", "T_d", "O_h", "I_h",
    "SO(2)@z", "scalings", "translations", "rotations", "reflections", "permutations",
)  # fmt: skip

_SIZED = re.compile(r"(SO\+|[A-Za-z]+)\(\s*([\w\s,]*?)\s*\)")
_PLAIN: dict[str, Callable[[], Group]] = {
    "S_n": Permutations,
    "permutations": Permutations,
    "A_n": lambda: Permutations(even=True),
    "reflections": lambda: Euclidean("reflections", signs=(-1,)),
    "rotations": lambda: Euclidean("rotations"),
    "translations": lambda: Euclidean("translations", rotations=False, translations=True),
    "scalings": Scalings,
    "SO(2)@x": lambda: AxisRotations("x"),
    "SO(2)@y": lambda: AxisRotations("y"),
    "SO(2)@z": lambda: AxisRotations("z"),
}
_ONE: dict[str, Callable[[int], Group]] = {
    "O": lambda n: Euclidean(f"O({n})", n, signs=(1, -1)),
    "SO": lambda n: Euclidean(f"SO({n})", n),
    "E": lambda n: Euclidean(f"E({n})", n, signs=(1, -1), translations=True),
    "SE": lambda n: Euclidean(f"SE({n})", n, translations=True),
    "T": lambda n: Euclidean(f"T({n})", n, rotations=False, translations=True),
    "translations": lambda n: Euclidean(f"translations({n})", n, rotations=False, translations=True),
    "scalings": lambda n: Scalings(n, f"scalings({n})"),
    "Sp": Symplectic,
    "GL": GeneralLinear,
    "B": SignedPermutations,
    "SL": lambda n: GeneralLinear(n, special=True),
}
_MANY: dict[str, tuple[tuple[int, ...], Callable[[Sequence[int]], Group]]] = {
    "O": ((2,), lambda n: Indefinite(n[0], n[1])),
    "SO": ((2,), lambda n: Indefinite(n[0], n[1], "SO")),
    "SO+": ((2,), lambda n: Indefinite(n[0], n[1], "SO+")),
    "Pin": ((1, 2, 3), lambda n: Versors(*n)),
    "Spin": ((1, 2, 3), lambda n: Versors(*n, spin=True)),
}
_REGISTERED: dict[str, Group] = {}


def register_group(name: str, group: Group) -> Group:
    """Make a group known by name, after checking that it is one.

    Args:
        name: how it will be written; no ``*``.
        group: an instance; `Group.sized` gives it the number of nodes where it needs one.

    Returns:
        The same group.

    Raises:
        InvalidInput: a law of groups fails by more than 1e-12, or the name is taken.
    """
    if not name or "*" in name or name in _PLAIN or _family(name) is not None:
        raise InvalidInput(f"register_group: the name {name!r} is taken or holds '*'. Choose another.")
    _REGISTERED[name] = check_group(group)
    _parsed.cache_clear()
    return group


def _numbers(text: str) -> list[int] | None:
    parts = [part.strip() for part in text.split(",")]
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else None


def _family(text: str) -> Group | None:
    """Return the group of a name with numbers, ``None`` for a name that has no such form."""
    match = _SIZED.fullmatch(text)
    if match is None:
        return parse_point_group(text)
    head, numbers = match[1], _numbers(match[2])
    if head == "Sp" and numbers is None:
        size, _, form = (part.strip() for part in match[2].partition(","))
        return Symplectic(int(size), "interleaved" if form == "R" else form) if size.isdigit() else None
    if numbers is None:
        return None
    if len(numbers) == 1 and head in _ONE and numbers[0] > 0:
        return _ONE[head](numbers[0])
    if head in _MANY and len(numbers) in _MANY[head][0] and sum(numbers) > 0:
        return _MANY[head][1](numbers)
    return None


def _factor(text: str, whole: str) -> Group:
    if text in _REGISTERED:
        return _REGISTERED[text]
    if text in _PLAIN:
        return _PLAIN[text]()
    if text.startswith("Kron(") and text.endswith(")"):
        return _kronecker(text, whole)
    found = parse_automorphisms(text) if text.startswith("Aut(") and text.endswith(")") else _family(text)
    if found is not None:
        return found
    raise InvalidInput(
        f"group {whole!r}: unknown factor {text!r}. Expected {', '.join([*EXAMPLES, *_REGISTERED])}, "
        f"or a product 'E(3)*S_n'.{_hint(text)}"
    )


def split_factors(text: str, separator: str) -> list[str]:
    """Return the parts between separators outside of brackets.

    >>> split_factors("O(1,3), Aut(3; 0-1, 1-2)", ",")
    ['O(1,3)', 'Aut(3; 0-1, 1-2)']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == separator and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _kronecker(text: str, whole: str) -> Group:
    parts = split_factors(text.removeprefix("Kron(").removesuffix(")"), ",")
    if len(parts) != 2:
        raise InvalidInput(
            f"group {whole!r}: Kron takes two groups, found {len(parts)}. Did you mean 'Kron(S_3, O(2))'?"
        )
    sized = [re.fullmatch(r"([SA])_([1-9]\d*)", part) for part in parts]
    factors = [
        _factor(part, whole) if m is None else Permutations(int(m[2]), even=m[1] == "A")
        for part, m in zip(parts, sized, strict=True)
    ]
    return Kronecker(factors[0], factors[1])


def _hint(text: str) -> str:
    head = re.fullmatch(r"(SO\+|[A-Za-z]+)\(.*\)", text)
    if head is not None and head[1] in _ONE.keys() | _MANY.keys():
        forms = [e for e in EXAMPLES if e.startswith(f"{head[1]}(") and "@" not in e]
        return f" {head[1]} takes positive dimensions. Did you mean {' or '.join(map(repr, forms))}?"
    near = _respelled(text) or difflib.get_close_matches(text, [*EXAMPLES, *_REGISTERED], n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""


def _respelled(text: str) -> list[str]:
    """Return the name that was meant where only brackets, an underscore or a letter O are missing."""
    plain = re.sub(r"[\s_]", "", text).replace("0(", "O(")
    plain += ")" * (plain.count("(") - plain.count(")"))
    forms = [
        plain,
        re.sub(r"^([A-Za-z+]+)(\d+)$", r"\1(\2)", plain),
        re.sub(r"^([CDTOI])(\w+)$", r"\1_\2", plain),
    ]
    return [form for form in forms if form in _PLAIN or _family(form) is not None][:1]


def _dimensions(group: Group) -> int:
    return group.identity().dim


def _checked(factors: list[Group], text: str) -> None:
    spatial = [f for f in factors if _dimensions(f) and not isinstance(f, Scalings)]
    sizes = [_dimensions(f) for f in spatial]
    nodes = [f for f in factors if isinstance(f, (Permutations, Automorphisms))]
    if len(set(sizes)) < len(sizes) or len(nodes) > 1:
        raise InvalidInput(
            f"group {text!r}: at most one spatial factor of each dimension and one group of permutations. "
            "E(3) already holds O(3) and T(3)."
        )
    if any(isinstance(f, Euclidean) and f.translations for f in spatial[1:]):
        raise InvalidInput(
            f"group {text!r}: write the factor with translations first; only that one moves points."
        )


@lru_cache(maxsize=256)
def _parsed(text: str) -> Group:
    # Products are split outside brackets: "Aut(4; 0-1)*O(3)".
    parts = split_factors(text.replace("×", "*"), "*")
    factors = [_factor(part, text) for part in parts]
    _checked(factors, text)
    return factors[0] if len(factors) == 1 else Product(factors)


def parse_group(text: str | Group) -> Group:
    """Return the group of this name; a group is returned as it is.

    ===========================  ====================================================================
    written                      group
    ===========================  ====================================================================
    ``O(n)  SO(n)``              orthogonal matrices
    ``E(n)  SE(n)  T(n)``        the same with translations; translations alone
    ``S_n  A_n``                 permutations of the nodes, as many as the data have
    ``O(p,q) SO(p,q) SO+(p,q)``  keep a metric, positive directions first: Lorentz is ``O(1,3)``
    ``Sp(2m)  Sp(2m,block)``     keep a symplectic form, coordinates (q1, p1, ...) or (q1, ..., p1, ...)
    ``GL(n)  SL(n)``             invertible matrices
    ``B(n)``                     signed permutations of the axes
    ``Pin(p,q,r) Spin(p,q,r)``   versors of a Clifford algebra, null directions first
    ``Aut(N; 0-1, 1-2)``         automorphisms of a graph; ``Aut(N; (0 1 2), (0 1))`` by generators
    ``Kron(S_3, O(2))``          two groups on one axis of length 3 x 2; ``S_3`` and ``A_3`` have their size here
    ``C_n C_nv D_n D_nh T_d``    point groups, also ``C_nh D_nd T T_h O O_h I I_h C_s C_i``; ``C_4@x``
    ``SO(2)@z``                  turns about one axis
    ``scalings  translations``   of space; ``scalings(n)``
    ``G*H``                      products of factors that act on different axes
    ===========================  ====================================================================

    ``reflections``, ``rotations``, ``translations`` and ``permutations`` are the elements that a declaration may claim
    to break.

    Raises:
        InvalidInput: unknown factor; the message names the nearest spelling.

    >>> parse_group("E(3)*S_n").components()
    ('proper, even', 'proper, odd', 'improper, even', 'improper, odd')
    """
    if isinstance(text, Group):
        return text
    if not isinstance(text, str) or not text.strip():  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        raise InvalidInput(f"group: expected a string such as 'E(3)*S_n', got {text!r}.")
    return _parsed(text)
