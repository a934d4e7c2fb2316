r"""Groups: named sets of transformations that can be sampled, composed and inverted.

Sampling is *stratified*: a group lists its connected components and is asked for an element of each one, so a
test never misses the reflections by chance.

>>> import torch
>>> group = parse_group("O(3)*S_n").sized(5)
>>> [element.label for element in stratified(group, 4, torch.Generator().manual_seed(0))]
['proper, even', 'proper, odd', 'improper, even', 'improper, odd']
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import difflib
import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Generator, Tensor

from geomlib.errors import InvalidInput

__all__ = [
    "Element",
    "Euclidean",
    "Group",
    "Permutations",
    "Product",
    "compose",
    "haar_orthogonal",
    "inverse",
    "parse_group",
    "rotation",
    "stratified",
]


@dataclass(frozen=True, eq=False)
class Element:
    """One transformation, all parts in float64.

    Args:
        linear: (n, n) matrix Q acting on vectors.
        shift: (n,) translation t acting on points after Q.
        nodes: (N,) permutation, node k becomes node ``nodes[k]``; ``None`` leaves the order alone.
        edges: (E,) reordering of the edges in the same convention.
        label: where it comes from, for reports.
    """

    linear: Tensor
    shift: Tensor
    nodes: Tensor | None = None
    edges: Tensor | None = None
    label: str = ""

    @property
    def det(self) -> float:
        """Sign of the determinant of the linear part."""
        return math.copysign(1.0, float(torch.linalg.det(self.linear)))


def _identity(n: int = 3, label: str = "identity") -> Element:
    return Element(torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64), label=label)


def _compose_permutations(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a[b]


def compose(g: Element, h: Element) -> Element:
    """Return the element that applies ``h`` first and then ``g``."""
    return Element(
        g.linear @ h.linear,
        g.linear @ h.shift + g.shift,
        _compose_permutations(g.nodes, h.nodes),
        _compose_permutations(g.edges, h.edges),
        label=f"{g.label} after {h.label}",
    )


def inverse(g: Element) -> Element:
    """Return the element that undoes ``g``."""
    linear = torch.linalg.inv(g.linear)
    nodes, edges = (None if p is None else torch.argsort(p) for p in (g.nodes, g.edges))
    return Element(linear, -(linear @ g.shift), nodes, edges, label=f"inverse of {g.label}")


def rotation(axis: Tensor, angle: float) -> Tensor:  # (3,) -> (3, 3)
    r"""Return :math:`\mathbb 1 + \sin\theta\,[a]_\times + (1 - \cos\theta)[a]_\times^2` about ``axis``.

    >>> rotation(torch.tensor([0.0, 0.0, 1.0]), math.pi / 2)[:, 0].round(decimals=6) + 0.0
    tensor([0., 1., 0.], dtype=torch.float64)
    """
    a = axis.to(torch.float64)
    x, y, z = (a / torch.linalg.vector_norm(a)).tolist()
    k = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    # 2 sin^2(t/2) keeps full accuracy at tiny angles, where 1 - cos(t) has none.
    eye = torch.eye(3, dtype=torch.float64)
    return _polished(eye + math.sin(angle) * k + 2.0 * math.sin(angle / 2.0) ** 2 * (k @ k))


def haar_orthogonal(n: int, sign: int, generator: Generator) -> Tensor:  # (n, n)
    """Return a uniformly distributed orthogonal matrix with determinant ``sign``.

    QR of a Gaussian with the signs of diag(R) moved into Q; the determinant is set by flipping *one column*
    (negating Q would change it in odd dimensions only).
    """
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    q = q * torch.where(torch.diagonal(r) < 0, -1.0, 1.0)
    if float(torch.linalg.det(q)) * sign < 0:
        q[:, 0] = -q[:, 0]
    return _polished(q)


def _polished(q: Tensor) -> Tensor:
    """Return the nearest orthogonal matrix, rounded once.

    A matrix off by a few units of round-off acts as a scaling, which a check would blame on its target.
    """
    a = q.numpy().astype(np.longdouble)
    for _ in range(2):
        a = 0.5 * a @ (3.0 * np.eye(len(a), dtype=np.longdouble) - a.T @ a)
    return torch.from_numpy(a.astype(np.float64))


class Group(ABC):
    """A group, or a coset of one, from which elements are drawn component by component."""

    name: str

    @abstractmethod
    def components(self) -> tuple[str, ...]:
        """Return the names of the connected components."""

    @abstractmethod
    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a random element of a component; translations have length about ``scale``."""

    @abstractmethod
    def special(self, generator: Generator) -> list[Element]:
        """Return the elements that random sampling never hits: identity, half turns, mirrors, tiny angles."""

    @abstractmethod
    def generators(self, generator: Generator) -> list[Element]:
        """Return elements that generate a dense subgroup: one per continuous direction and discrete coset."""

    def sized(self, nodes: int) -> Group:
        """Return the group acting on this number of nodes; only permutations depend on it."""
        del nodes
        return self

    def identity(self) -> Element:
        """Return the neutral element."""
        return _identity()

    def compose(self, g: Element, h: Element) -> Element:
        """Return the element that applies ``h`` first and then ``g``."""
        return compose(g, h)

    def inverse(self, g: Element) -> Element:
        """Return the element that undoes ``g``."""
        return inverse(g)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class Euclidean(Group):
    """Rotations, reflections and translations of n-dimensional space, or any choice of the three.

    Args:
        name: how the group is written, ``"E(3)"``.
        n: dimension of space.
        signs: determinants to draw from; ``(1, -1)`` for O(n), ``(-1,)`` for the coset of reflections.
        rotations: whether the linear part differs from the identity at all.
        translations: whether points are shifted.
    """

    def __init__(
        self,
        name: str,
        n: int = 3,
        *,
        signs: tuple[int, ...] = (1,),
        rotations: bool = True,
        translations: bool = False,
    ):
        self.name, self.n, self.signs = name, n, signs
        self.rotations, self.translations = rotations, translations

    def components(self) -> tuple[str, ...]:
        """Return ``proper`` and ``improper``, as far as the group has them."""
        if not self.rotations:
            return ("shift",)
        return tuple("proper" if sign > 0 else "improper" for sign in self.signs)

    def identity(self) -> Element:
        """Return the identity in n dimensions."""
        return _identity(self.n)

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a Haar-distributed orthogonal matrix and a normally distributed shift."""
        if component not in self.components():
            raise InvalidInput(
                f"{self.name} has no component {component!r}, only {', '.join(self.components())}."
            )
        e = self.identity()
        linear = e.linear
        if self.rotations:
            linear = haar_orthogonal(self.n, 1 if component == "proper" else -1, generator)
        return Element(linear, self._shift(generator, scale), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return identity, half turns, angles near 0 and pi, inversion, mirrors, a rotoreflection (n = 3)."""
        found: dict[str, Tensor] = {"identity": self.identity().linear}
        if self.rotations and self.n == 3:
            x, y, z = torch.eye(3, dtype=torch.float64)
            axis, other = torch.randn(2, 3, dtype=torch.float64, generator=generator)
            found |= {
                f"180° about {name}": rotation(a, math.pi) for name, a in zip("xyz", (x, y, z), strict=True)
            }
            found |= {"180° about a random axis": rotation(axis, math.pi)}
            found |= {"angle 1e-8": rotation(axis, 1e-8), "angle pi - 1e-8": rotation(axis, math.pi - 1e-8)}
            unit = other / torch.linalg.vector_norm(other)
            mirror = torch.eye(3, dtype=torch.float64) - 2.0 * torch.outer(unit, unit)
            found |= {"inversion": -torch.eye(3, dtype=torch.float64)}
            found |= {"mirror x": torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))}
            found |= {"random mirror": mirror, "rotoreflection": -rotation(axis, 1.0)}
        elif self.rotations:
            flip = self.identity().linear.clone()
            flip[0, 0] = -1.0
            found |= {"mirror": flip, "inversion": -self.identity().linear}
        shift = self._shift(generator, 1.0)
        signs = self.signs if self.rotations else (1,)
        return [
            Element(q, shift, label=k)
            for k, q in found.items()
            if math.copysign(1, float(torch.linalg.det(q))) in signs
        ]

    def generators(self, generator: Generator) -> list[Element]:
        """Return one rotation by 1 rad per coordinate plane, one reflection, one shift per axis."""
        elements: list[Element] = []
        zero = self.identity().shift
        if self.rotations:
            for i, j in itertools.combinations(range(self.n), 2):
                q = self.identity().linear.clone()
                q[i, i] = q[j, j] = math.cos(1.0)
                q[j, i], q[i, j] = math.sin(1.0), -math.sin(1.0)
                elements.append(Element(q, zero, label=f"turn {i}{j}"))
            if -1 in self.signs:
                q = self.identity().linear.clone()
                q[0, 0] = -1.0
                elements.append(Element(q, zero, label="mirror 0"))
        if self.translations:
            eye = self.identity().linear
            elements += [Element(eye, eye[i].clone(), label=f"shift {i}") for i in range(self.n)]
        return elements

    def _shift(self, generator: Generator, scale: float) -> Tensor:
        if not self.translations:
            return self.identity().shift
        return scale * torch.randn(self.n, dtype=torch.float64, generator=generator)


