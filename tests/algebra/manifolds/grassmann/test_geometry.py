"""Geodesics, distances, transport and means: dense references, identities, symmetries."""

from __future__ import annotations

import math

import pytest
import torch

from geomlib.algebra.manifolds.grassmann import (
    Grassmann,
    block,
    block_exp,
    block_rotate,
    frame_exp,
    frame_log,
    frame_transport,
    horizontal,
    mean_subspace,
    projector,
)
from tests.algebra.manifolds.grassmann.common import error, frames, omega, pair

SIZES = [(2, 1), (5, 2), (5, 4), (9, 4)]
sizes = pytest.mark.parametrize(("n", "p"), SIZES)


@sizes
@pytest.mark.parametrize("length", [1e-9, 0.3, 3.0, 40.0])
def test_low_rank_rotation_is_the_dense_exponential(n, p, length):
    B = length * torch.randn(4, n - p, p, dtype=torch.float64)
    dense, U = torch.linalg.matrix_exp(omega(B)), frames(4, n, p)
    bound = 1e-14 * max(1.0, float(B.square().sum((-2, -1)).max()))
    assert error(block_rotate(B, U), dense @ U) < bound
    assert error(block_rotate(B, U, inverse=True), dense.mT @ U) < bound
    assert error(block_exp(B), dense[..., :p]) < bound
    eye = torch.eye(n, dtype=torch.float64)
    assert error(block_rotate(B, eye).mT @ block_rotate(B, eye), eye) < bound


@sizes
def test_round_trips_and_lengths(n, p):
    space, U, V = Grassmann(n, p), frames(20, n, p), frames(20, n, p, seed=1)
    D = space.log(U, V)
    assert error(U.mT @ D, torch.zeros(p, p)) < 1e-14
    assert error(projector(space.exp(U, D)), projector(V)) < 1e-13
    assert error(space.dist(U, V), space.inner(U, D, D).sqrt()) < 1e-13
    assert error(space.dist(U, V), space.principal_angles(U, V).norm(dim=-1)) < 1e-13
    assert error(space.dist(U, V), space.dist(V, U)) < 1e-13
    short = D * (0.4 * math.pi / D.norm(dim=(-2, -1), keepdim=True)).clamp(
        max=1.0
    )  # within the injectivity radius
    assert error(space.log(U, space.exp(U, short)), short) < 1e-12
    assert bool(space.same_subspace(space.exp(U, D), V).all())
    assert bool(
        space.same_subspace(space.exp(U, space.log(U, U)), U, 1e-14).all()
    )  # a tangent of rounding alone
    assert not bool(space.same_subspace(U, V).any())
    W = frames(20, n, p, seed=2)
    assert bool((space.dist(U, W) <= space.dist(U, V) + space.dist(V, W) + 1e-13).all())
    t = torch.linspace(0, 1, 20, dtype=torch.float64)
    assert error(space.dist(U, space.geodesic(U, V, t)), t * space.dist(U, V)) < 1e-13


@sizes
def test_block_is_the_logarithm_at_the_first_coordinates(n, p):
    U = frames(20, n, p)
    origin = torch.eye(n, p, dtype=torch.float64)
    assert error(block(U), frame_log(origin, U)[..., p:, :]) < 1e-14
    assert error(projector(block_exp(block(U))), projector(U)) < 1e-13


def test_transport():
    n, p = 7, 3
    U, V = frames(10, n, p), frames(10, n, p, seed=1)
    D, E = (horizontal(U, torch.randn(10, n, p, dtype=torch.float64)) for _ in range(2))
    moved, other = frame_transport(U, V, D), frame_transport(U, V, E)
    assert error(V.mT @ moved, torch.zeros(p, p)) < 1e-13
    assert error((moved * other).sum((-2, -1)), (D * E).sum((-2, -1))) < 1e-12
    assert error(frame_transport(V, U, moved), D) < 1e-12
    assert error(frame_transport(U, V, D + 2 * E), moved + 2 * other) < 1e-12
    # The rotation along the geodesic, written out.
    L = frame_log(U, V)
    turn = torch.linalg.matrix_exp(L @ U.mT - U @ L.mT)
    lifted = turn @ (D @ U.mT) @ turn.mT
    assert error(moved @ V.mT, lifted) < 1e-12


