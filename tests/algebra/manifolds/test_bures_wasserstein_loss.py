"""The Bures-Wasserstein loss: fixture, closed gradient, minimum by Adam, every rank, smoothing, transforms, misuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from geomlib import InvalidInput
from geomlib.algebra.manifolds.bures_wasserstein_loss import bures_wasserstein_loss, nuclear_norm
from geomlib.layers.bures_wasserstein_loss import BuresWassersteinLoss


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spd(*shape: int, seed: int = 1) -> Tensor:
    a = draw(*shape, seed=seed)
    return a @ a.mT + 0.2 * torch.eye(shape[-1], dtype=torch.float64)


def symmetric(W: Tensor, S: Tensor) -> Tensor:
    return bures_wasserstein_loss(W, 0.5 * (S + S.mT))


@pytest.fixture
def case(data: Path) -> dict[str, Tensor]:
    with np.load(data / "manifolds" / "bw_loss.npz") as found:
        return {name: torch.from_numpy(np.asarray(found[name])) for name in found.files}


def test_fixture(case: dict[str, Tensor]) -> None:
    W = case["W"].clone().requires_grad_()
    loss = bures_wasserstein_loss(W, case["Sigma"])
    (grad,) = torch.autograd.grad(loss, W)
    torch.testing.assert_close(loss.detach(), case["loss"], rtol=1e-13, atol=0)
    torch.testing.assert_close(grad, case["grad"], rtol=1e-12, atol=1e-13)


def test_float32(case: dict[str, Tensor]) -> None:
    W = case["W"].float().requires_grad_()
    loss = bures_wasserstein_loss(W, case["Sigma"].float())
    loss.backward()
    torch.testing.assert_close(loss.detach().double(), case["loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(W.grad.double(), case["grad"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("start", "tau"), [("given", 0.0), ("one direction", 0.0), ("zero", 1e-8)])
def test_adam_reaches_the_minimum(case: dict[str, Tensor], start: str, tau: float) -> None:
    """From the fixture's factor, from one of rank one to rounding, and smoothed from almost zero."""
    W = {
        "given": case["W"],
        "one direction": draw(6, 1) @ draw(1, 3, seed=5) + 1e-12 * draw(6, 3, seed=6),
        "zero": 1e-3 * draw(6, 3),
    }[start]
    W = W.clone().requires_grad_()
    optimizer = torch.optim.Adam([W], 0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    for _ in range(300):
        optimizer.zero_grad()
        bures_wasserstein_loss(W, case["Sigma"], tau).backward()
        optimizer.step()
        schedule.step()
    found = float(bures_wasserstein_loss(W.detach(), case["Sigma"]))
    assert found == pytest.approx(float(case["min_rank3"]), rel=1e-5)
    assert found >= float(case["min_rank3"]) * (1 - 1e-12)


def test_is_the_distance() -> None:
    W, S = draw(3, 4, 6), spd(3, 4, 4)
    for k in range(3):
        root = scipy.linalg.sqrtm(S[k].numpy())
        middle = scipy.linalg.sqrtm(root @ (W[k] @ W[k].T).numpy() @ root)
        want = float(W[k].square().sum()) + float(S[k].trace()) - 2 * np.trace(middle).real
        assert float(bures_wasserstein_loss(W, S)[k]) == pytest.approx(want, rel=1e-10)
    # a square root of the target is at distance zero, whatever the rotation
    exact = torch.linalg.cholesky(S)
    assert float(bures_wasserstein_loss(exact, S).abs().max()) < 1e-13


@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (3, 5), (4, 1), (1, 3)])
def test_gradients_of_two_orders(shape: tuple[int, int]) -> None:
    W, S = draw(*shape).requires_grad_(), spd(shape[0], shape[0]).requires_grad_()
    assert torch.autograd.gradcheck(symmetric, (W, S))
    assert torch.autograd.gradgradcheck(symmetric, (W, S))
    for tau in (0.3,):

        def smooth(W: Tensor, S: Tensor, tau: float = tau) -> Tensor:
            return bures_wasserstein_loss(W, 0.5 * (S + S.mT), tau)

        assert torch.autograd.gradcheck(smooth, (W, S)) and torch.autograd.gradgradcheck(smooth, (W, S))


def test_repeated_singular_values() -> None:
    """W = a frame and the identity as target: all singular values are one."""
    W = torch.linalg.qr(draw(4, 3))[0].requires_grad_()
    S = torch.eye(4, dtype=torch.float64)
    (grad,) = torch.autograd.grad(bures_wasserstein_loss(W, S), W, create_graph=True)
    assert float(grad.detach().abs().max()) < 1e-14
    assert torch.autograd.gradcheck(nuclear_norm, (W,)) and torch.autograd.gradgradcheck(nuclear_norm, (W,))


def test_factors_of_lower_rank() -> None:
    """Along the stratum the gradient is the derivative; the loss falls on both sides of it."""
    u, c, S = draw(5, 1), draw(1, 3, seed=2), spd(5, 5)
    W = (u @ c).requires_grad_()
    (grad,) = torch.autograd.grad(bures_wasserstein_loss(W, S), W)
    assert bool(grad.isfinite().all())
    h = 1e-6
    for du, dc in ((draw(5, 1, seed=3), torch.zeros_like(c)), (torch.zeros_like(u), draw(1, 3, seed=4))):
        up, down = (u + h * du) @ (c + h * dc), (u - h * du) @ (c - h * dc)
        slope = float(bures_wasserstein_loss(up, S) - bures_wasserstein_loss(down, S)) / (2 * h)
        assert float((grad * (up - down)).sum()) / (2 * h) == pytest.approx(slope, rel=1e-7)
    across = draw(5, 3, seed=7)
    across -= u @ (u.T @ across) / (u.T @ u)
    across -= across @ c.T @ c / (c @ c.T)
    level = float(bures_wasserstein_loss(W, S).detach())
    for sign in (1, -1):
        assert float(bures_wasserstein_loss(W.detach() + sign * 1e-4 * across, S)) < level - 1e-6
    zero = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    loss = bures_wasserstein_loss(zero, S)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(S.trace())) and not zero.grad.any()


