r"""How much of the equivariant maps of one graph small bilabelled graphs span."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, permutations
from math import comb, factorial

import torch
from torch import Tensor

from geomlib.algebra.diagrams.bilabelled import BilabelledGraph, homomorphism_matrix
from geomlib.algebra.diagrams.dimensions import orders
from geomlib.algebra.diagrams.modular import PRIME, independent_rows
from geomlib.algebra.diagrams.partitions import set_partitions, stirling
from geomlib.errors import InvalidInput

__all__ = ["bilabelled_graphs", "independent_graphs", "span_dimension"]

#: Sets of edges that are looked at without being asked twice.
LIMIT = 2**20


def bilabelled_graphs(k: int, l: int, vertices: int, *, limit: int = LIMIT) -> list[BilabelledGraph]:
    """Return all bilabelled graphs with k inputs, l outputs and at most so many vertices, one of each isomorphism class.

    Simple graphs; those with a part that no label reaches are left out, since it only multiplies by a number. Order:
    number of vertices, labels by growth string, number of edges, edges. The first ones are the diagrams of S_n.

    Args:
        k: number of inputs.
        l: number of outputs.
        vertices: most vertices.
        limit: most sets of edges to look at.

    Raises:
        InvalidInput: more sets of edges than ``limit``; the message says how many.

    >>> bilabelled_graphs(1, 1, 2)
    [H[1: no edges; [0] -> [0]], H[2: 0-1; [0] -> [0]], H[2: no edges; [1] -> [0]], H[2: 0-1; [1] -> [0]]]
    """
    m = orders(k, l)
    work = sum(
        stirling(m, t) * 2 ** comb(v, 2) * factorial(v - t) for v in range(vertices + 1) for t in range(v + 1)
    )
    if work > limit:
        raise InvalidInput(
            f"bilabelled_graphs: {k} -> {l} with {vertices} vertices: {work:,} sets of edges and orders to look at, about "
            f"{work * 1e-6:.3g} s and {work * 2e-7:.3g} GB; the limit is {limit:,}. Lower `vertices`, or raise `limit`."
        )
    found: list[BilabelledGraph] = []
    for v in range(vertices + 1):
        for labels in set_partitions(m):
            t = max(labels, default=-1) + 1
            if t <= v:
                # Labels first: vertices without a label come last, with more of them after fewer labels.
                found += [BilabelledGraph(v, e, labels[:l], labels[l:]) for e in _edge_sets(v, t)]
    return found


@lru_cache(maxsize=64)
def _edge_sets(v: int, t: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return the graphs on v vertices, up to orders of those from t, in which every vertex reaches one before t."""
    pairs = list(combinations(range(v), 2))
    bit = {pair: 1 << i for i, pair in enumerate(pairs)}
    moved = [
        [bit[min(p[a], p[b]), max(p[a], p[b])] for a, b in pairs]
        for p in ([*range(t), *q] for q in permutations(range(t, v)))
    ]
    kept: list[tuple[tuple[int, int], ...]] = []
    for mask in sorted(range(1 << len(pairs)), key=lambda s: (s.bit_count(), s)):
        bits = [i for i in range(len(pairs)) if mask >> i & 1]
        edges = tuple(pairs[i] for i in bits)
        if _anchored(edges, v, t) and all(sum(to[i] for i in bits) >= mask for to in moved):
            kept.append(edges)
    return tuple(kept)


def _anchored(edges: Sequence[tuple[int, int]], v: int, t: int) -> bool:
    reached, size = set(range(t)), -1
    while len(reached) > size:
        size = len(reached)
        for a, b in edges:
            if a in reached or b in reached:
                reached |= {a, b}
    return size == v


def independent_graphs(graphs: Sequence[BilabelledGraph], adjacency: Tensor) -> list[int]:
    """Return the numbers of graphs whose counts on G are independent, the first ones where there is a choice.

    Elimination modulo the prime 2^31 - 1: what is independent there is independent. The other way round, counts that happen
    to be dependent modulo the prime only would be missed, so the number is a lower bound that is all but always the rank.

    Args:
        graphs: with the same number of inputs and of outputs.
        adjacency: (n, n) of whole numbers.

    Raises:
        InvalidInput: entries that are no whole numbers, or counts too large to be exact.
    """
    a = adjacency.detach().cpu().double()
    if not torch.equal(a, a.round()):
        raise InvalidInput("independent_graphs: `adjacency` has entries that are not whole numbers.")
    rows: list[Tensor] = []
    for graph in graphs:
        counts = homomorphism_matrix(graph, a).flatten()
        if counts.numel() and float(counts.abs().max()) >= 2.0**53:
            raise InvalidInput(f"independent_graphs: counts of {graph} exceed 2^53. Use fewer vertices.")
        rows.append(counts.to(torch.int64) % PRIME)
    return independent_rows(torch.unique(torch.stack(rows), dim=1).numpy()) if rows else []


def span_dimension(graphs: Sequence[BilabelledGraph], adjacency: Tensor) -> int:
    """Return the dimension of what the counts of these graphs on G span; see `independent_graphs`.

    Args:
        graphs: with the same number of inputs and of outputs.
        adjacency: (n, n) of whole numbers.

    Raises:
        InvalidInput: entries that are no whole numbers, or counts too large to be exact.

    >>> path = torch.diag(torch.ones(3), 1) + torch.diag(torch.ones(3), -1)
    >>> span_dimension(bilabelled_graphs(1, 1, 3), path), span_dimension(bilabelled_graphs(1, 1, 4), path)
    (8, 8)
    """
    return len(independent_graphs(graphs, adjacency))
