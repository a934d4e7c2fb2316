"""vmap, forward mode, torch.compile, layouts, empty batches, float32, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.manifolds.grassmann import (
    Grassmann,
    angles,
    block_add,
    block_exp,
    frame_log,
    frame_transport,
    horizontal,
    karcher_mean,
    mean_subspace,
    projector,
    squared_angle,
)
from geomlib.algebra.manifolds.grassmann.hyperplanes import gyro_logits
from tests.algebra.manifolds.grassmann.common import error, frames, pair

FUNCTIONS = {
    "log": frame_log,
    "transport": lambda u, v: frame_transport(u, v, horizontal(u, v)),
    "sqdist": squared_angle,
    "add": block_add,
    "angles": angles,
    "pool": lambda u, v: projector(mean_subspace(torch.stack([u, v, v], -3))),
    "mean": lambda u, v: projector(karcher_mean(torch.stack([u, v], -3), u.new_full((2,), 0.5), 2)),
    "logits": lambda u, v: gyro_logits(
        u.unsqueeze(-3), v[None, :, 2:] * u.new_ones(3, 1, 1, 1), u.new_ones(3, 1, 3, 2)
    ),
}  # fmt: skip


def points() -> tuple[torch.Tensor, torch.Tensor]:
    near = torch.eye(5, 2, dtype=torch.float64)
    return tuple(torch.linalg.qr(near + 0.3 * frames(3, 5, 2, seed=s))[0] for s in (1, 2))  # type: ignore[return-value]


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "logits"])
def test_vmap_and_forward_mode(name):
    function, (U, V) = FUNCTIONS[name], points()
    torch.testing.assert_close(torch.func.vmap(function)(U, V), function(U, V), rtol=1e-12, atol=1e-13)
    if name == "mean":
        return
    dU, dV = (horizontal(x, torch.randn(3, 5, 2, dtype=torch.float64)) for x in (U, V))
    value, forward = torch.func.jvp(function, (U, V), (dU, dV))
    cotangent = torch.randn_like(value)
    u, v = U.clone().requires_grad_(), V.clone().requires_grad_()
    gu, gv = torch.autograd.grad(function(u, v), (u, v), cotangent)
    assert abs(float((forward * cotangent).sum() - (gu * dU).sum() - (gv * dV).sum())) < 1e-11


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) for n in ("log", "sqdist", "mean", "logits")] + ["pool"]
)
def test_compiled(name):
    function = FUNCTIONS[name]
    U, V = (x.requires_grad_() for x in points())
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    want, found = function(U, V[:1] if name == "logits" else V), compiled(U, V[:1] if name == "logits" else V)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-13)
    first, second = (torch.autograd.grad(x.sin().sum(), (U, V)) for x in (want, found))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("view", ["onb", "proj"])
def test_layouts_sizes_and_types(view):
    space, (U, V) = Grassmann(5, 2, view), points()
    P, Q = (U, V) if view == "onb" else (projector(U), projector(V))

    def mean(a, b):
        found = space.mean(torch.stack([a, b], -3))
        return projector(found) if view == "onb" else found

    calls = [space.log, space.sqdist, space.add, space.principal_angles, mean]
    for call in calls:
        want = call(P, Q)
        assert error(call(P.mT.contiguous().mT, Q[:, None].expand(3, 2, *Q.shape[1:])[:, 0]), want) < 1e-13
        assert call(P[:0], Q[:0]).shape == want[:0].shape
        assert error(call(P[1], Q[1]), want[1]) < 1e-13
        low = call(P.float(), Q.float())
        assert low.dtype == torch.float32 and error(low.double(), want) < 3e-6
    many = space.log(P[:1].expand(20000, *P.shape[1:]), Q[:1].expand(20000, *Q.shape[1:]))
    assert error(many, space.log(P[:1], Q[:1]).expand_as(many)) < 1e-13


def test_a_pair_is_alone_in_its_batch():
    U, V = pair(torch.tensor([[0.3, 0.2], [math.pi / 2, 0.1]], dtype=torch.float64), 6)
    together = frame_log(U, V)
    torch.testing.assert_close(frame_log(U[0], V[0]), together[0], rtol=1e-13, atol=1e-14)


def test_what_is_no_point_or_tangent_is_refused():
    space, (U, V) = Grassmann(5, 2), points()
    bad = U.clone()
    bad[1] *= 1.1
    for call, match in (
        (lambda: space.log(bad, V), r"matrix \[1\].*`P`.*orthonormal.*qr"),
        (lambda: space.log(U, V * torch.nan), r"matrix \[0\].*`Q`"),
        (lambda: space.log(U.mT, V), r"`P` has shape \(3, 2, 5\), expected \(\.\.\., 5, 2\)"),
        (lambda: space.dist(U, V.long()), "torch.int64"),
        (lambda: space.exp(U, U), r"`V` is not tangent.*horizontal"),
        (lambda: Grassmann(5, 2, "proj").dist(U @ U.mT, 2 * V @ V.mT), r"`Q` is not a projector of rank 2"),
        (lambda: Grassmann(5, 3, "proj").add(U @ U.mT, V @ V.mT), "rank 3"),
        (lambda: Grassmann(2, 2), "0 < p < n"),
        (lambda: Grassmann(5, 2, "basis"), "view='basis', expected 'onb' or 'proj'"),
        (lambda: Grassmann(5, 2, cut="raise"), "cut='raise'"),
        (lambda: Grassmann(5, 2, scale=0.0), "scale=0.0"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()


def test_the_cut_locus_is_refused_where_that_is_asked():
    theta = torch.tensor([[0.3, 0.2], [math.pi / 2, 0.1]], dtype=torch.float64)
    U, V = pair(theta, 6)
    strict = Grassmann(6, 2, cut="error")
    assert strict.log(U[:1], V[:1]).isfinite().all()
    for call in (
        strict.log,
        lambda a, b: strict.geodesic(a, b, 0.5),
        lambda a, b: strict.transport(a, b, 0 * a),
    ):
        with pytest.raises(InvalidInput, match=r"matrix \[1\].*cut locus.*cut='any'"):
            call(U, V)
    with pytest.raises(InvalidInput, match="cut locus"):
        strict.neg(torch.eye(6, dtype=torch.float64)[:, 1:3])
    assert error(strict.dist(U, V), theta.norm(dim=-1)) < 1e-14  # distances need no direction
    far = Grassmann(6, 2).log(U, V)
    assert error(far.norm(dim=(-2, -1)), theta.norm(dim=-1)) < 1e-14


def test_means_that_are_not_unique_are_refused():
    U = torch.eye(4, dtype=torch.float64)
    with pytest.raises(InvalidInput, match="not separated"):
        Grassmann(4, 2).mean(torch.stack([U[:, :2], U[:, 2:]]))


def test_huge_tangents():
    """Many turns, and then an error rather than numbers without digits."""
    space, U = Grassmann(3, 1), torch.eye(3, 1, dtype=torch.float64)
    D = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    for turns in (1, 20, 150):
        end = space.exp(U, 2 * math.pi * turns * D)
        assert error(projector(end), projector(U)) < 1e-13 * turns
    assert error(block_exp(1e3 * D[1:]).mT @ block_exp(1e3 * D[1:]), torch.eye(1)) < 1e-9
    with pytest.raises(InvalidInput, match="Scale the tangent down"):
        space.exp(U, 1e6 * D)
