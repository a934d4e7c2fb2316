"""The arithmetic of channel-wise products, written from the sparse table as programs for one thread per channel.

Both kernels are partial contractions of the trilinear form ``F = sum g_k w C_ijk x_i y_j``: :func:`contract` sums over
edges to a node, :func:`pulls` gives every edge the gradients of its weights and of its filter. Each takes several terms,
because gradients of gradients are sums of the same contractions with one argument replaced by its tangent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geomlib.kernels.cuda.program import (
    Array,
    ChannelSum,
    Fma,
    Kernel,
    Load,
    Mul,
    Program,
    Statement,
    Store,
    Writer,
)
from geomlib.kernels.tensor_product.plan import Table

__all__ = ["Budget", "Term", "contract", "pulls"]

#: Names of the arrays multiplied: features, filter, weights. A weight called ``t...`` is the tangent of weights.
Term = tuple[str, str, str]


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
class _Group:
    """Adds to one component: ``out[target] += w * sum over sources of M a[source]``, ``M = sum c y[j]``."""

    target: int
    sources: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]


@dataclass(frozen=True)
class _Path:
    """The components of one path that share a weight; None where it has none."""

    weight: int | None
    channels: int
    groups: tuple[_Group, ...]

    @property
    def targets(self) -> list[int]:
        return [g.target for g in self.groups]

    @property
    def sources(self) -> list[int]:
        return list(dict.fromkeys(a for g in self.groups for a, _ in g.sources))

    @property
    def terms(self) -> int:
        return sum(len(g.sources) for g in self.groups)

    @property
    def entries(self) -> int:
        return sum(len(e) for g in self.groups for _, e in g.sources)


def _paths(table: Table, weights: int) -> list[_Path]:
    """Read the table; weight columns from ``weights`` on hold ones and are not read."""
    entries = list(zip(table.entry_y.tolist(), table.entry_c.tolist(), strict=True))
    terms = [(a, tuple(entries[first:last])) for a, first, last in table.term.tolist()]
    paths: list[_Path] = []
    before: tuple[int, int] | None = None
    for target, weight, channels, first, last in table.group.tolist():
        group = _Group(target, tuple(terms[first:last]))
        if before == (weight, channels) and target not in paths[-1].targets:
            paths[-1] = _Path(paths[-1].weight, channels, (*paths[-1].groups, group))
        else:
            paths.append(_Path(weight if weight < weights else None, channels, (group,)))
        before = weight, channels
    return paths


def _packed(bundles: list[list[_Path]], costs: list[float]) -> list[list[_Path]]:
    """Fill programs of equal channels in order, balanced, at most 1 in each where the bundles allow it."""
    programs: list[list[_Path]] = []
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


def _bundled(paths: list[_Path]) -> list[list[_Path]]:
    """Group paths that add to the same components: one program must own each component."""
    bundles: list[tuple[set[int], list[_Path]]] = []
    for path in paths:
        mine: tuple[set[int], list[_Path]] = (set(path.targets), [path])
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


def contract(
    table: Table, weights: int, terms: Sequence[Term], strides: dict[str, int], out: int, budget: Budget,
    *, shared: bool,
) -> Kernel:  # fmt: skip
    """Return ``out[node] = sum over edges, terms of T(features, filter, weights)``.

    Args:
        table: which components couple, and how.
        weights: number of weight columns that are read.
        terms: what to multiply.
        strides: length of a row of every array.
        out: length of a row of the result.
        budget: what one thread takes on.
        shared: all edges share one row of weights.
    """
    programs = []
    bundles = _bundled(_paths(table, weights))
    filters = len({y for _, y, _ in terms})
    costs = [
        max(
            len({t for p in b for t in p.targets}) / budget.values,
            sum(filters * p.entries + len(terms) * p.terms for p in b) / budget.statements,
        )
        for b in bundles
    ]
    for paths in _packed(bundles, costs):
        writer = Writer()
        targets = list(dict.fromkeys(t for p in paths for t in p.targets))
        sums = {t: f"sum{t}" for t in targets}
        for path in paths:
            _contract_path(writer, path, terms, sums)
        stores = tuple(Store("out", t, sums[t]) for t in targets)
        programs.append(Program(paths[0].channels, 0, tuple(sums.values()), (), tuple(writer.body), stores))
    arrays = (*_inputs(terms, strides, shared=shared), Array("out", "node", out, partial=True))
    return Kernel("contract", arrays, tuple(programs), 0)


def _inputs(terms: Sequence[Term], strides: dict[str, int], *, shared: bool) -> list[Array]:
    arrays: dict[str, Array] = {}
    for a, y, w in terms:
        arrays[a] = Array(a, "other", strides[a])
        if y:
            arrays[y] = Array(y, "edge", strides[y], channels=False)
        if w:
            arrays[w] = Array(w, "one" if shared else "edge", strides[w])
    return list(arrays.values())


def _weight(writer: Writer, path: _Path, name: str) -> str | float | None:
    """Return the weight of a path; None if it is the tangent of a constant."""
    if path.weight is not None:
        return writer.load(name, path.weight)
    return None if name.startswith("t") else 1.0


def _coupling(writer: Writer, filter_name: str, entries: tuple[tuple[int, float], ...]) -> str:
    return writer.weighted(tuple((writer.load(filter_name, j), c) for j, c in entries))


def _contract_path(writer: Writer, path: _Path, terms: Sequence[Term], sums: dict[int, str]) -> None:
    for y in dict.fromkeys(term[1] for term in terms):
        pairs = [(a, _weight(writer, path, w)) for a, f, w in terms if f == y]
        given = [(a, w) for a, w in pairs if w is not None]
        if not given:
            continue
        # Weights go on the side with fewer components; several of them on the features, so that one pass serves all.
        if len(given) > 1 or len(path.sources) <= len(path.groups) or given[0][1] == 1.0:
            for group in path.groups:
                for source, entries in group.sources:
                    m = _coupling(writer, y, entries)
                    writer.accumulate(sums[group.target], m, _mixed(writer, given, source))
        else:
            (a, w), *_ = given
            for group in path.groups:
                found = [(_coupling(writer, y, entries), writer.load(a, s)) for s, entries in group.sources]
                writer.accumulate(sums[group.target], w, writer.add_products(found))


def _mixed(writer: Writer, pairs: Sequence[tuple[str, str | float]], source: int) -> str:
    """Return ``sum w * a[source]``."""
    if len(pairs) == 1 and pairs[0][1] == 1.0:
        return writer.load(pairs[0][0], source)
    return writer.products(tuple((w, writer.load(a, source)) for a, w in pairs))


def pulls(
    table: Table, weights: int, by_weight: Sequence[Term], by_filter: Sequence[Term], strides: dict[str, int],
    budget: Budget, *, shared: bool,
) -> Kernel:  # fmt: skip
    """Return gradients of ``<g, T>`` for every edge: ``gw`` summed over by_weight, ``gy`` over by_filter.

    Args:
        table: as the value reads it.
        weights: number of weight columns with a gradient.
        by_weight: terms (features, filter, "") of the gradient of the weights; none: it is not wanted.
        by_filter: terms (features, "", weights) of the gradient of the filter.
        strides: length of a row of every array.
        budget: what one thread takes on.
        shared: all edges share one row of weights; gw is then summed over the edges of each node.
    """
    every = _paths(table, weights)
    if not by_filter:
        every = [p for p in every if p.weight is not None]
    passes = len(by_weight) + bool(by_filter)
    costs = [
        max((len(p.groups) + shared) / budget.values, passes * (p.entries + p.terms) / budget.statements)
        for p in every
    ]
    programs, slot = [], 0
    for paths in _packed([[p] for p in every], costs):
        programs.append(_pull_program(paths, by_weight, by_filter, slot, shared=shared))
        slot += -(-paths[0].channels // 32)
    arrays = [*_inputs([*by_weight, *by_filter], strides, shared=shared), Array("g", "node", strides["g"])]
    if by_weight:
        arrays.append(Array("gw", "node" if shared else "edge", strides["gw"], partial=shared))
    if by_filter:
        arrays.append(Array("gy", "edge", strides["gy"], channels=False, partial=True))
    return Kernel("pulls", tuple(arrays), tuple(programs), slot if by_filter else 0)


def _pull_program(
    paths: list[_Path], by_weight: Sequence[Term], by_filter: Sequence[Term], slot: int, *, shared: bool
) -> Program:
    writer = Writer()
    targets = list(dict.fromkeys(t for p in paths for t in p.targets))
    gradient = {t: f"g{t}" for t in targets}
    prologue = tuple(Load(gradient[t], "g", t) for t in targets)
    filters: dict[int, str] = {}
    pulled: dict[int, str] = {}
    for path in paths:
        if by_weight and path.weight is not None:
            value = _pull_weight(writer, path, by_weight, gradient)
            if shared:
                pulled[path.weight] = f"sum{path.weight}"
                writer.accumulate(pulled[path.weight], value, 1.0)
            else:
                writer.body.append(Store("gw", path.weight, value))
        if by_filter:
            _pull_filter(writer, path, by_filter, gradient, filters)
    body: list[Statement] = writer.body
    if filters:
        body.append(ChannelSum("gy", tuple(sorted(filters)), tuple(filters[j] for j in sorted(filters))))
    stores = tuple(Store("gw", column, name) for column, name in pulled.items())
    return Program(paths[0].channels, slot, tuple(pulled.values()), prologue, tuple(body), stores)


def _pull_weight(writer: Writer, path: _Path, terms: Sequence[Term], gradient: dict[int, str]) -> str:
    products = []
    for group in path.groups:
        found = [
            (_coupling(writer, y, entries), writer.load(a, s))
            for s, entries in group.sources
            for a, y, _ in terms
        ]
        products.append((gradient[group.target], writer.add_products(found)))
    return writer.add_products(products)


def _pull_filter(
    writer: Writer, path: _Path, terms: Sequence[Term], gradient: dict[int, str], filters: dict[int, str]
) -> None:
    pairs = [(a, _weight(writer, path, w)) for a, _, w in terms]
    given = [(a, w) for a, w in pairs if w is not None]
    if not given:
        return
    for group in path.groups:
        for source, entries in group.sources:
            product = writer.products(((gradient[group.target], _mixed(writer, given, source)),))
            for j, c in entries:
                old, new = filters.get(j), writer.name()
                writer.body.append(Mul(new, c, product) if old is None else Fma(new, c, product, old))
                filters[j] = new