@sizes
@pytest.mark.parametrize("view", ["onb", "proj"])
def test_turned_spaces_and_other_frames(n, p, view):
    """O(n) acts on points and tangents; O(p) changes frames and nothing else."""
    space, q = Grassmann(n, p, view), frames(n, n, seed=5)
    U, V = frames(6, n, p), frames(6, n, p, seed=1)
    r, s = frames(6, p, p, seed=2), frames(6, p, p, seed=3)
    if view == "proj":
        P, Q, turned = projector(U), projector(V), [q @ projector(x) @ q.T for x in (U, V)]
        assert error(space.log(*turned), q @ space.log(P, Q) @ q.T) < 1e-12
        assert error(space.dist(*turned), space.dist(P, Q)) < 1e-12
        return
    D = space.log(U, V)
    assert error(space.log(q @ U, q @ V), q @ D) < 1e-12
    assert error(space.log(U, V @ s), D) < 1e-12
    assert error(space.log(U @ r, V @ s), D @ r) < 1e-12
    assert error(space.dist(U @ r, V @ s), space.dist(U, V)) < 1e-12
    assert error(projector(space.exp(U @ r, D @ r)), projector(space.exp(U, D))) < 1e-12
    E = horizontal(U, frames(6, n, p, seed=7))
    carried = space.transport(U, V, E)
    assert error(space.transport(U @ r, V @ s, E @ r), carried @ s) < 1e-11
    for name in ("add", "ginner"):
        found, want = getattr(space, name)(U @ r, V @ s), getattr(space, name)(U, V)
        assert error(*(projector(x) if name == "add" else x for x in (found, want))) < 1e-12


def test_views_agree():
    frame, proj = Grassmann(6, 2), Grassmann(6, 2, "proj")
    U, V, W = (frames(5, 6, 2, seed=k) for k in range(3))
    P, Q, R = map(projector, (U, V, W))
    assert error(projector(frame.geodesic(U, V, 0.3)), proj.geodesic(P, Q, 0.3)) < 1e-12
    assert error(projector(frame.gyrate(U, V, W)), proj.gyrate(P, Q, R)) < 1e-12
    F = frame.gyration(U, V)
    assert error(F, proj.gyration(P, Q)) < 1e-12 and error(F @ F.mT, torch.eye(6)) < 1e-13
    points = projector(frame_exp(U, 0.3 * frame_log(U, V)))
    stacked, lifted = torch.stack([P, points], -3), torch.stack([U, frame_exp(U, 0.3 * frame_log(U, V))], -3)
    assert error(proj.mean(stacked), projector(frame.mean(lifted))) < 1e-12
    assert torch.equal(frame.origin(U), torch.eye(6, 2).double())


@pytest.mark.parametrize(("n", "p", "spread"), [(6, 2, 0.3), (5, 3, 0.2), (3, 1, 0.6)])
def test_mean(n, p, spread):
    space, g = Grassmann(n, p), torch.Generator().manual_seed(0)
    noise = spread * torch.randn(3, 9, n, p, generator=g, dtype=torch.float64)
    points = torch.linalg.qr(frames(n, p) + noise)[0]
    weights = torch.rand(3, 9, generator=g, dtype=torch.float64)
    M = space.mean(points, weights, iters=60)

    def cost(x):
        return (weights * space.sqdist(x.unsqueeze(-3).expand_as(points), points)).sum(-1)

    normed = weights / weights.sum(-1, keepdim=True)
    gradient = (normed[..., None, None] * space.log(M.unsqueeze(-3).expand_as(points), points)).sum(-3)
    assert float(gradient.abs().max()) < 1e-13
    for seed in range(3):
        step = horizontal(M, torch.randn(M.shape, generator=g, dtype=torch.float64))
        assert bool((cost(space.exp(M, 1e-2 * step)) > cost(M)).all()), seed
    q = frames(n, n, seed=4)
    assert error(projector(space.mean(q @ points, weights, iters=60)), q @ projector(M) @ q.T) < 1e-12
    assert error(projector(space.mean(points[:, :1], iters=3)), projector(points[:, 0])) < 1e-13
    two = torch.stack([points[:, 0], points[:, 1]], -3)
    middle = space.geodesic(points[:, 0], points[:, 1], 0.5)
    assert error(projector(space.mean(two)), projector(middle)) < 1e-12


def test_mean_subspace_from_products_of_frames():
    """Few frames in a large space use the small matrix of products; the result is that of the mean projector."""
    U = frames(3, 2, 9, 2)
    for p in (1, 2, 3):
        w, v = torch.linalg.eigh(projector(U).mean(-3))
        assert bool((w[..., -p] - w[..., -p - 1] > 1e-3).all())
        assert error(projector(mean_subspace(U, p)), projector(v[..., -p:])) < 1e-12


@pytest.mark.parametrize(
    "angle", [0.0, 1e-12, 1e-6, 1e-3, math.pi / 2 - 1e-3, math.pi / 2 - 1e-9, math.pi / 2]
)
@pytest.mark.parametrize("others", [[0.4], [0.4, 0.4]])
def test_every_angle(angle, others):
    """One angle from 0 to 90 degrees beside ordinary ones: distance, norm and end of the geodesic."""
    want = torch.tensor([angle, *others], dtype=torch.float64)
    U, V = pair(want, 8)
    space = Grassmann(8, len(want))
    assert error(space.principal_angles(U, V), want.sort()[0]) < 3e-15
    assert abs(float(space.dist(U, V) - want.norm())) < 2e-15
    D = space.log(U, V)
    assert error(torch.linalg.svdvals(D), want.sort(descending=True)[0]) < 1e-14
    if angle < math.pi / 2:
        assert error(projector(space.exp(U, D)), projector(V)) < 1e-14
    else:  # on the cut locus: one of the two ends of the direction
        assert bool(space.same_subspace(space.exp(U, D), V, 1e-13))
