"""First and second derivatives of every operation, at coincident subspaces, equal angles and on the cut locus."""

from __future__ import annotations

import math

import pytest
import torch

from geomlib.algebra.manifolds.grassmann import (
    Grassmann,
    angles,
    block,
    block_add,
    block_exp,
    block_rotate,
    dominant_frame,
    frame_exp,
    frame_log,
    frame_transport,
    horizontal,
    karcher_mean,
    mean_subspace,
    projector,
    squared_angle,
)
from geomlib.algebra.manifolds.grassmann.hyperplanes import gyro_logits
from tests.algebra.manifolds.grassmann.common import error, frames, orthonormal, pair

SPACE = Grassmann(5, 2)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

OPERATIONS = {
    "exp": lambda u, v: projector(frame_exp(u, horizontal(u, v))),
    "log": frame_log,
    "transport": lambda u, v: frame_transport(u, v, horizontal(u, torch.arange(10.0).view(5, 2).double())),
    "sqdist": squared_angle,
    "block": lambda u, v: block(u) + block(v),
    "add": block_add,
    "scale": lambda u, v: projector(block_exp(0.7 * block(u))) + projector(v),
    "gyrate": lambda u, v: SPACE.gyrate(u, v, torch.eye(5, 2).double()),
    "mean": lambda u, v: projector(
        karcher_mean(torch.stack([u, v, frames(5, 2, seed=9) * 0.1 + u * 0.9]), WEIGHTS, 3)
    ),
    "mean_subspace": lambda u, v: projector(mean_subspace(torch.stack([u, 0.5 * v]))),
    "dominant_frame": lambda u, v: projector(dominant_frame(projector(u) + 0.3 * projector(v), 2)),
    "logits": lambda u, v: gyro_logits(u[None], 0.3 * frames(2, 1, 3, 2, seed=4), frames(2, 1, 3, 2, seed=5)),
}


