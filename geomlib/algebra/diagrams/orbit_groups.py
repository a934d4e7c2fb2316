r"""Groups whose maps have orbits instead of diagrams: Aut(G), permutations by generators, wreath products; products."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.algebra.diagrams.orbits import OrbitMap, applied, count_orbits, orbit_maps
from geomlib.algebra.groups.automorphisms import Automorphisms
from geomlib.algebra.groups.chains import Perm
from geomlib.algebra.groups.names import parse_group, split_factors
from geomlib.errors import InvalidInput

__all__ = ["AutGraph", "PermGroup", "Product", "ProductMap", "Wreath", "parse_orbit_group"]

#: Number of maps that are listed without being asked twice, and the bytes that each takes.
_LISTED, _BYTES = 25_000, 400


def _refused(group: TensorGroup, k: int, l: int, limit: int) -> None:
    count = group.dim_hom(k, l)
    if count > limit:
        raise InvalidInput(
            f"{group}, {k} -> {l}: {count:,} maps, about {count * _BYTES / 1e6:.3g} MB to list, and as many weights per pair "
            f"of channels; the limit is {limit:,}. Lower k + l = {k + l}, or raise `limit`."
        )


@dataclass(frozen=True, init=False)
class PermGroup(TensorGroup):
    """The group that permutations of n nodes generate.

    Args:
        generators: permutations, each the list of images of 0, 1, ..., n - 1.
        n: number of nodes; that of the first generator if not given.

    Raises:
        InvalidInput: a generator that is not a permutation of the nodes, or no size.

    >>> G = PermGroup([(1, 2, 3, 0)])
    >>> G.order, G.dim_hom(1, 1), G.name
    (4, 4, 'Aut(4; (0 1 2 3))')
    """

    generators: tuple[Perm, ...]
    n: int  # pyright: ignore[reportIncompatibleVariableOverride]
    kind: ClassVar[str] = "orbits"
    pointwise: ClassVar[bool] = True
    automorphisms: Automorphisms = field(compare=False, repr=False)

    def __init__(self, generators: Iterable[Sequence[int]], n: int | None = None) -> None:
        listed = [tuple(int(k) for k in g) for g in generators]
        if n is None and not listed:
            raise InvalidInput("PermGroup: no generators and no size. Give n, the number of nodes.")
        self._hold(Automorphisms.from_generators(listed, len(listed[0]) if n is None else n))

    @classmethod
    def from_automorphisms(cls, group: Automorphisms) -> PermGroup:
        """Return the group of a `geomlib.algebra.groups.Automorphisms`, under its name."""
        made = object.__new__(PermGroup)
        made._hold(group)
        return made

    def _hold(self, group: Automorphisms) -> None:
        if group.size < 1:
            raise InvalidInput(f"{type(self).__name__}: no nodes. Give n, the number of nodes, 1 or more.")
        moved: list[Perm] = []
        for g in group.discrete(Generator()):
            if g.nodes is not None:
                moved.append(tuple(g.nodes.tolist()))
        object.__setattr__(self, "generators", tuple(moved))
        object.__setattr__(self, "n", group.size)
        object.__setattr__(self, "automorphisms", group)

    @property
    def name(self) -> str:
        """``Aut(n; ...)``, which `parse_group` reads."""
        return self.automorphisms.name

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.automorphisms.order

    def dim_hom(self, k: int, l: int) -> int:
        """Return the number of orbits on (k + l)-tuples, exactly and without listing them."""
        return count_orbits(self.automorphisms.chain, k + l)

    def maps(self, k: int, l: int, which: str = "basis", limit: int = _LISTED) -> list[OrbitMap]:
        """Return the indicators of all orbits; there is no other spanning set.

        Raises:
            InvalidInput: more than ``limit``, or more entries than can be held.
        """
        del which
        _refused(self, k, l, limit)
        return orbit_maps(self, k, l)


@dataclass(frozen=True, init=False)
class AutGraph(PermGroup):
    """The automorphisms of a graph.

    Args:
        edges: pairs of nodes, undirected; or an ``edge_index`` (2, E), directed.
        n: number of nodes; one more than the largest that occurs if not given.

    Raises:
        InvalidInput: a node number out of range.

    Source: E. Pearce-Crump and W. J. Knottenbelt, "Graph automorphism group equivariant neural networks", arXiv 2307.07810.

    >>> G = AutGraph([(0, 1), (1, 2), (2, 3)], 4)
    >>> G.name, G.order, [G.dim_hom(k, 1) for k in range(4)]
    ('Aut(4; 0-1, 1-2, 2-3)', 2, [2, 8, 32, 128])
    """

    def __init__(self, edges: Tensor | Iterable[tuple[int, int]], n: int | None = None) -> None:
        self._hold(Automorphisms.from_edges(edges, n))


@dataclass(frozen=True, init=False)
class Wreath(PermGroup):
    r"""S_m wr S_n on n blocks of m nodes: permutations inside every block, and of the blocks.

    Node a of block i is number :math:`i m + a`.

    Args:
        m: nodes of a block.
        blocks: number of blocks.

    Raises:
        InvalidInput: a number below 1.

    >>> Wreath(3, 4).dim_hom(1, 1), Wreath(50, 40).dim_hom(2, 2)
    (3, 60)
    """

    m: int
    blocks: int

    def __init__(self, m: int, blocks: int) -> None:
        for name, value in (("m", m), ("blocks", blocks)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidInput(f"Wreath: {name}={value!r}, expected a whole number >= 1.")
        object.__setattr__(self, "m", m)
        object.__setattr__(self, "blocks", blocks)
        n = m * blocks
        object.__setattr__(self, "n", n)
        whole, rest = list(range(n)), list(range(m, n))
        found: list[list[int]] = []
        if m > 1:
            found = [[1, 0, *range(2, n)], [*range(1, m), 0, *rest]]
        if blocks > 1:
            found += [[*range(m, 2 * m), *range(m), *range(2 * m, n)], whole[m:] + whole[:m]]
        object.__setattr__(self, "generators", tuple(dict.fromkeys(map(tuple, found))))

    def __getattr__(self, name: str) -> Any:
        # The chain of a wreath product can be long, and neither orbits nor dimensions need it.
        if name != "automorphisms":
            raise AttributeError(name)
        made = Automorphisms.from_generators(self.generators, self.n)
        object.__setattr__(self, name, made)
        return made

    def dim_hom(self, k: int, l: int) -> int:
        """Return the number of partitions of the legs into blocks, each cut into parts of equal nodes."""
        return _nested(k + l, self.m, self.blocks)


@lru_cache(maxsize=1024)
def _within(j: int, most: int) -> int:
    """Return the number of set partitions of j elements into at most ``most`` parts."""
    if j == 0:
        return 1
    return sum(comb(j - 1, i - 1) * _within(j - i, most - 1) for i in range(1, j + 1)) if most else 0


@lru_cache(maxsize=1024)
def _nested(j: int, m: int, blocks: int) -> int:
    if j == 0:
        return 1
    if not blocks:
        return 0
    return sum(comb(j - 1, i - 1) * _within(i, m) * _nested(j - i, m, blocks - 1) for i in range(1, j + 1))


@dataclass(frozen=True)
class Product(TensorGroup):
    r"""Two groups that act on one axis: :math:`G_1 \times G_2` on :math:`V \otimes W`, of length :math:`n_1 n_2`.

    Index (i, a) is number :math:`i n_2 + a` of the axis: ``x.flatten(-2)`` makes one axis of two. Every map is a product of a
    map of the first group and one of the second, and there are dim times dim of them.

    Args:
        first: group on V, with a size.
        second: group on W, with a size.

    Raises:
        InvalidInput: a group without a size.

    >>> from geomlib.algebra.diagrams.groups import O, S
    >>> G = Product(S(4), S(3))
    >>> G.n, G.dim_hom(1, 1), G.name, Product(S(4), O(3)).dim_hom(1, 1)
    (12, 4, 'Kron(S_4, S_3)', 2)
    """

    first: TensorGroup
    second: TensorGroup
    kind: ClassVar[str] = "product"

    def __post_init__(self) -> None:
        for name, group in (("first", self.first), ("second", self.second)):
            if group.n is None:
                raise InvalidInput(f"Product: `{name}` is {group} without a size. Write S(n).")

    @property
    def n(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Length of the axis, n1 n2."""
        return self.first.size * self.second.size

    @property
    def name(self) -> str:
        """``Kron(G1, G2)``, which `parse_group` reads."""
        return f"Kron({self.first}, {self.second})"

    @property
    def pointwise(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both groups permute, so that functions of the entries are equivariant."""
        return self.first.pointwise and self.second.pointwise

    def tensor_type(self, k: int) -> str:
        """Return the type of a tensor of order k: elements are matrices, also where both groups permute."""
        return f"tensor({k})" if k else "inv"

    def dim_hom(self, k: int, l: int) -> int:
        """Return the product of both dimensions."""
        from geomlib.algebra.diagrams.dimensions import dim_hom

        return dim_hom(self.first, k, l) * dim_hom(self.second, k, l)

    def maps(self, k: int, l: int, which: str = "basis", limit: int = _LISTED) -> list[ProductMap]:
        """Return the products of all maps of the first group with all of the second, those of the second running fastest.

        Raises:
            InvalidInput: more than ``limit``.
        """
        from geomlib.algebra.diagrams.bases import diagrams

        _refused(self, k, l, limit)
        pair = [diagrams(g, k, l, which) for g in (self.first, self.second)]  # pyright: ignore[reportArgumentType]
        return [ProductMap(a, b, k, l) for a in pair[0] for b in pair[1]]


@dataclass(frozen=True)
class ProductMap:
    """A map of the first group times a map of the second.

    Args:
        first: a diagram or an orbit of the first group.
        second: of the second.
        k: order of the input.
        l: order of the output.
    """

    first: Any
    second: Any
    k: int
    l: int

    @property
    def label(self) -> list[Any]:
        """``["product", label, label]``."""
        return ["product", self.first.label, self.second.label]

    def matrix(self, group: Product, dtype: torch.dtype = torch.float64) -> Tensor:  # (n^l, n^k)
        """Return the dense matrix; axis r joins the axes r of both factors."""
        m, (n, p) = self.k + self.l, (group.first.size, group.second.size)
        one = self.first.matrix(group.first, dtype).reshape([n, 1] * m)
        two = self.second.matrix(group.second, dtype).reshape([1, p] * m)
        return (one * two).reshape((n * p) ** self.l, (n * p) ** self.k)

    def apply(self, x: Tensor, group: Product) -> Tensor:  # (..., n p, .., n p) -> (..., n p, .., n p)
        """Return the image of a tensor, by the dense matrix."""
        return applied(self.matrix(group, x.dtype), x, group.n, self.k, self.l)


def parse_orbit_group(text: str) -> PermGroup | Product:
    """Return the group written ``Aut(n; edges)``, ``Aut(n; cycles)`` or ``Kron(G1, G2)``.

    Raises:
        InvalidInput: neither of them.

    >>> parse_orbit_group("Aut(4; 0-1, 1-2)").order, parse_orbit_group("Kron(S_3, O(2))").n
    (2, 6)
    """
    if text.startswith("Kron("):
        parts = split_factors(text.removeprefix("Kron(").removesuffix(")"), ",")
        if len(parts) == 2:
            return Product(tensor_group(parts[0]), tensor_group(parts[1]))
    found = parse_group(text)
    if isinstance(found, Automorphisms):
        return PermGroup.from_automorphisms(found)
    raise InvalidInput(f"group {text!r}: expected 'Aut(4; 0-1, 1-2)' or 'Kron(S_3, O(2))'.")
