"""Composition of the maps of groups with orbits, and of products of groups, as sums of such maps."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geomlib.algebra.diagrams.combinations import compose_terms
from geomlib.algebra.diagrams.groups import TensorGroup
from geomlib.algebra.diagrams.orbit_groups import PermGroup, Product, ProductMap
from geomlib.algebra.diagrams.orbits import OrbitMap, Orbits, orbits
from geomlib.errors import InvalidInput

__all__ = ["compose_maps"]

_Ints: TypeAlias = "NDArray[np.int64]"


def compose_maps(second: Any, first: Any, group: TensorGroup) -> dict[Any, int]:
    r"""Return second after first as a sum of maps of the group with whole coefficients.

    For orbits these are the intersection numbers :math:`X_b X_a = \sum_c p^c_{ba} X_c`, with :math:`p^c_{ba}` the number of
    J such that (I, J) is in b and (J, K) in a, for any (I, K) in c. Products compose factor by factor, diagrams as
    `compose_terms` does.

    **Group**: the one given.

    Args:
        second: a map with m inputs.
        first: a map with m outputs.
        group: the group of both.

    Raises:
        InvalidInput: orders that do not fit.

    >>> from geomlib.algebra.diagrams.orbit_groups import AutGraph
    >>> star = AutGraph([(0, 1), (0, 2), (0, 3)], 4)
    >>> other_leaf = star.maps(1, 1)[4]
    >>> compose_maps(other_leaf, other_leaf, star)  # back to the leaf in two ways, to another one in one
    {Orbit[1,1: 1 -> 1]: 2, Orbit[1,2: 1 -> 1]: 1}
    """
    if second.k != first.l:
        raise InvalidInput(
            f"compose_maps: {second!r} takes order {second.k}, {first!r} gives order {first.l}."
        )
    if isinstance(group, Product):
        outer = compose_maps(second.first, first.first, group.first)
        inner = compose_maps(second.second, first.second, group.second)
        return {
            ProductMap(a, b, first.k, second.l): c * d for a, c in outer.items() for b, d in inner.items()
        }
    if not isinstance(group, PermGroup):
        return {d: int(c) for d, c in compose_terms(second, first, group).items()}
    n, k, l = group.n, first.k, second.l
    found = orbits(group, k, l)
    rows, columns = (_numbers(t, n) for t in np.split(found.representatives, [l], axis=1))
    after = _table(orbits(group, second.k, l))[rows] == second.number
    before = _table(orbits(group, k, first.l))[:, columns].T == first.number
    counts = (after & before).sum(1)
    return {
        OrbitMap(tuple(map(int, found.representatives[c])), k, l, int(c)): int(counts[c])
        for c in np.flatnonzero(counts)
    }


def _table(found: Orbits) -> _Ints:
    return found.labels.reshape(found.n**found.l, found.n**found.k)


def _numbers(tuples: _Ints, n: int) -> _Ints:
    return tuples @ (n ** np.arange(tuples.shape[1] - 1, -1, -1, dtype=np.int64))
