"""Isometries: distances that do not change when both points are moved."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import parse_group
from geomlib.algebra.representations import act
from geomlib.testing.drawing import relative, report

__all__ = ["assert_isometry"]


def assert_isometry(
    dist: Callable[[Tensor, Tensor], Tensor],
    group: str | Callable[[Tensor], Tensor],
    points: tuple[Tensor, Tensor],
    *,
    as_type: str | None = None,
    kappa: float = 1.0,
    factor: float = 100.0,
    trials: int = 8,
    seed: int = 0,
) -> float:
    r"""Fail unless d(g a, g b) = d(a, b) for elements g of a group, every connected component included, or for one map.

    Args:
        dist: of two batches of points.
        group: as in a :class:`~geomlib.algebra.symmetry.Symmetry`, for example ``"O(3)"`` or ``"GL(3)"``, or the map itself,
            for example ``torch.linalg.inv``.
        points: batches a and b; matrices (..., n, n).
        as_type: how the group acts on a point, ``"spd(n)"`` (congruence) by default.
        kappa: condition number of the points; allowed are relative errors ``factor * eps * kappa**2``.
        factor: see above.
        trials: least number of elements.
        seed: of the elements.

    Returns:
        The worst relative error.

    Raises:
        AssertionError: the element that changes distances most, and by how much.
        InvalidInput: an unknown group.

    >>> from geomlib.algebra.manifolds.spd import SPD
    >>> from geomlib.testing.drawing import random_spd
    >>> a, b = random_spd(4, 3, kappa=10.0), random_spd(4, 3, kappa=10.0)
    >>> assert_isometry(SPD("ai").dist, "GL(3)", (a, b), kappa=10.0) < 1e-12
    True
    """
    __tracebackhide__ = True
    a, b = points
    before = dist(a, b)
    moves: dict[str, Callable[[Tensor], Tensor]] = {}
    if isinstance(group, str):
        type_ = as_type or f"spd({a.shape[-1]})"
        elements = parse_group(group).draw(trials, Generator().manual_seed(seed))
        for k, g in enumerate(elements):
            moves[f"{group}, element {k} ({g.label})"] = lambda x, g=g: act(type_, g, x)
    else:
        moves[getattr(group, "__name__", "the map")] = group
    errors = {name: relative(dist(move(a), move(b)), before, 0) for name, move in moves.items()}
    allowed = factor * torch.finfo(a.dtype).eps * kappa**2
    return max(report("the distance", errors, dict.fromkeys(errors, allowed)).values())