class Permutations(Group):
    """All orders of N nodes; ``size=None`` until the data say how many there are."""

    def __init__(self, size: int | None = None):
        self.name, self.size = "S_n", size

    def sized(self, nodes: int) -> Permutations:
        """Return the permutations of this number of nodes."""
        return Permutations(nodes)

    def components(self) -> tuple[str, ...]:
        """Return ``even`` and ``odd`` permutations; fewer than two nodes have no odd one."""
        return ("even", "odd") if self.size is None or self.size > 1 else ("even",)

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a uniformly distributed permutation of the asked parity."""
        del scale
        if component not in self.components():
            raise InvalidInput(
                f"{self.name} has no component {component!r}, only {', '.join(self.components())}."
            )
        p = torch.randperm(self._size(), generator=generator)
        if self._size() > 1 and _parity(p) != component:
            p[:2] = p[:2].flip(0)
        return replace(_identity(), nodes=p, label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, a transposition, an n-cycle and the reversal."""
        del generator
        n = self._size()
        eye = torch.arange(n)
        found = {"identity": eye}
        if n > 1:
            swap = eye.clone()
            swap[[0, n - 1]] = swap[[n - 1, 0]]
            found |= {"transposition": swap, "n-cycle": eye.roll(1), "reversal": eye.flip(0)}
        return [replace(_identity(), nodes=p, label=label) for label, p in found.items()]

    def generators(self, generator: Generator) -> list[Element]:
        """Return a transposition and an n-cycle."""
        return [e for e in self.special(generator) if e.label in ("transposition", "n-cycle")]

    def _size(self) -> int:
        if self.size is None:
            raise InvalidInput(
                "S_n has no size yet: call group.sized(number_of_nodes) before drawing elements."
            )
        return self.size