def test_smoothing() -> None:
    """The root with tau inside, by scipy; it bounds the loss from below by 2 n sqrt(tau), and is smooth at zero."""
    W, S, tau = draw(4, 2), spd(4, 4), 0.05
    root = scipy.linalg.sqrtm(S.numpy())
    middle = scipy.linalg.sqrtm(root @ (W @ W.T).numpy() @ root + tau * np.eye(4))
    want = float(W.square().sum() + S.trace()) - 2 * np.trace(middle).real
    found = float(bures_wasserstein_loss(W, S, tau))
    assert found == pytest.approx(want, rel=1e-12)
    exact = float(bures_wasserstein_loss(W, S))
    assert exact - 2 * 4 * tau**0.5 <= found <= exact
    wide = draw(3, 5)
    root = scipy.linalg.sqrtm(spd(3, 3).numpy())
    middle = scipy.linalg.sqrtm(root @ (wide @ wide.T).numpy() @ root + tau * np.eye(3))
    want = float(wide.square().sum() + spd(3, 3).trace()) - 2 * np.trace(middle).real
    assert float(bures_wasserstein_loss(wide, spd(3, 3), tau)) == pytest.approx(want, rel=1e-12)
    zero = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda W: bures_wasserstein_loss(W, S, tau), zero)


def test_samples_do_not_see_each_other() -> None:
    W, S = draw(3, 4, 2), spd(3, 4, 4)
    big = torch.cat([W, 1e6 * draw(1, 4, 2)]).requires_grad_()
    small = W.clone().requires_grad_()
    bures_wasserstein_loss(big, torch.cat([S, spd(1, 4, 4)])).sum().backward()
    bures_wasserstein_loss(small, S).sum().backward()
    assert torch.equal(big.grad[:3], small.grad)


def test_transforms() -> None:
    W, S = draw(3, 4, 2), spd(3, 4, 4)
    want = bures_wasserstein_loss(W, S)
    torch.testing.assert_close(torch.func.vmap(bures_wasserstein_loss)(W, S), want)
    one = torch.func.vmap(torch.func.grad(bures_wasserstein_loss))(W, S)
    compiled = torch.compile(bures_wasserstein_loss, fullgraph=True, backend="aot_eager")
    w = W.clone().requires_grad_()
    compiled(w, S).sum().backward()
    torch.testing.assert_close(w.grad, one)
    w = W.mT.contiguous().mT.requires_grad_()
    bures_wasserstein_loss(w, S).sum().backward()
    torch.testing.assert_close(w.grad, one)
    assert bures_wasserstein_loss(W[:0], S[:0]).shape == (0,)
    w = draw(3, 2).requires_grad_()
    (a,) = torch.autograd.grad(nuclear_norm(w), w, create_graph=True)
    (b,) = torch.autograd.grad(a.square().sum() + a[0, 0], w, create_graph=True)
    for y in (b.sum(), (b * w).sum()):
        with pytest.raises(RuntimeError, match="third derivatives"):  # an error, not a wrong number
            torch.autograd.grad(y, w, retain_graph=True)


def test_a_small_tau_in_float32() -> None:
    """It was lost beside the Gram matrix, and columns that are equal raised an error."""
    W = draw(10, 4).repeat(1, 2).float()
    S = 4 * torch.eye(10)
    for tau in (1e-6, 1e-8):
        found = bures_wasserstein_loss(W, S, tau)
        torch.testing.assert_close(
            found, bures_wasserstein_loss(W.double(), S.double(), tau).float(), rtol=1e-5, atol=1e-5
        )


def test_module_and_misuse() -> None:
    W, S = draw(3, 4, 2), spd(3, 4, 4)
    each = BuresWassersteinLoss(reduction="none")(W, S)
    torch.testing.assert_close(BuresWassersteinLoss()(W, S), each.mean())
    torch.testing.assert_close(BuresWassersteinLoss(reduction="sum")(W, S), each.sum())
    assert "tau=0.5" in repr(BuresWassersteinLoss(0.5))
    bad = S.clone()
    bad[1] -= 20 * torch.eye(4)
    for call, match in (
        (lambda: BuresWassersteinLoss(reduction="avg"), "reduction='avg'"),
        (lambda: BuresWassersteinLoss(-1.0), "tau=-1.0"),
        (lambda: bures_wasserstein_loss(W, S, -1.0), "tau=-1.0"),
        (
            lambda: bures_wasserstein_loss(W[:, :3], S),
            r"\(3, 3, 2\), expected torch.float64 of shape \(\.\.\., 4, r\)",
        ),
        (lambda: bures_wasserstein_loss(W.float(), S), "float32"),
        (lambda: bures_wasserstein_loss(W, S[..., :2]), "square"),
        (lambda: bures_wasserstein_loss(W, bad), "`Sigma` is not positive definite"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()
