"""Complexes by definition, slowly: sets of tuples."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.simplicial import SimplicialComplex


def tuples(simplices: Tensor) -> set[tuple[int, ...]]:
    return {tuple(column) for column in simplices.T.tolist()}


def sets(complex: SimplicialComplex) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    return tuples(complex.edges), tuples(complex.triangles)


def cliques(points: int, edges: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {t for t in combinations(range(points), 3) if all(pair in edges for pair in combinations(t, 2))}


def rips(x: np.ndarray, distance: float) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    n = len(x)
    edges = {(i, j) for i, j in combinations(range(n), 2) if np.linalg.norm(x[i] - x[j]) <= distance}
    return edges, cliques(n, edges)


def hull(x: np.ndarray) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Facets are the sets of d points whose plane leaves all others on one side; the plane comes from an SVD."""
    n, d = x.shape
    edges, triangles = set(), set()
    for facet in combinations(range(n), d):
        corner = x[list(facet)]
        normal = np.linalg.svd(corner[1:] - corner[0])[2][-1]
        height = (np.delete(x, facet, 0) - corner[0]) @ normal
        if (height > 0).all() or (height < 0).all():
            edges |= set(combinations(facet, 2))
            triangles |= set(combinations(facet, 3))
    return edges, triangles


def messages(
    n: int, edges: list[tuple[int, ...]], triangles: list[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All pairs (source, target) of simplices that exchange messages, as tuples of vertices."""
    found = [((a,), (b,)) for a, b in permutations(range(n), 2)]
    for small, large in [*product([(v,) for v in range(n)], edges), *product(edges, triangles)]:
        if set(small) <= set(large):
            found += [(small, large), (large, small)]
    for triangle in triangles:
        found += list(permutations(combinations(triangle, 2), 2))
    return found


def named(complex: SimplicialComplex, edge_index: Tensor) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Messages with simplices written as tuples of vertices."""
    names = [(v,) for v in range(complex.num_points)]
    names += [tuple(c) for c in complex.edges.T.tolist()] + [tuple(c) for c in complex.triangles.T.tolist()]
    return [(names[a], names[b]) for a, b in edge_index.T.tolist()]


def random_cloud(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
