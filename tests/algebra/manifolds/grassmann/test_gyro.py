"""The axioms of a gyrocommutative gyrovector space, in both views; how far the loop property holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.algebra.manifolds.grassmann import Grassmann, block, block_add, block_exp, projector
from geomlib.testing import assert_gyrogroup
from tests.algebra.manifolds.grassmann.common import error, omega

SIZES = st.sampled_from([(2, 1), (3, 1), (5, 2), (6, 4), (8, 3)])


def points(n: int, p: int, view: str, seed: int, length: float) -> list[torch.Tensor]:
    """Return three points within a third of the way to the cut locus of the identity, so that sums have logarithms."""
    g = torch.Generator().manual_seed(seed)
    B = torch.randn(3, 4, n - p, p, generator=g, dtype=torch.float64)
    shrink = torch.tensor([1.0, 0.7, 0.5], dtype=torch.float64)[
        :, None, None, None
    ]  # no two points are equal
    U = block_exp(length * shrink * B / torch.linalg.matrix_norm(B, 2)[..., None, None])
    return list(U if view == "onb" else projector(U))


@given(SIZES, st.sampled_from(["onb", "proj"]), st.integers(0, 10**6), st.sampled_from([1e-3, 0.1, 0.5]))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_axioms(size, view, seed, length):
    n, p = size
    space = Grassmann(n, p, view)
    a, b, c = points(n, p, view, seed, length)
    seen = projector if view == "onb" else _same
    # Errors are relative to short distances; the loop property holds too, since sums stay short of the cut locus.
    assert_gyrogroup(space, (a, b, c), view=seen, kappa=1 / length)
    assert error(seen(space.add(space.origin(a), a)), seen(a)) < 1e-13
    direct = space.add(space.neg(space.add(a, b)), space.add(a, space.add(b, c)))
    assert error(seen(space.gyrate(a, b, c)), seen(direct)) < 1e-12


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


@pytest.mark.parametrize("view", ["onb", "proj"])
def test_gyrodistance_is_the_distance(view):
    space = Grassmann(6, 2, view)
    a, b, _ = points(6, 2, view, 0, 0.6)
    difference = space.add(space.neg(a), b)
    assert error(space.ginner(difference, difference).sqrt(), space.dist(a, b)) < 1e-13


def test_gyrations_are_rotations_that_keep_the_identity():
    space = Grassmann(5, 2)
    a, b, _ = points(5, 2, "onb", 3, 0.7)
    F = space.gyration(a, b)
    assert error(F.mT @ F, torch.eye(5)) < 1e-14
    assert error(F[..., 2:, :2], torch.zeros(3, 2)) < 1e-13
    dense = [torch.linalg.matrix_exp(omega(block(x))) for x in (block_add(a, b), a, b)]
    assert error(F, dense[0].mT @ dense[1] @ dense[2]) < 1e-13


def test_the_loop_property_ends_at_the_cut_locus():
    """It holds for short steps, as in every symmetric space; beyond, a + b is reached by another geodesic, and it fails."""
    space = Grassmann(6, 3)
    far = tuple(points(6, 3, "onb", 0, 1.4))
    assert_gyrogroup(space, far, loop=False, view=projector)
    with pytest.raises(AssertionError, match="loop"):
        assert_gyrogroup(space, far, view=projector)
