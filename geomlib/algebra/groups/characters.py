r"""Characters of the symmetric groups, in whole numbers.

Irreducible representations of S_n and conjugacy classes are both labelled by partitions of n: the shape of a diagram, and
the lengths of the cycles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["character_table", "class_size", "cycle_type", "murnaghan_nakayama", "partitions"]

Partition = tuple[int, ...]
#: S_20 has 627 partitions.
_LARGEST = 20


def partitions(n: int, largest: int | None = None) -> Iterator[Partition]:
    """Yield the partitions of n, largest parts first.

    Args:
        n: what is divided.
        largest: of the parts; n if not given.

    >>> list(partitions(4))
    [(4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1)]
    """
    if n == 0:
        yield ()
    for first in range(min(n, n if largest is None else largest), 0, -1):
        for rest in partitions(n - first, first):
            yield (first, *rest)


def cycle_type(permutation: Sequence[int]) -> Partition:
    """Return the lengths of the cycles, largest first.

    >>> cycle_type([1, 0, 3, 4, 2])
    (3, 2)
    """
    seen, lengths = set[int](), list[int]()
    for start in range(len(permutation)):
        length = 0
        while start not in seen:
            seen.add(start)
            start, length = permutation[start], length + 1
        lengths += [length] if length else []
    return tuple(sorted(lengths, reverse=True))


def class_size(cycles: Sequence[int]) -> int:
    r"""Return the number of permutations with these cycles, :math:`n! / \prod_k k^{m_k} m_k!`.

    >>> [class_size(c) for c in partitions(4)]
    [6, 8, 3, 6, 1]
    """
    size = math.factorial(sum(cycles))
    for length, count in Counter(cycles).items():
        size //= length**count * math.factorial(count)
    return size


def murnaghan_nakayama(shape: Sequence[int], cycles: Sequence[int]) -> int:
    r"""Return the character of an irreducible representation of S_n at a conjugacy class.

    .. math:: \chi_\lambda(\mu) = \sum_{h} (-1)^{\mathrm{height}(h)}\, \chi_{\lambda \setminus h}(\mu_2, \mu_3, \ldots)

    over the rim hooks h of length :math:`\mu_1` of the diagram :math:`\lambda`.

    **Group** S_n.

    Args:
        shape: partition of n, the representation; ``(n,)`` is the trivial one.
        cycles: partition of n, the lengths of the cycles.

    Raises:
        InvalidInput: not two partitions of one number.

    >>> [murnaghan_nakayama((2, 1), cycles) for cycles in ((1, 1, 1), (2, 1), (3,))]
    [2, 0, -1]
    """
    for name, given in (("shape", shape), ("cycles", cycles)):
        parts = list(given)
        if any(p < 1 for p in parts) or (name == "shape" and parts != sorted(parts, reverse=True)):
            raise InvalidInput(
                f"murnaghan_nakayama: {name}={tuple(given)}: expected positive parts, those of a shape not increasing."
            )
    if sum(shape) != sum(cycles):
        raise InvalidInput(
            f"murnaghan_nakayama: {tuple(shape)} divides {sum(shape)} and {tuple(cycles)} divides {sum(cycles)}: expected "
            "partitions of the same number."
        )
    count = len(shape)
    beads = frozenset(p + count - 1 - k for k, p in enumerate(shape))
    return _character(beads, tuple(sorted(cycles, reverse=True)))


@lru_cache(maxsize=100_000)
def _character(beads: frozenset[int], cycles: Partition) -> int:
    """Recur on the set of first-column hook lengths, in which a rim hook is one number that moves down."""
    if not cycles:
        return 1
    total = 0
    for b in beads:
        lower = b - cycles[0]
        if lower >= 0 and lower not in beads:
            height = sum(lower < other < b for other in beads)
            total += (-1) ** height * _character((beads - {b}) | {lower}, cycles[1:])
    return total


def character_table(n: int) -> Tensor:  # (partitions, partitions)
    """Return the characters of S_n: a row per representation, a column per class, both in the order of `partitions`.

    Args:
        n: number of points, at most 20.

    Raises:
        InvalidInput: another n.

    >>> character_table(3)
    tensor([[ 1,  1,  1],
            [-1,  0,  2],
            [ 1, -1,  1]])
    """
    if not 1 <= n <= _LARGEST:
        raise InvalidInput(f"character_table: n={n} is not in 1..{_LARGEST}.")
    labels = list(partitions(n))
    return torch.tensor([[murnaghan_nakayama(shape, c) for c in labels] for shape in labels])
