"""The sparse table as paths, and how they are shared out over programs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geomlib.kernels.tensor_product.plan import Table

__all__ = ["Budget", "Group", "Path", "bundled", "packed", "paths_of"]


@dataclass(frozen=True)
class Budget:
    """How much one thread takes on before paths are shared out over several programs.

    Args:
        values: sums, or components of the incoming gradient, that stay in registers from edge to edge.
        statements: per edge; beyond, the assembler moves more loads ahead than it has registers for.
    """

    values: int
    statements: int


@dataclass(frozen=True)
class Group:
    """Adds to one component: ``out[target] += w * sum over sources of M a[source]``, ``M = sum c y[j]``."""

    target: int
    sources: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]


@dataclass(frozen=True)
class Path:
    """The components of one path that share a weight; None where it has none."""

    weight: int | None
    channels: int
    groups: tuple[Group, ...]

    @property
    def targets(self) -> list[int]:
        """Components it adds to."""
        return [g.target for g in self.groups]

    @property
    def sources(self) -> list[int]:
        """Components it reads."""
        return list(dict.fromkeys(a for g in self.groups for a, _ in g.sources))

    @property
    def terms(self) -> int:
        """Pairs of a source and a target that couple."""
        return sum(len(g.sources) for g in self.groups)

    @property
    def entries(self) -> int:
        """Non-zero coefficients."""
        return sum(len(e) for g in self.groups for _, e in g.sources)


def paths_of(table: Table, weights: int) -> list[Path]:
    """Read the table; weight columns from ``weights`` on hold ones and are not read."""
    entries = list(zip(table.entry_y.tolist(), table.entry_c.tolist(), strict=True))
    terms = [(a, tuple(entries[first:last])) for a, first, last in table.term.tolist()]
    paths: list[Path] = []
    before: tuple[int, int] | None = None
    for target, weight, channels, first, last in table.group.tolist():
        group = Group(target, tuple(terms[first:last]))
        if before == (weight, channels) and target not in paths[-1].targets:
            paths[-1] = Path(paths[-1].weight, channels, (*paths[-1].groups, group))
        else:
            paths.append(Path(weight if weight < weights else None, channels, (group,)))
        before = weight, channels
    return paths


def packed(bundles: list[list[Path]], costs: list[float]) -> list[list[Path]]:
    """Fill programs of equal channels in order, balanced, at most 1 in each where the bundles allow it."""
    programs: list[list[Path]] = []
    for channels in dict.fromkeys(b[0].channels for b in bundles):
        mine = [(b, c) for b, c in zip(bundles, costs, strict=True) if b[0].channels == channels]
        left = sum(c for _, c in mine)
        used, fair = math.inf, 0.0
        for bundle, cost in mine:
            if used + cost > 1 or used + cost / 2 > fair:
                programs.append([])
                used, fair = 0.0, left / math.ceil(left)
            programs[-1] += bundle
            used, left = used + cost, left - cost
    return programs


def bundled(paths: list[Path]) -> list[list[Path]]:
    """Group paths that add to the same components: one program must own each component."""
    bundles: list[tuple[set[int], list[Path]]] = []
    for path in paths:
        mine: tuple[set[int], list[Path]] = (set(path.targets), [path])
        rest = []
        for bundle in bundles:
            if bundle[0] & mine[0]:
                mine = (bundle[0] | mine[0], bundle[1] + mine[1])
            else:
                rest.append(bundle)
        bundles = (
            [*rest, mine] if len(rest) == len(bundles) else sorted([*rest, mine], key=lambda b: min(b[0]))
        )
    return [b[1] for b in bundles]
