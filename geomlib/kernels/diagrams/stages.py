"""Diagrams in stages: those with equally many blocks that cross and ends of an epsilon are mixed by one product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.groups import parity
from geomlib.kernels.diagrams.constants import Constant
from geomlib.kernels.diagrams.epsilon import Core, Epsilon
from geomlib.kernels.diagrams.waist import Row, Side, rows_of, side_of

__all__ = ["Stage", "stages_of"]


@dataclass(frozen=True, eq=False)
class Stage:
    """Diagrams of one number of crossing blocks and one epsilon.

    Args:
        order: number c of crossing blocks.
        core: the epsilon, None if there is none.
        sigmas: permutations that occur.
        top: number of top types.
        bottom: number of bottom types.
        numbers: of the diagrams, in canonical order.
        start: number of the first diagram if they fill all places in order and no sign is negative, else None.
        entry: place of each diagram in (top types, permutations, bottom types).
        diagram: ``numbers`` as a tensor.
        signs: of each diagram, None if all are positive.
        epsilon: the sum of the core, and its transposed.
        rows: the top types and the bottom types.
    """

    order: int
    core: Core | None
    sigmas: tuple[tuple[int, ...], ...]
    top: int
    bottom: int
    numbers: tuple[int, ...]
    start: int | None
    entry: Constant
    diagram: Constant
    signs: Constant | None
    epsilon: tuple[Epsilon, Epsilon] | None
    rows: tuple[tuple[Row, ...], tuple[Row, ...]]

    @property
    def places(self) -> int:
        """Number of places."""
        return self.top * len(self.sigmas) * self.bottom


def stages_of(
    diagrams: Sequence[Diagram], k: int, l: int, n: int | None
) -> tuple[tuple[Stage, ...], Side, Side]:
    """Return the stages of diagrams from order k to order l, and the two sides."""
    grouped: dict[tuple[Core | None, int], list[tuple[int, Diagram]]] = {}
    for d, diagram in enumerate(diagrams):
        above, below = rows_of(diagram)
        core = None
        if diagram.kind in ("jellyfish", "grood"):
            shared = len(above.marked) if diagram.kind == "jellyfish" else 0
            core = Core(n or 0, shared, len(above.free), len(below.free))
        grouped.setdefault((core, len(above.marked)), []).append((d, diagram))
    stages: list[Stage] = []
    tops: list[list[Row]] = []
    bottoms: list[list[Row]] = []
    for (core, order), members in grouped.items():
        rows = [rows_of(d) for _, d in members]
        joins = [d.waist.sigma for _, d in members]
        top = list(dict.fromkeys(above for above, _ in rows))
        bottom = list(dict.fromkeys(below for _, below in rows))
        sigmas = tuple(sorted(set(joins)))
        at_top, at_bottom = ({v: i for i, v in enumerate(values)} for values in (top, bottom))
        at_sigma = {v: i for i, v in enumerate(sigmas)}
        entry = tuple(
            (at_top[above] * len(sigmas) + at_sigma[sigma]) * len(bottom) + at_bottom[below]
            for (above, below), sigma in zip(rows, joins, strict=True)
        )
        numbers = tuple(d for d, _ in members)
        signs = tuple(
            1 if core is None else _sign(core, above, sigma, below, l)
            for (above, below), sigma in zip(rows, joins, strict=True)
        )
        size = len(top) * len(sigmas) * len(bottom)
        full = (
            min(signs) > 0
            and entry == tuple(range(size))
            and numbers == tuple(range(numbers[0], numbers[0] + size))
        )
        start = numbers[0] if full else None
        places, which = (Constant(torch.tensor(v, dtype=torch.int64)) for v in (entry, numbers))
        factors = (
            Constant(torch.tensor(signs, dtype=torch.float64)[:, None, None]) if min(signs) < 0 else None
        )
        epsilon = None if core is None else (Epsilon(core), Epsilon(*core.turned))
        counts = order, core, sigmas, len(top), len(bottom), numbers, start
        stages.append(Stage(*counts, places, which, factors, epsilon, (tuple(top), tuple(bottom))))
        tops.append(top)
        bottoms.append(bottom)
    return tuple(stages), side_of(k, bottoms), side_of(l, tops)


def _sign(core: Core, above: Row, sigma: tuple[int, ...], below: Row, l: int) -> int:
    """Return the sign between epsilon over blocks in order of first legs and the epsilon of the core."""
    if not core.shared:
        return 1  # above, then below: that is the order of the legs
    # Where more indices are above, the core comes after the permutation and sees the order of the top row.
    crossing = [above.marked[i if core.late else sigma.index(i)][0] for i in range(core.shared)]
    legs = [block[0] for block in above.free] + crossing + [block[0] + l for block in below.free]
    return 1 if parity([sorted(legs).index(leg) for leg in legs]) == "even" else -1
