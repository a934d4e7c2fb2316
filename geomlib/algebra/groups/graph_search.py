r"""The automorphisms of a graph, by colour refinement and search.

Two partial labellings are refined side by side: a node's colour becomes its colour together with the multiset of
(label there, label back, colour) over all nodes, until nothing splits. Histograms that differ refute the branch;
a discrete colouring is an automorphism, which is checked before it is returned.

>>> sorted(len(level) for level in graph_chain(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])).levels)
[1, 1, 2]
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from geomlib.algebra.groups.chains import Chain, Perm

__all__ = ["graph_chain"]

Ints: TypeAlias = "NDArray[np.int64]"


def graph_chain(labels: Ints) -> Chain:  # (N, N)
    r"""Return the automorphism group: permutations with ``labels[p[i], p[j]] == labels[i, j]``.

    Args:
        labels: (N, N) integer labels of the pairs, 0 for no edge; the diagonal labels the nodes.
    """
    n = len(labels)
    e: Perm = tuple(range(n))
    labels = np.unique(labels, return_inverse=True)[1].reshape(n, n).astype(np.int64)
    strong: list[Perm] = []
    levels: list[dict[int, Perm]] = [{i: e} for i in range(n)]
    cells = _cells(labels)
    for i in reversed(range(len(cells))):
        levels[i] = _orbit(i, strong, e)
        refuted = set[int]()
        for j in range(i + 1, n):
            if j in levels[i] or j in refuted or cells[i][i] != cells[i][j]:
                continue
            fixed = [(k, k) for k in range(i)]
            p = _swapped(labels, i, j) or _search(labels, [*fixed, (i, j)])
            if p is None:
                refuted |= set(_orbit(j, strong, e))
            else:
                strong.append(p)
                levels[i] = _orbit(i, strong, e)
    return Chain(tuple(levels))


def _cells(labels: Ints) -> list[Ints]:
    """Return, level by level, the colouring refined with 0, ..., i - 1 fixed, up to the first discrete one."""
    n, found = len(labels), list[Ints]()
    colours = np.zeros(n, dtype=np.int64)
    for i in range(n):
        refined = _refined(labels, [colours])
        colours = colours if refined is None else refined[0]
        if len(np.unique(colours)) == n:
            break
        found.append(colours)
        colours = colours.copy()
        colours[i] = n
    return found


def _orbit(point: int, generators: list[Perm], e: Perm) -> dict[int, Perm]:
    """Return the images of a point, each with a permutation that takes the point there."""
    found, queue = {point: e}, [point]
    while queue:
        at = queue.pop()
        for g in generators:
            if g[at] not in found:
                u = found[at]
                found[g[at]] = tuple(g[k] for k in u)
                queue.append(g[at])
    return found


def _swapped(labels: Ints, i: int, j: int) -> Perm | None:
    """Return the transposition of two nodes if it is an automorphism: twins, found without a search."""
    p = np.arange(len(labels))
    p[[i, j]] = p[[j, i]]
    return tuple(p.tolist()) if np.array_equal(labels[np.ix_(p, p)], labels) else None


def _search(labels: Ints, pairs: list[tuple[int, int]]) -> Perm | None:
    """Return an automorphism that takes the first of every pair to the second, or None."""
    n = len(labels)
    source, target = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for colour, (a, b) in enumerate(pairs, start=1):
        source[a] = target[b] = colour
    return _complete(labels, source, target)


def _complete(labels: Ints, source: Ints, target: Ints) -> Perm | None:
    refined = _refined(labels, [source, target])
    if refined is None:
        return None
    source, target = refined
    cells, sizes = np.unique(source, return_counts=True)
    open_cells = cells[sizes > 1]
    if not len(open_cells):
        image = np.empty(len(labels), dtype=np.int64)
        image[np.argsort(source)] = np.argsort(target)
        return tuple(image.tolist()) if np.array_equal(labels[np.ix_(image, image)], labels) else None
    fresh = int(cells.max()) + 1
    v = int(np.flatnonzero(source == open_cells[0])[0])
    for w in np.flatnonzero(target == open_cells[0]).tolist():
        a, b = source.copy(), target.copy()
        a[v] = b[w] = fresh
        found = _complete(labels, a, b)
        if found is not None:
            return found
    return None


def _refined(labels: Ints, colours: list[Ints]) -> list[Ints] | None:
    """Return the coarsest stable refinements in common names, or None where their histograms differ."""
    if not len(labels):
        return colours
    count = -1
    while True:
        names = np.unique(
            np.concatenate([_signatures(labels, c) for c in colours]), axis=0, return_inverse=True
        )[1]
        new = np.split(names.reshape(-1).astype(np.int64), len(colours))
        histograms = [np.bincount(c, minlength=int(names.max()) + 1) for c in new]
        if any(not np.array_equal(h, histograms[0]) for h in histograms[1:]):
            return None
        cells = int((histograms[0] > 0).sum())
        if cells == count:
            return new
        count, colours = cells, new


def _signatures(labels: Ints, colours: Ints) -> Ints:  # (N, N + 2)
    """Return one row per node: its colour, its own label, and what it sees, sorted."""
    names = int(labels.max()) + 1
    # Colours stay below twice the number of nodes, so that the codes mean the same in both labellings.
    seen = (labels * names + labels.T) * (2 * len(labels) + 2) + colours
    return np.concatenate([colours[:, None], np.diagonal(labels)[:, None], np.sort(seen, axis=1)], 1)