class Product(Group):
    """Independent factors that act on different axes, ``E(3)*S_n``."""

    def __init__(self, factors: Sequence[Group]):
        self.factors = tuple(factors)
        self.name = "*".join(f.name for f in self.factors)

    def sized(self, nodes: int) -> Product:
        """Return the product with every factor sized."""
        return Product([f.sized(nodes) for f in self.factors])

    def identity(self) -> Element:
        """Return the neutral element of all factors."""
        return reduce(compose, (f.identity() for f in self.factors))

    def components(self) -> tuple[str, ...]:
        """Return every combination of components of the factors."""
        return tuple(", ".join(names) for names in itertools.product(*(f.components() for f in self.factors)))

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a product of independent random elements."""
        if component not in self.components():
            raise InvalidInput(
                f"{self.name} has no component {component!r}, only {'; '.join(self.components())}."
            )
        drawn = [
            f.sample(c, generator, scale) for f, c in zip(self.factors, component.split(", "), strict=True)
        ]
        return replace(reduce(compose, drawn), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the special elements of each factor in turn, the other factors at the identity."""
        e = self.identity()
        found = [replace(compose(e, g), label=g.label) for f in self.factors for g in f.special(generator)]
        identities = [g for g in found if g.label == "identity"]
        return [*identities[:1], *(g for g in found if g.label != "identity")]

    def generators(self, generator: Generator) -> list[Element]:
        """Return the generators of all factors."""
        return [g for f in self.factors for g in f.generators(generator)]


