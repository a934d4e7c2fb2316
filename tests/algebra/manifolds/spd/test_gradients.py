"""Derivatives of both orders of every function, reverse and forward; where eigenvalues repeat and points coincide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geomlib.algebra.manifolds.spd import SPD

from .common import COMPLETE, SPACES, space, spd, symmetric


def outputs(s: SPD, P: Tensor, Q: Tensor, V: Tensor, W: Tensor) -> list[Tensor]:
    """Return what every method makes of symmetric parts."""
    P, Q, V, W = ((x + x.mT) / 2 for x in (P, Q, V, W))
    found = [
        s.exp(P, V), s.log(P, Q), s.sqdist(P, Q), s.inner(P, V, W), s.geodesic(P, Q, 0.3), s.logits(P, Q, W),
        s.exp0(V), s.log0(P),
    ]  # fmt: skip
    if s.complete:
        found += [
            s.transport(P, Q, W),
            s.add(P, Q),
            s.neg(P),
            s.scale(P, 0.7),
            s.gyrate(P, Q, Q),
            s.ginner(P, Q),
        ]
    if s.flat:
        found += [s.chart(P), s.unchart(V), s.push(P, V), s.pull(P, V)]
    return found


def paired(function: Callable[..., list[Tensor]]) -> Callable[..., Tensor]:
    """Return one number that sees every output, so that a check costs two evaluations for each input."""

    def one(*args: Tensor) -> Tensor:
        found = function(*args)
        return torch.stack(
            [(x * symmetric(1, x.shape[-1], k)[0] if x.ndim > 2 else x).sum() for k, x in enumerate(found)]
        )

    return one


def checked(function: Callable[..., Tensor], *args: Tensor) -> None:
    given = [x.clone().requires_grad_() for x in args]
    assert gradcheck(function, given, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, given, fast_mode=True)


@pytest.mark.parametrize("name", ["ai", "bw"])
def test_every_function_at_coincident_points(name: str) -> None:
    derivatives(name, "same point")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["generic", "identity", "same point"])
@pytest.mark.parametrize("name", SPACES)
def test_every_function(name: str, where: str) -> None:
    derivatives(name, where)


def derivatives(name: str, where: str) -> None:
    s, n = space(name, 2), 2
    P, Q, V, W = spd(1, n, 10.0, 1), spd(1, n, 10.0, 2), 0.2 * symmetric(1, n, 3), symmetric(1, n, 4)
    if where != "generic":
        V = torch.zeros_like(V)
        P = Q = torch.eye(n, dtype=torch.float64)[None] if where == "identity" else P
    checked(paired(lambda *args: outputs(s, *args)), P, Q, V, W)


@pytest.mark.parametrize("where", ["generic", "coincident"])
@pytest.mark.parametrize("name", ["ai", "bw"])
def test_mean(name: str, where: str) -> None:
    """The derivative of the mean itself, with respect to points and weights, of both orders."""
    s = space(name, 2)
    X = spd(3, 2, 10.0, 5)
    if where == "coincident":
        X = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    checked(lambda X, w: s.mean((X + X.mT) / 2, w), X, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))


def test_mean_against_the_iteration_itself() -> None:
    """The gradient is that of many Karcher steps differentiated one by one."""
    s, X = SPD("ai"), spd(4, 3, 10.0, 6).requires_grad_()
    w = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    G = X.mean(0)
    for _ in range(40):
        G = s.exp(G, (w[:, None, None] * s.log(G, X)).sum(0))
    A = symmetric(1, 3)[0]
    want = torch.autograd.grad((G * A).sum(), X)[0]
    found = torch.autograd.grad((s.mean(X, w) * A).sum(), X)[0]
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_transport_of_bures_wasserstein() -> None:
    s = space("bw", 2)

    def carried(P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        return s.transport(*((x + x.mT) / 2 for x in (P, Q, V)))

    checked(carried, spd(1, 2, 10.0, 1), spd(1, 2, 10.0, 2), symmetric(1, 2))


@pytest.mark.parametrize("name", SPACES)
def test_no_sample_changes_the_gradient_of_another(name: str) -> None:
    """A neighbour of another size in the batch leaves every bit of a gradient as it is."""
    s = space(name)
    P, Q = spd(2, 3, 10.0, 1), spd(2, 3, 10.0, 2)

    def slope(P: Tensor, Q: Tensor) -> Tensor:
        P = P.clone().requires_grad_()
        return torch.autograd.grad(s.sqdist(P, Q).sum() + s.log(P, Q).sum(), P)[0]

    scale = torch.tensor([1.0, 1e6], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(slope(P, Q)[0], slope(scale * P, scale * Q)[0], rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPACES)
def test_distance_at_coincident_points(name: str, dtype: torch.dtype) -> None:
    """Zero, with zero gradients: the squared distance because it is smooth, the distance by its subgradient."""
    s = space(name)
    P = spd(4, 3, 10.0, dtype=dtype).requires_grad_()
    for function in (s.sqdist, s.dist):
        found = function(P, P.detach().clone())
        (slope,) = torch.autograd.grad(found.sum(), P)
        assert float(found.abs().max()) < 100 * torch.finfo(dtype).eps
        assert bool(slope.isfinite().all())
    (slope,) = torch.autograd.grad(s.sqdist(P, P.detach().clone()).sum(), P)
    assert float(slope.abs().max()) < 2000 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", COMPLETE)
def test_norm_and_angle_have_no_pole(name: str) -> None:
    s, one = space(name), torch.eye(3, dtype=torch.float64).requires_grad_()
    for found in (s.gnorm(one), s.gangle(one, one.detach(), spd(1, 3)[0])):
        (slope,) = torch.autograd.grad(found, one)
        assert bool(slope.isfinite().all())
        assert float(found) < 1e-15
