"""Sums over the edges of a node, written from the sparse table as programs for one thread per channel.

Products, and their gradients with respect to features, are partial contractions of the trilinear form
``F = sum g_k w C_ijk x_i y_j``. Each takes several terms, because gradients of gradients are sums of the same contractions
with one argument replaced by its tangent.
"""

from __future__ import annotations

from collections.abc import Sequence

from geomlib.kernels.cuda.program import Array, Kernel, Program, Store, Writer
from geomlib.kernels.tensor_product.cuda_paths import Budget, Path, bundled, packed, paths_of
from geomlib.kernels.tensor_product.plan import Table

__all__ = ["Term", "contract", "coupling", "gather", "inputs", "mixed", "weight_of"]

#: Names of the arrays multiplied: features, filter, weights. A weight called ``t...`` is the tangent of weights.
Term = tuple[str, str, str]

#: Sums a thread holds where it only adds.
GATHERED = 32


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
    bundles = bundled(paths_of(table, weights))
    filters = len({y for _, y, _ in terms})
    costs = [
        max(
            len({t for p in b for t in p.targets}) / budget.values,
            sum(filters * p.entries + len(terms) * p.terms for p in b) / budget.statements,
        )
        for b in bundles
    ]
    for paths in packed(bundles, costs):
        writer = Writer()
        targets = list(dict.fromkeys(t for p in paths for t in p.targets))
        sums = {t: f"sum{t}" for t in targets}
        for path in paths:
            _contract_path(writer, path, terms, sums)
        stores = tuple(Store("out", t, sums[t]) for t in targets)
        programs.append(Program(paths[0].channels, 0, tuple(sums.values()), (), tuple(writer.body), stores))
    arrays = (*inputs(terms, strides, shared=shared), Array("out", "node", out, partial=True))
    return Kernel("contract", arrays, tuple(programs), 0)


def inputs(terms: Sequence[Term], strides: dict[str, int], *, shared: bool) -> list[Array]:
    """Return the arrays that terms read."""
    arrays: dict[str, Array] = {}
    for a, y, w in terms:
        if a:
            arrays[a] = Array(a, "other", strides[a])
        if y:
            arrays[y] = Array(y, "edge", strides[y], channels=False)
        if w:
            arrays[w] = Array(w, "one" if shared else "edge", strides[w])
    return list(arrays.values())


def weight_of(writer: Writer, path: Path, name: str) -> str | float | None:
    """Return the weight of a path; None if it is the tangent of a constant."""
    if path.weight is not None:
        return writer.load(name, path.weight)
    return None if name.startswith("t") else 1.0


def coupling(writer: Writer, filter_name: str, entries: tuple[tuple[int, float], ...]) -> str:
    """Return ``sum c * filter[j]``."""
    return writer.weighted(tuple((writer.load(filter_name, j), c) for j, c in entries))


def _contract_path(writer: Writer, path: Path, terms: Sequence[Term], sums: dict[int, str]) -> None:
    for y in dict.fromkeys(term[1] for term in terms):
        pairs = [(a, weight_of(writer, path, w)) for a, f, w in terms if f == y]
        given = [(a, w) for a, w in pairs if w is not None]
        if not given:
            continue
        # Weights go on the side with fewer components; several of them on the features, so that one pass serves all.
        if len(given) > 1 or len(path.sources) <= len(path.groups) or given[0][1] == 1.0:
            for group in path.groups:
                for source, entries in group.sources:
                    m = coupling(writer, y, entries)
                    writer.accumulate(sums[group.target], m, mixed(writer, given, source))
        else:
            (a, w), *_ = given
            for group in path.groups:
                found = [(coupling(writer, y, entries), writer.load(a, s)) for s, entries in group.sources]
                writer.accumulate(sums[group.target], w, writer.add_products(found))


def mixed(writer: Writer, pairs: Sequence[tuple[str, str | float]], source: int) -> str:
    """Return ``sum w * a[source]``."""
    if len(pairs) == 1 and pairs[0][1] == 1.0:
        return writer.load(pairs[0][0], source)
    return writer.products(tuple((w, writer.load(a, source)) for a, w in pairs))


def gather(columns: dict[int, tuple[int, list[int]]], stride: int, out: int) -> Kernel:
    """Return ``out[node] = sum over edges of messages``.

    Args:
        columns: by component of the output: its channels, and the columns of the messages that add to it.
        stride: length of a row of messages.
        out: length of a row of the result.
    """
    programs = []
    for channels in dict.fromkeys(size for size, _ in columns.values()):
        mine = [(c, places) for c, (size, places) in columns.items() if size == channels]
        for first in range(0, len(mine), GATHERED):
            writer, stores = Writer(), []
            for component, places in mine[first : first + GATHERED]:
                for place in places:
                    writer.accumulate(f"sum{component}", writer.load("m", place), 1.0)
                stores.append(Store("out", component, f"sum{component}"))
            names = tuple(s.value for s in stores)
            programs.append(Program(channels, 0, names, (), tuple(writer.body), tuple(stores)))
    arrays = Array("m", "edge", stride, partial=True), Array("out", "node", out, partial=True)
    return Kernel("gather", arrays, tuple(programs), 0)
