"""The groups whose tensor powers have diagrams: small frozen descriptions, apart from the groups that draw elements."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from geomlib.algebra.groups.classical import metric, symplectic_form
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = ["SO", "A", "B", "Lorentz", "O", "S", "Sp", "TensorGroup", "tensor_group"]

_Group = TypeVar("_Group", bound="TensorGroup")


class TensorGroup:
    """A group acting on V = R^n, and on every axis of tensors over V alike.

    Attributes:
        kind: family, ``"S"``, ``"A"``, ``"B"``, ``"O"``, ``"SO"``, ``"Sp"``, ``"Lorentz"``, ``"orbits"`` or ``"product"``.
        pointwise: whether every function of the entries, taken entry by entry, is equivariant.
    """

    kind: ClassVar[str]
    pointwise: ClassVar[bool] = False
    n: Any  # a whole number; None for S_n without a size

    @property
    def name(self) -> str:
        """The name that `geomlib.algebra.groups.parse_group` reads, so that elements can be drawn."""
        return f"{self.kind}({self.n})"

    def tensor_type(self, k: int) -> str:
        """Return the type of a tensor of order k, as a symmetry declares it.

        >>> S(5).tensor_type(2), O(3).tensor_type(2), O(3).tensor_type(0)
        ('perm(2)', 'tensor(2)', 'inv')
        """
        if k == 0:
            return "inv"
        return f"perm({k})" if self.pointwise else f"tensor({k})"

    def sized(self: _Group, n: int) -> _Group:
        """Return this group on R^n; a group that has a size already takes no other.

        Raises:
            InvalidInput: the group acts on another dimension.

        >>> print(S().sized(4), O(3).sized(3))
        S_4 O(3)
        """
        if self.n is None:
            return replace(self, n=n)  # pyright: ignore[reportArgumentType] - subclasses are dataclasses
        if n != self.n:
            raise InvalidInput(f"{self} acts on axes of length {self.n}, the tensor has axes of length {n}.")
        return self

    @property
    def size(self) -> int:
        """The dimension n.

        Raises:
            InvalidInput: the group has no size yet.
        """
        if self.n is None:
            raise InvalidInput(f"{self} has no size yet: write S(n), or call .sized(n).")
        return self.n

    def dim_hom(self, k: int, l: int) -> int:
        """Return the number of independent maps; a family without diagrams counts them itself.

        Raises:
            InvalidInput: a family that does not.
        """
        raise InvalidInput(f"{self} of kind {self.kind!r} does not count its maps of order {k} -> {l}.")

    def maps(self, k: int, l: int, which: str = "basis", limit: int = 25_000) -> list[Any]:
        """Return the maps of a family without diagrams, each with ``label`` and ``matrix(group, dtype)``.

        Raises:
            InvalidInput: a family with diagrams.
        """
        raise InvalidInput(
            f"{self} has {which} diagrams {k} -> {l}, {limit} at most: call diagrams(group, k, l)."
        )

    def forms(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:  # (n, n), (n, n)
        """Return the invariant forms of pairs of legs in the top row and in the bottom row."""
        eye = torch.eye(self.size, dtype=dtype)
        return eye, eye

    def __str__(self) -> str:
        return self.name


def _checked(group: TensorGroup, least: int = 1) -> None:
    n = group.n
    if type(n) is not int or n < least:
        raise InvalidInput(f"{group.kind}(n={n!r}): expected a whole number n >= {least}.")


@dataclass(frozen=True)
class S(TensorGroup):
    """All permutations of n nodes; without n, of as many nodes as the data have.

    >>> S(4).name, str(S(4)), str(S())
    ('S_n', 'S_4', 'S_n')
    """

    n: int | None = None
    kind: ClassVar[str] = "S"
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n is not None:
            _checked(self)

    @property
    def name(self) -> str:
        """``S_n``: elements are sized by the data."""
        return "S_n"

    def __str__(self) -> str:
        return "S_n" if self.n is None else f"S_{self.n}"


@dataclass(frozen=True)
class A(TensorGroup):
    """The even permutations of n nodes."""

    n: int
    kind: ClassVar[str] = "A"
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checked(self)

    @property
    def name(self) -> str:
        """``A_n``: elements are sized by the data."""
        return "A_n"

    def __str__(self) -> str:
        return f"A_{self.n}"


@dataclass(frozen=True)
class B(TensorGroup):
    """Signed permutations of n axes; odd functions of the entries are equivariant, others are not."""

    n: int
    kind: ClassVar[str] = "B"

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True)
class O(TensorGroup):  # noqa: E742 - the name of the group
    """Orthogonal matrices of n dimensions."""

    n: int
    kind: ClassVar[str] = "O"

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True)
class SO(TensorGroup):
    """Rotations of n dimensions."""

    n: int
    kind: ClassVar[str] = "SO"

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, init=False)
class Sp(TensorGroup):
    r"""Matrices with :math:`g^\top\Omega g = \Omega`, n = 2r.

    Args:
        n: dimension.
        form: ``"interleaved"``, :math:`\Omega_{2a,2a+1} = 1`; ``"block"``, [[0, 1], [-1, 0]]; or an antisymmetric
            (n, n) tensor that can be inverted, whose group `parse_group` has no name for.

    >>> Sp(4).name, Sp(4, "block").name, Sp(2, torch.tensor([[0.0, 2.0], [-2.0, 0.0]])).name
    ('Sp(4)', 'Sp(4,block)', 'Sp(2,form)')
    """

    n: int
    form: str | tuple[tuple[float, ...], ...] = "interleaved"
    kind: ClassVar[str] = "Sp"

    def __init__(self, n: int, form: str | Tensor | tuple[tuple[float, ...], ...] = "interleaved") -> None:
        object.__setattr__(self, "n", n)
        _checked(self, 2)
        if n % 2:
            raise InvalidInput(f"Sp({n}): the dimension must be even. Write Sp({n + 1}).")
        if isinstance(form, str) and form not in ("interleaved", "block"):
            raise InvalidInput(
                f"Sp: form {form!r}, expected 'interleaved', 'block' or a tensor."
                + closest(form, ("interleaved", "block"))
            )
        if not isinstance(form, str):
            form = _form(form, n)
        object.__setattr__(self, "form", form)

    @property
    def name(self) -> str:
        """``Sp(n)``, ``Sp(n,block)``, or ``Sp(n,form)`` for a form of one's own."""
        ends = {"interleaved": "", "block": ",block"}
        return f"Sp({self.n}{ends[self.form] if isinstance(self.form, str) else ',form'})"

    def forms(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        r"""Return :math:`-\Omega^{-1}` and :math:`\Omega`, which are equal for the named forms."""
        if isinstance(self.form, str):
            omega = symplectic_form(self.n, self.form).to(dtype)
            return omega, omega
        omega = torch.tensor(self.form, dtype=torch.float64)
        return -torch.linalg.inv(omega).to(dtype), omega.to(dtype)


def _form(form: Tensor | tuple[tuple[float, ...], ...], n: int) -> tuple[tuple[float, ...], ...]:
    omega = torch.as_tensor(form, dtype=torch.float64).detach().cpu()
    if omega.shape != (n, n) or not torch.equal(omega, -omega.T):
        raise InvalidInput(
            f"Sp({n}): `form` of shape {tuple(omega.shape)}, expected an antisymmetric ({n}, {n})."
        )
    if not bool(omega.isfinite().all()) or not float(torch.linalg.cond(omega)) < 1e12:
        raise InvalidInput(f"Sp({n}): `form` cannot be inverted.")
    return tuple(tuple(row) for row in omega.tolist())


@dataclass(frozen=True)
class Lorentz(TensorGroup):
    """O(p,q): matrices that keep a metric with p plus ones, which come first, and q minus ones.

    >>> Lorentz(1, 3).name, Lorentz(1, 3).n
    ('O(1,3)', 4)
    """

    p: int
    q: int
    kind: ClassVar[str] = "Lorentz"

    def __post_init__(self) -> None:
        for name, value in (("p", self.p), ("q", self.q)):
            if type(value) is not int or value < 0:
                raise InvalidInput(f"Lorentz: {name}={value!r}, expected a whole number >= 0.")
        if self.p + self.q < 1:
            raise InvalidInput("Lorentz(0, 0): expected at least one direction.")

    @property
    def n(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The dimension p + q."""
        return self.p + self.q

    @property
    def name(self) -> str:
        """``O(p,q)``."""
        return f"O({self.p},{self.q})"

    def forms(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Return the metric, which is its own inverse, twice."""
        eta = metric(self.p, self.q).to(dtype)
        return eta, eta


_FAMILIES: dict[str, type[TensorGroup]] = {"S": S, "A": A, "B": B, "O": O, "SO": SO, "Sp": Sp}
_EXAMPLES = ("S_n", "S_5", "A_5", "B(3)", "O(3)", "SO(3)", "Sp(4)", "Sp(4,block)", "O(1,3)")
_WRITTEN = re.compile(r"([A-Za-z]+)(?:_(\d+|n)|\(\s*(\w+)\s*(?:,\s*(\w+)\s*)?\))")


@lru_cache(maxsize=256)
def _parsed(text: str) -> TensorGroup | None:
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found[1] not in _FAMILIES:
        return None
    head, first, second = found[1], found[2] or found[3], found[4]
    if first == "n":
        return S() if head == "S" and second is None else None
    if not first.isdigit():
        return None
    if head == "O" and second is not None and second.isdigit():
        return Lorentz(int(first), int(second))
    if head == "Sp" and second is not None:
        return Sp(int(first), second)
    return _FAMILIES[head](int(first)) if second is None else None  # pyright: ignore[reportCallIssue]


def tensor_group(text: str | TensorGroup, n: int | None = None) -> TensorGroup:
    """Return the group that is written so; a group is returned as it is.

    Args:
        text: ``"S_n"``, ``"S_5"``, ``"A_5"``, ``"B(3)"``, ``"O(3)"``, ``"SO(3)"``, ``"Sp(4)"``, ``"Sp(4,block)"``,
            ``"O(1,3)"``; ``"Aut(4; 0-1, 1-2)"`` and ``"Kron(S_3, O(2))"`` as `geomlib.algebra.groups` writes them.
        n: dimension, where the text names none (``"S_n"``, ``"A_n"``, ``"O(n)"``).

    Raises:
        InvalidInput: an unknown spelling, or a size that contradicts ``n``.

    >>> tensor_group("O(1,3)"), tensor_group("A_n", 5), tensor_group("S_n")
    (Lorentz(p=1, q=3), A(n=5), S(n=None))
    """
    if isinstance(text, TensorGroup):
        return text if n is None else text.sized(n)
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        raise InvalidInput(f"group: expected a string such as 'O(3)', got {type(text).__name__}.")
    plain = text.strip()
    if n is not None:
        plain = re.sub(r"^(\w+)_n$", rf"\1_{n}", re.sub(r"^(\w+)\(n\b", rf"\1({n}", plain))
    found = _parsed(plain)
    if found is None and plain.startswith(("Aut(", "Kron(")):
        from geomlib.algebra.diagrams.orbit_groups import parse_orbit_group

        found = parse_orbit_group(plain)
    if found is None:
        hint = " Give n as well." if re.search(r"[(_]n\b", plain) else closest(plain, _EXAMPLES)
        raise InvalidInput(
            f"group {text!r}: unknown among groups of tensors. Expected {', '.join(_EXAMPLES)}.{hint}"
        )
    return found if n is None else found.sized(n)
