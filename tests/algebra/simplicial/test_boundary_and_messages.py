"""Boundary maps square to zero and have the known homology; messages are those of the definition."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.algebra.simplicial import from_simplices, hull_complex, to_message_graph, vietoris_rips
from tests.algebra.simplicial import brute

SURFACES = {
    # The boundary of a tetrahedron, the torus of seven vertices and the projective plane of six.
    "sphere": (4, [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)], (1, 0, 1)),
    "torus": (7, [t for i in range(7) for t in ((i, (i + 1) % 7, (i + 3) % 7), (i, (i + 2) % 7, (i + 3) % 7))], (1, 2, 1)),
    "plane": (
        6,
        [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5), (0, 1, 5), (1, 2, 4), (2, 3, 5), (1, 3, 4), (2, 4, 5), (1, 3, 5)],
        (1, 0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACES)
def test_homology_of_surfaces(name):
    points, triangles, betti = SURFACES[name]
    complex = from_simplices(torch.tensor([0, points]), triangles=torch.tensor(triangles).T)
    assert bool((torch.bincount(complex.sides().flatten()) == 2).all())  # closed surfaces
    one, two = complex.boundary(1).to_dense(), complex.boundary(2).to_dense()
    assert (one @ two).abs().max() == 0
    ranks = int(torch.linalg.matrix_rank(one)), int(torch.linalg.matrix_rank(two))
    edges, faces = complex.edges.shape[1], complex.triangles.shape[1]
    assert (points - ranks[0], edges - sum(ranks), faces - ranks[1]) == betti


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.floats(0, 4), st.integers(0, 10**6))
def test_boundary_of_a_boundary(points, distance, seed):
    complex = vietoris_rips(brute.random_cloud(seed, 2, points, 3), distance)
    one, two = complex.boundary(1), complex.boundary(2, torch.float32)
    assert one.dtype == torch.float64 and two.dtype == torch.float32
    one, two = one.to_dense(), two.to_dense().double()
    assert not (one @ two).any()
    assert bool((one.abs().sum(0) == 2).all()) and bool((two.abs().sum(0) == 3).all())
    assert torch.equal((one == 1).nonzero()[:, 0].sort().values, complex.edges[1].sort().values)


def test_messages_are_the_definition():
    x = brute.random_cloud(2, 8, 5)
    complex = hull_complex(x)
    edges, triangles = (sorted(s) for s in brute.sets(complex))
    found = brute.named(complex, to_message_graph(complex))
    assert Counter(found) == Counter(brute.messages(8, edges, triangles))
    sparse = brute.named(complex, to_message_graph(complex, complete=False))
    near = [m for m in brute.messages(8, edges, triangles) if len(m[0]) + len(m[1]) > 2]
    near += [((a,), (b,)) for a, b in edges] + [((b,), (a,)) for a, b in edges]
    assert Counter(sparse) == Counter(near)


def test_size_of_the_papers_hulls():
    """About 83 simplices and 770 messages for eight normal points in five dimensions, with the repetitions of the code."""
    complex = hull_complex(brute.random_cloud(0, 256, 8, 5))
    simplices = (complex.num_points + complex.edges.shape[1] + complex.triangles.shape[1]) / 256
    messages = to_message_graph(complex, legacy_duplicates=True).shape[1] / 256
    assert 78 < simplices < 86 and 710 < messages < 800