def places() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return pairs of frames: generic, the same twice, equal angles, and close to 90 degrees."""
    near = torch.eye(5, 2, dtype=torch.float64)
    U = torch.linalg.qr(near + 0.3 * frames(5, 2, seed=1))[0]
    found = {"generic": (U, torch.linalg.qr(near + 0.4 * frames(5, 2, seed=2))[0]), "same": (U, U.clone())}
    for name, theta in {"equal": [0.7, 0.7], "steep": [1.5, 0.2]}.items():
        a, b = pair(torch.tensor(theta, dtype=torch.float64), 5, seed=6)
        found[name] = (a, b)
    return {name: (a.clone(), b.clone()) for name, (a, b) in found.items()}


CASES = [
    (o, p) for o in OPERATIONS for p in ("generic", "same", "equal", "steep") if o != "mean" or p == "same"
]


@pytest.mark.parametrize(("operation", "place"), CASES)
def test_first_and_second_derivatives(operation, place):
    """The frames are made of free matrices, so that finite differences stay on the manifold."""
    U, V = (x.requires_grad_() for x in places()[place])

    def call(a, b):
        return OPERATIONS[operation](orthonormal(a), orthonormal(b))

    assert torch.autograd.gradcheck(call, (U, V), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (U, V), fast_mode=True, atol=1e-4)


def test_log_at_coincident_subspaces_is_the_horizontal_projection():
    U = frames(4, 6, 2)
    E = torch.randn(4, 6, 2, dtype=torch.float64)
    _, change = torch.func.jvp(lambda v: frame_log(U, v), (U,), (E,))
    assert error(change, horizontal(U, E)) < 2e-15
    _, change = torch.func.jvp(lambda v: block_exp(block(v)), (torch.eye(6, 2).double(),), (E[0],))
    assert error(change[2:], E[0, 2:]) < 2e-15


def test_distances_of_coincident_subspaces():
    U = frames(4, 6, 2).requires_grad_()
    V = U.detach().clone().requires_grad_()
    for value in (squared_angle(U, V).sum(), Grassmann(6, 2).dist(U, V).sum(), angles(U, V).sum()):
        assert float(value.detach()) < 1e-14
        for g in torch.autograd.grad(value, (U, V)):
            assert bool(g.isfinite().all()) and float(g.norm(dim=(-2, -1)).max()) < 2.0
    (g,) = torch.autograd.grad(squared_angle(U, V).sum(), U)
    assert float(g.abs().max()) < 1e-14
    exact = torch.eye(3, 1, dtype=torch.float64).requires_grad_()
    (g,) = torch.autograd.grad(Grassmann(3, 1).dist(exact, exact.detach()).sum(), exact)
    assert torch.equal(g, torch.zeros_like(g))


def test_projectors_and_their_eigenvalues_that_coincide():
    """Gradients with respect to a projector, whose eigenvalues are 1 and 0 many times over."""
    space = Grassmann(4, 2, "proj")
    P, Q = (projector(frames(4, 2, seed=k)).requires_grad_() for k in range(2))

    def call(a, b):
        a, b = 0.5 * (a + a.mT), 0.5 * (b + b.mT)
        return torch.stack([space.log(a, b), space.geodesic(a, b, 0.4), space.add(a, space.neg(b))])

    assert torch.autograd.gradcheck(call, (P, Q), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (P, Q), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("steep", [[math.pi / 2, 0.3, 0.1], [math.pi / 2] * 2 + [0.2]])
def test_derivatives_on_the_cut_locus_are_finite(steep):
    U, V = (x.clone().requires_grad_() for x in pair(torch.tensor(steep, dtype=torch.float64), 7))
    for value in (
        squared_angle(U, V),
        frame_log(U, V).square().sum(),
        block_rotate(block(U[3:]), V[3:]).sum(),
    ):
        for g in torch.autograd.grad(value, (U, V), allow_unused=True):
            assert g is not None and bool(g.isfinite().all())
    (g,) = torch.autograd.grad(squared_angle(U, V), U)
    assert error(g, -2 * frame_log(U, V)) < 1e-14


def test_derivative_of_the_converged_mean():
    """The steps carry the derivative of the point they converge to: it agrees with differences of means found without them."""
    U = torch.linalg.qr(torch.eye(4, 2).double() + 0.3 * torch.randn(3, 4, 2, dtype=torch.float64))[0]
    E, G = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    space, h = Grassmann(4, 2), 1e-4

    def score(t):
        return (G * projector(space.mean(orthonormal(U + t * E), WEIGHTS, iters=40))).sum()

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((G * projector(space.mean(orthonormal(U + t * E), WEIGHTS))).sum(), t)
    with torch.no_grad():
        ahead = [float(score(k * h)) for k in (-2, -1, 1, 2)]
    difference = (ahead[0] - 8 * ahead[1] + 8 * ahead[2] - ahead[3]) / (12 * h)
    assert abs(float(slope) - difference) < 1e-8


def test_angles():
    """Single angles where they differ; symmetric functions of them where they coincide."""
    U, V = (x.clone().requires_grad_() for x in pair(torch.tensor([0.3, 0.9, 1.2], dtype=torch.float64), 7))

    def call(a, b):
        return angles(orthonormal(a), orthonormal(b))

    assert torch.autograd.gradcheck(call, (U, V), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (U, V), fast_mode=True, atol=1e-4)
    U, V = (x.clone().requires_grad_() for x in pair(torch.tensor([0.8, 0.8, 0.8], dtype=torch.float64), 7))
    assert torch.autograd.gradcheck(
        lambda a, b: angles(orthonormal(a), orthonormal(b)).cos().prod(-1), (U, V), fast_mode=True
    )


def test_third_order():
    """One order more than training on gradients of gradients needs."""
    B = 0.3 * torch.randn(2, 2, dtype=torch.float64)

    def third(x):
        value = block_rotate(x, block_exp(x * x)).sum()
        for _ in range(2):
            (grad,) = torch.autograd.grad(value, x, create_graph=True)
            value = grad.square().sum()
        return value

    assert torch.autograd.gradcheck(third, B.requires_grad_(), fast_mode=True)
