"""Gradients that every edge gets in one pass: of its weights, of its filter, and its share of the gradient of the features.

All three need ``t_i = sum_k M_ik g_k`` or the products ``g_k x_i``, with the node's gradient g in registers.
"""

from __future__ import annotations

from geomlib.kernels.cuda.program import Array, ChannelSum, Fma, Kernel, Load, Mul, Program, Store, Writer
from geomlib.kernels.tensor_product.cuda_paths import Budget, Path, packed, paths_of
from geomlib.kernels.tensor_product.cuda_programs import Term, coupling, gather, inputs, mixed, weight_of
from geomlib.kernels.tensor_product.plan import Table

__all__ = ["pulls"]


def pulls(
    table: Table, weights: int, terms: tuple[tuple[Term, ...], tuple[Term, ...], tuple[Term, ...]],
    strides: dict[str, int], budget: Budget, *, shared: bool,
) -> tuple[Kernel, Kernel | None]:  # fmt: skip
    """Return gradients of ``<g, T>`` for every edge, and what adds up those of the features by sender.

    The gradient of the features is left as one message per edge, ``m``. Where every component of it comes from one program a
    message is laid out as a row of features.

    Args:
        table: as the value reads it.
        weights: number of weight columns with a gradient.
        terms: of the gradients of the weights (features, filter, ""), of the filter (features, "", weights), and of the
            features ("", filter, weights); none where it is not wanted.
        strides: length of a row of every array.
        budget: what one thread takes on.
        shared: all edges share one row of weights; their gradient is then summed over the edges of each node.
    """
    by_weight, by_filter, by_feature = terms
    every = sorted(paths_of(table, weights), key=lambda p: min(p.sources))
    if not by_filter and not by_feature:
        every = [p for p in every if p.weight is not None]
    passes = len({y for _, y, _ in (*by_weight, *by_feature)}) + bool(by_filter)
    costs = [
        max((len(p.groups) + shared) / budget.values, passes * (p.entries + p.terms) / budget.statements)
        for p in every
    ]
    shares = packed([[p] for p in every], costs)
    width, columns = _message_columns(shares, strides["a"]) if by_feature else (0, [{} for _ in shares])
    programs, slot = [], 0
    for paths, places in zip(shares, columns, strict=True):
        programs.append(_Pull(paths, terms, slot, places, shared=shared).program())
        slot += -(-paths[0].channels // 32)
    arrays = [*inputs([t for kind in terms for t in kind], strides, shared=shared)]
    arrays.append(Array("g", "node", strides["g"]))
    if by_weight:
        arrays.append(Array("gw", "node" if shared else "edge", strides["gw"], partial=shared))
    if by_filter:
        arrays.append(Array("gy", "edge", strides["gy"], channels=False, partial=True))
    if not by_feature:
        return Kernel("pulls", tuple(arrays), tuple(programs), slot if by_filter else 0), None
    arrays.append(Array("m", "edge", width, partial=True))
    kernel = Kernel("pulls", tuple(arrays), tuple(programs), slot if by_filter else 0)
    found: dict[int, tuple[int, list[int]]] = {}
    for paths, places in zip(shares, columns, strict=True):
        for component, column in places.items():
            found.setdefault(component, (paths[0].channels, []))[1].append(column)
    return kernel, gather(found, width, strides["a"])


def _message_columns(shares: list[list[Path]], width: int) -> tuple[int, list[dict[int, int]]]:
    """Return the length of a message, and by program the column of every component it adds to."""
    touched = [sorted({s for p in paths for s in p.sources}) for paths in shares]
    if len({s for one in touched for s in one}) == sum(map(len, touched)):
        return width, [{s: s for s in one} for one in touched]
    columns: list[dict[int, int]] = []
    free = 0
    for paths, one in zip(shares, touched, strict=True):
        size = paths[0].channels
        columns.append({s: free + k * size for k, s in enumerate(one)})
        free += len(one) * size
    return free, columns


class _Pull:
    """Writes one program."""

    def __init__(
        self, paths: list[Path], terms: tuple[tuple[Term, ...], tuple[Term, ...], tuple[Term, ...]], slot: int,
        places: dict[int, int], *, shared: bool,
    ) -> None:  # fmt: skip
        self.paths, self.slot, self.places, self.shared = paths, slot, places, shared
        self.by_weight, self.by_filter, self.by_feature = terms
        self.writer = Writer()
        self.gradient = {t: f"g{t}" for t in dict.fromkeys(t for p in paths for t in p.targets)}
        self.filters: dict[int, str] = {}
        self.features: dict[int, str] = {}
        self.pulled: dict[int, str] = {}

    def program(self) -> Program:
        """Return it."""
        for path in self.paths:
            self._features_and_weights(path)
            if self.by_filter:
                self._filter(path)
        body = self.writer.body
        body += [Store("m", self.places[s], value) for s, value in self.features.items()]
        if self.filters:
            order = sorted(self.filters)
            body.append(ChannelSum("gy", tuple(order), tuple(self.filters[j] for j in order)))
        stores = tuple(Store("gw", column, name) for column, name in self.pulled.items())
        prologue = tuple(Load(name, "g", t) for t, name in self.gradient.items())
        sums = tuple(self.pulled.values())
        return Program(self.paths[0].channels, self.slot, sums, prologue, tuple(body), stores)

    def _features_and_weights(self, path: Path) -> None:
        """Add ``w t_i`` to the features' gradient, and store ``sum_i a_i t_i``."""
        writer = self.writer
        by_weight = self.by_weight if path.weight is not None else ()
        by_feature = [(y, weight_of(writer, path, w)) for _, y, w in self.by_feature]
        by_feature = [(y, w) for y, w in by_feature if w is not None]
        read = dict.fromkeys([*(y for _, y, _ in by_weight), *(y for y, _ in by_feature)])
        pulled = {y: self._pulled(path, y) for y in read}
        for y, w in by_feature:
            for source, t in pulled[y].items():
                self._add(self.features, source, w, t)
        if not by_weight or path.weight is None:
            return
        value = writer.add_products(
            [(writer.load(a, s), t) for a, y, _ in by_weight for s, t in pulled[y].items()]
        )
        if self.shared:
            self.pulled[path.weight] = f"sum{path.weight}"
            writer.accumulate(self.pulled[path.weight], value, 1.0)
        else:
            writer.body.append(Store("gw", path.weight, value))

    def _pulled(self, path: Path, y: str) -> dict[int, str]:
        """Return ``t_i = sum_k M_ik g_k`` for every source i."""
        pairs: dict[int, list[tuple[str, str]]] = {}
        for group in path.groups:
            for source, entries in group.sources:
                m = coupling(self.writer, y, entries)
                pairs.setdefault(source, []).append((m, self.gradient[group.target]))
        return {source: self.writer.add_products(found) for source, found in pairs.items()}

    def _filter(self, path: Path) -> None:
        """Add ``c g_k (sum w a_i)`` to the gradient of the filter."""
        pairs = [(a, weight_of(self.writer, path, w)) for a, _, w in self.by_filter]
        given = [(a, w) for a, w in pairs if w is not None]
        if not given:
            return
        for group in path.groups:
            for source, entries in group.sources:
                mix = mixed(self.writer, given, source)
                product = self.writer.products(((self.gradient[group.target], mix),))
                for j, c in entries:
                    self._add(self.filters, j, c, product)

    def _add(self, to: dict[int, str], place: int, factor: str | float, value: str) -> None:
        old, new = to.get(place), self.writer.name()
        self.writer.body.append(Mul(new, factor, value) if old is None else Fma(new, factor, value, old))
        to[place] = new
