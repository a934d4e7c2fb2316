"""How many independent equivariant maps there are, and how many diagrams span them: exact at any size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import comb, factorial, prod

from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.algebra.diagrams.matchings import double_factorial
from geomlib.algebra.diagrams.partitions import bell, even_partitions, partitions_up_to, stirling
from geomlib.errors import InvalidInput

__all__ = ["dim_hom", "spanning_size", "tableaux"]


def tableaux(shape: tuple[int, ...]) -> int:
    """Return the number of standard Young tableaux of a shape, by hooks.

    >>> tableaux((2, 1)), tableaux((2, 2)), tableaux(())
    (2, 2, 1)
    """
    columns = [sum(row > j for row in shape) for j in range(shape[0] if shape else 0)]
    hooks = prod(row - j + columns[j] - i - 1 for i, row in enumerate(shape) for j in range(row))
    return factorial(sum(shape)) // hooks


def _shapes(total: int, rows: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Return the shapes of ``total`` cells with at most ``rows`` rows."""
    if total == 0:
        yield ()
    elif rows > 0 and rows * largest >= total:
        for first in range(min(total, largest), 0, -1):
            for rest in _shapes(total - first, rows - 1, first):
                yield (first, *rest)


@lru_cache(maxsize=512)
def _orthogonal(m: int, n: int) -> int:
    if m % 2 or 2 * n >= m:
        return double_factorial(m)
    return sum(tableaux(tuple(2 * r for r in half)) for half in _shapes(m // 2, n, m))


@lru_cache(maxsize=512)
def _epsilons(m: int, n: int) -> int:
    """Return what SO(n) has beyond O(n): shapes with exactly n rows, all odd."""
    if m < n or (m - n) % 2:
        return 0
    extra = 0
    for half in _shapes((m - n) // 2, n, m):
        shape = (*(2 * r + 1 for r in half), *(1 for _ in range(n - len(half))))
        extra += tableaux(shape)
    return extra


@lru_cache(maxsize=512)
def _symplectic(m: int, n: int) -> int:
    """Shapes whose columns are even and n at most: rows come in equal pairs."""
    if m % 2 or n >= m:
        return double_factorial(m)
    total = 0
    for half in _shapes(m // 2, n // 2, m):
        total += tableaux(tuple(row for row in half for _ in range(2)))
    return total


def orders(k: int, l: int) -> int:
    """Return k + l, after checking both."""
    for name, value in (("k", k), ("l", l)):
        if type(value) is not int or value < 0:
            raise InvalidInput(f"{name}={value!r}: the order of a tensor is a whole number >= 0.")
    return k + l


def jellyfish(m: int, n: int) -> int:
    """Return the number of jellyfish diagrams of m legs; A_1 is S_1 and has none."""
    return stirling(m, n) + stirling(m, n - 1) if n > 1 else 0


def dim_hom(group: str | TensorGroup, k: int, l: int) -> int:
    r"""Return the dimension of the space of equivariant linear maps of tensors of order k to tensors of order l.

    With m = k + l, S(m,t) Stirling numbers of the second kind and :math:`f^\lambda` the number of standard tableaux:

    ========  ===========================================================================================
    S_n       sum of S(m,t), t <= n
    A_n       the same, and S(m,n) + S(m,n-1)
    B(n)      partitions of m into at most n blocks of even size
    O(n)      sum of :math:`f^\lambda`, rows of :math:`\lambda` even, n at most; O(p,q) as O(p + q)
    SO(n)     the same, and those with exactly n rows, all odd
    Sp(n)     sum of :math:`f^\lambda`, columns even, n rows at most
    ========  ===========================================================================================

    Args:
        group: the group; S_n without a size has the dimension of all large n.
        k: order of the input.
        l: order of the output.

    Raises:
        InvalidInput: a negative order.

    >>> dim_hom("S_n", 2, 2), dim_hom("S_3", 2, 2), dim_hom("SO(3)", 2, 3), dim_hom("Sp(2)", 2, 2)
    (15, 14, 6, 2)
    """
    G = tensor_group(group)
    m = orders(k, l)
    if G.kind == "S":
        return partitions_up_to(m, G.n)
    n = G.size
    if G.kind == "A":
        return partitions_up_to(m, n) + jellyfish(m, n)
    if G.kind == "B":
        return even_partitions(m, n)
    if G.kind in ("O", "Lorentz"):
        return _orthogonal(m, n)
    if G.kind == "SO":
        return _orthogonal(m, n) + _epsilons(m, n)
    if G.kind == "Sp":
        return _symplectic(m, n)
    return G.dim_hom(k, l)


def spanning_size(group: str | TensorGroup, k: int, l: int) -> int:
    """Return the number of diagrams of the usual spanning set.

    For S_n, B(n), O(n) and Sp(n) it is the same for all n; of A_n only a basis is in use.

    >>> spanning_size("S_3", 2, 2), spanning_size("SO(3)", 2, 3), spanning_size("O(2)", 3, 3)
    (15, 10, 15)
    """
    G = tensor_group(group)
    m = orders(k, l)
    if G.kind == "S":
        return bell(m)
    if G.kind == "B":
        return even_partitions(m)
    if G.kind in ("O", "Lorentz", "Sp"):
        return double_factorial(m)
    if G.kind == "SO":
        n = G.size
        return double_factorial(m) + (comb(m, n) * double_factorial(m - n) if m >= n else 0)
    return dim_hom(G, k, l)