def _parity(p: Tensor) -> str:
    seen, cycles = set[int](), 0
    order: list[int] = p.tolist()
    for start in range(len(order)):
        cycles += start not in seen
        while start not in seen:
            seen.add(start)
            start = order[start]
    return "even" if (len(order) - cycles) % 2 == 0 else "odd"


_FACTOR = re.compile(r"(SO|O|SE|E|T)\((\d+)\)")
_NAMED: dict[str, dict[str, object]] = {
    "O": {"signs": (1, -1)},
    "SO": {},
    "E": {"signs": (1, -1), "translations": True},
    "SE": {"translations": True},
    "T": {"rotations": False, "translations": True},
}


def _factor(text: str, whole: str) -> Group:
    if text == "S_n":
        return Permutations()
    if text in ("reflections", "rotations"):
        return Euclidean(text, signs=(-1,) if text == "reflections" else (1,))
    if text == "translations":
        return Euclidean(text, rotations=False, translations=True)
    if text == "permutations":
        return Permutations()
    match = _FACTOR.fullmatch(text)
    if match is not None and int(match.group(2)) > 0:
        return Euclidean(text, int(match.group(2)), **_NAMED[match.group(1)])  # pyright: ignore[reportArgumentType]
    known = ["O(3)", "SO(3)", "E(3)", "SE(3)", "T(3)", "S_n"]
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.4)
    raise InvalidInput(
        f"group {whole!r}: unknown factor {text!r}. Expected {', '.join(known)}, or a product 'E(3)*S_n'."
        + (f" Did you mean {near[0]!r}?" if near else "")
    )


@lru_cache(maxsize=64)
def parse_group(text: str) -> Group:
    """Return the group of this name: ``O(n)``, ``SO(n)``, ``E(n)``, ``SE(n)``, ``T(n)``, ``S_n``, a product.

    ``reflections``, ``rotations``, ``translations`` and ``permutations`` are accepted too: the elements that
    a declaration may claim to break.

    Raises:
        InvalidInput: unknown factor.
    """
    if not isinstance(text, str) or not text.strip():  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        raise InvalidInput(f"group: expected a string such as 'E(3)*S_n', got {text!r}.")
    parts = [part.strip() for part in text.replace("×", "*").split("*")]
    factors = [_factor(part, text) for part in parts]
    spatial = [f for f in factors if isinstance(f, Euclidean)]
    if len(spatial) > 1 or len(factors) - len(spatial) > 1:
        raise InvalidInput(
            f"group {text!r}: at most one spatial factor and one S_n. E(3) already holds O(3) and T(3)."
        )
    return factors[0] if len(factors) == 1 else Product(factors)


def stratified(group: Group, trials: int, generator: Generator, scale: float = 1.0) -> list[Element]:
    """Return at least ``trials`` random elements, at least ``ceil(trials / 4)`` of every component."""
    names = group.components()
    each = max(math.ceil(trials / 4), math.ceil(trials / len(names)))
    return [group.sample(name, generator, scale) for _ in range(each) for name in names]
