"""Combinations of plain diagrams, as rows of a matrix: symmetric maps, orbit maps, orthonormal maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from geomlib.algebra.diagrams.gram import gram_of
from geomlib.algebra.diagrams.moebius import orbit_transform
from geomlib.algebra.diagrams.orbit_groups import ProductMap
from geomlib.algebra.diagrams.orbits import OrbitMap, orbits
from geomlib.algebra.diagrams.symmetric import symmetric_transform
from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams import Plan

if TYPE_CHECKING:
    from geomlib.algebra.diagrams.bases import Which

__all__ = ["gram", "orbit_rows", "refuse_large", "symmetric_rows"]

#: Entries of the largest table that is made without being asked twice: 256 MB.
_LARGEST = 2**25


def refuse_large(count: int) -> None:
    """Raise `InvalidInput` where a table between this many diagrams would not fit."""
    if count**2 > _LARGEST:
        raise InvalidInput(
            f"a change of basis between {count:,} diagrams takes {count**2 * 8 / 1e9:.3g} GB. Use basis='diagram', or lower "
            "orders."
        )


def symmetric_rows(plan: Plan, symmetric: tuple[bool, bool]) -> Tensor:  # (P, D)
    """Return the averages of diagrams over permutations of their inputs, their outputs, or both, that are not zero."""
    if plan.group.kind in ("orbits", "product"):
        raise InvalidInput(
            f"symmetric={symmetric}: maps between symmetric tensors are listed for groups with diagrams, not for {plan.group}."
        )
    refuse_large(len(plan.diagrams))
    rows = symmetric_transform(plan.group, plan.k, plan.l, *symmetric, cast("Which", plan.which))
    return rows / rows.abs().sum(1, keepdim=True)


def orbit_rows(plan: Plan, split: bool = True) -> Tensor:  # (D, D)
    """Return orbit maps as combinations of partition diagrams and jellyfish.

    Of A_n, X+ takes the place of D and X- that of J; where they are not split, X = X+ + X- and J = X+ - X- stay.
    """
    refuse_large(len(plan.diagrams))
    rows = orbit_transform(plan.group, plan.k, plan.l, cast("Which", plan.which))[0]
    if not split:
        where = {d.blocks: i for i, d in enumerate(plan.diagrams) if d.kind == "partition"}
        for i, d in enumerate(plan.diagrams):
            if d.kind == "jellyfish":
                j = where[d.blocks]
                rows[j], rows[i] = rows[j] + rows[i], rows[j] - rows[i]
    return rows


def gram(listed: Sequence[Any], group: Any) -> Tensor:  # (D, D)
    """Return the Frobenius scalar products of plain maps."""
    if not listed:
        return torch.zeros(0, 0, dtype=torch.float64)
    first = listed[0]
    if isinstance(first, ProductMap):  # all maps of the first group with all of the second
        ones, twos = (
            list(dict.fromkeys(d.first for d in listed)),
            list(dict.fromkeys(d.second for d in listed)),
        )
        return torch.kron(gram(ones, group.first), gram(twos, group.second))
    if isinstance(first, OrbitMap):
        sizes = orbits(group, first.k, first.l).sizes
        return torch.tensor([float(sizes[d.number]) for d in listed], dtype=torch.float64).diag()
    if group.kind == "Sp" and not isinstance(group.form, str):
        maps = torch.stack([d.matrix(group) for d in listed]).flatten(1)
        return maps @ maps.mT
    return gram_of(listed, group)
