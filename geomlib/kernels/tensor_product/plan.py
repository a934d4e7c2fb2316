"""The sparse table of a channel-wise product, in the order the loops read it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps import wigner_3j
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.edge_index import check_edge_range

__all__ = ["Plan", "Rows", "Table", "TableBuilder", "plan_of"]


@dataclass(frozen=True, eq=False)
class Table:
    """Groups of terms that add to one component of the output, and their entries."""

    group: np.ndarray  # (G, 5)
    term: np.ndarray  # (T, 3)
    entry_y: np.ndarray  # (R,)
    entry_c: np.ndarray  # (R,) float64


@dataclass(frozen=True, eq=False)
class Plan:
    """Tables of the value and of the gradient with respect to the features.

    Args:
        spec: the product, all paths of mode ``uvu``.
        forward: adds to the output.
        backward: adds to the gradient of the first input.
        channels: largest multiplicity.
    """

    spec: ProductSpec
    forward: Table
    backward: Table
    channels: int


@dataclass(frozen=True, eq=False)
class Rows:
    """Which rows meet: edge q reads row ``a_row[q]`` of the features and adds to the output row that owns it.

    The lists are grouped by output row; those with ``_t`` by feature row.
    """

    start: np.ndarray
    a_row: np.ndarray
    e_row: np.ndarray
    w_row: np.ndarray
    n_row: np.ndarray
    start_t: np.ndarray
    n_row_t: np.ndarray
    e_row_t: np.ndarray
    w_row_t: np.ndarray
    num_out: int
    num_in: int
    lazy: bool = False  # every row is read once

    def check(self, edges: int, num_in: int, num_out: int, *, shared_weights: bool) -> None:
        """Check that the edges belong to tensors of these sizes: the loops read without asking.

        Raises:
            InvalidInput: they were grouped for another graph, or for weights of another shape.
        """
        found = len(self.a_row), self.num_in, self.num_out
        if found != (edges, num_in, num_out):
            raise InvalidInput(
                f"rows: grouped for {found[0]} edges from {found[1]} to {found[2]} nodes, the tensors have {edges}, {num_in} "
                f"and {num_out}. Group the edges of this graph."
            )
        if edges > 1 and shared_weights == bool(self.w_row.any()):
            what = "one row of weights" if shared_weights else "a row of weights per edge"
            raise InvalidInput(f"rows: there is {what}. Group with shared_weights={shared_weights}.")

    @staticmethod
    def pairwise(rows: int, *, shared_weights: bool) -> Rows:
        """Return row b with row b."""
        start, each = np.arange(rows + 1), np.arange(rows)
        w = np.zeros(rows, dtype=np.int64) if shared_weights else each
        return Rows(start, each, each, w, each, start, each, each, w, rows, rows, lazy=True)

    @staticmethod
    def edges(sender: Tensor, receiver: Tensor, num_in: int, num_out: int, *, shared_weights: bool) -> Rows:
        """Return the edges of a graph, in any order.

        Raises:
            InvalidInput: an index out of range.
        """
        check_edge_range(torch.stack([sender, receiver]), num_in, num_out)
        send, receive = sender.numpy(), receiver.numpy()
        start, order = _grouped(receive, num_out)
        start_t, order_t = _grouped(send, num_in)
        w, w_t = (np.zeros_like(order), np.zeros_like(order)) if shared_weights else (order, order_t)
        return Rows(
            start,
            send[order],
            order,
            w,
            receive[order],
            start_t,
            receive[order_t],
            order_t,
            w_t,
            num_out,
            num_in,
        )


def _grouped(owner: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=count), out=start[1:])
    return start, np.argsort(owner, kind="stable")


@functools.lru_cache(maxsize=256)
def plan_of(spec: ProductSpec) -> Plan | None:
    """Return the plan of a product, or None if it is not channel-wise (mode ``uvu`` throughout)."""
    if any(p.mode != "uvu" for p in spec.paths):
        return None
    one, two, out = spec.irreps_in1, spec.irreps_in2, spec.irreps_out
    starts1, starts2, starts3 = ([s.start for s in r.slices()] for r in (one, two, out))
    forward, backward = TableBuilder(), TableBuilder()
    for path, part in zip(spec.paths, spec.weight_slices, strict=True):
        mul, l1, l2, l3 = one[path.first].mul, one[path.first].ir.l, two[path.second].ir.l, out[path.out].ir.l
        if not mul:
            continue
        tensor = path.coefficient * wigner_3j(l1, l2, l3).numpy()
        a = [starts1[path.first] + i * mul for i in range(2 * l1 + 1)]
        o = [starts3[path.out] + k * mul for k in range(2 * l3 + 1)]
        for v in range(two[path.second].mul):
            w = part.start + v * mul if path.weighted else spec.weight_numel
            j = starts2[path.second] + v * (2 * l2 + 1)
            forward.add(tensor.transpose(2, 0, 1), o, a, j, w, mul)
            backward.add(tensor.transpose(0, 2, 1), a, o, j, w, mul)
    channels = max((b.mul for b in one), default=0)
    return Plan(spec, forward.table(), backward.table(), channels)


class TableBuilder:
    """Collects groups: rows of (target, source, y) tensors."""

    def __init__(self) -> None:
        self.group: list[tuple[int, ...]] = []
        self.term: list[tuple[int, ...]] = []
        self.entry: list[tuple[int, float]] = []

    def add(
        self, tensor: np.ndarray, target: Sequence[int], source: Sequence[int], y: int, weight: int, size: int
    ) -> None:
        """Add one path; ``tensor`` (target, source, component of y)."""
        tiny = 1e-12 * np.abs(tensor).max()
        for k, o in enumerate(target):
            first = len(self.term)
            for i, a in enumerate(source):
                found = [(y + j, float(c)) for j, c in enumerate(tensor[k, i]) if abs(c) > tiny]
                if found:
                    self.term.append((a, len(self.entry), len(self.entry) + len(found)))
                    self.entry += found
            if len(self.term) > first:
                self.group.append((o, weight, size, first, len(self.term)))

    def table(self) -> Table:
        """Return the arrays."""
        entry_y, entry_c = zip(*self.entry, strict=True) if self.entry else ((), ())
        return Table(
            np.array(self.group, dtype=np.int64).reshape(-1, 5),
            np.array(self.term, dtype=np.int64).reshape(-1, 3),
            np.array(entry_y, dtype=np.int64),
            np.array(entry_c, dtype=np.float64),
        )
