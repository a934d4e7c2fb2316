"""Root pairs, Lyapunov equations, polar factors, projectors and eigenvalues: equations, oracles, derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.spectral import (
    flag_projectors,
    lyapunov,
    polar,
    spectrum,
    sym_sqrt_pair,
    symfun,
    top_projector,
)
from tests.algebra.manifolds.spectral.common import (
    SPECTRA,
    generator,
    load,
    relative,
    symmetric,
    with_spectra,
)


def differentiates(fn: Callable[..., Tensor], *args: Tensor) -> None:
    inputs = tuple(a.clone().requires_grad_() for a in args)
    assert gradcheck(fn, inputs, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(fn, inputs, check_fwd_over_rev=True, fast_mode=True)


def transforms(fn: Callable[..., Tensor], *args: Tensor) -> None:
    looped = torch.stack([fn(*row) for row in zip(*args, strict=True)])
    assert torch.allclose(torch.func.vmap(fn)(*args), looped, atol=1e-13)
    leaves = tuple(a.clone().requires_grad_() for a in args)
    compiled = torch.compile(fn, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*leaves).square().sum(), leaves)
    wanted = torch.autograd.grad(fn(*leaves).square().sum(), leaves)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, wanted, strict=True))


def test_root_pair() -> None:
    A = with_spectra(SPECTRA)
    root, inverse = sym_sqrt_pair(A)
    assert relative(root @ root, A) < 1e-14
    assert relative(root @ inverse, torch.eye(3).expand(4, 3, 3)) < 1e-14
    assert torch.allclose(root, symfun(A, "sqrt"), atol=1e-14)
    differentiates(lambda x: torch.stack(sym_sqrt_pair(x)), A)


def test_lyapunov() -> None:
    P, V = with_spectra(SPECTRA), torch.randn(4, 3, 3, generator=generator(1), dtype=torch.float64)
    X = lyapunov(P, V)
    assert relative(P @ X + X @ P, V) < 1e-14
    skew = lyapunov(P, V - V.mT)
    assert torch.allclose(skew, -skew.mT, atol=1e-14)
    assert torch.allclose(lyapunov(P[0], V), torch.stack([lyapunov(P[0], b) for b in V]), atol=1e-14)
    differentiates(lyapunov, P, V)
    transforms(lyapunov, P, V)
    x = P.clone().requires_grad_()  # the derivative of the root solves a Lyapunov equation
    E = symmetric(4, 3, 3)
    assert relative(torch.autograd.grad(symfun(x, "sqrt"), x, E)[0], lyapunov(symfun(P, "sqrt"), E)) < 1e-13


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)])
def test_polar(shape: tuple[int, int]) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    A = torch.randn(4, *shape, generator=generator(2), dtype=torch.float64)
    F = polar(A)
    for a, f in zip(A, F, strict=True):
        side = "right" if shape[0] >= shape[1] else "left"
        assert relative(f, torch.from_numpy(linalg.polar(a.numpy(), side=side)[0])) < 1e-13
    differentiates(polar, A)
    differentiates(polar, F)  # equal singular values
    if shape == (5, 3):
        transforms(polar, A)


def test_polar_of_products_is_orthogonal_at_high_condition() -> None:
    data = load("spd_n8")
    (p, q) = (symfun(data[k], "sqrt") for k in "PQ")
    F = polar(p @ q)
    assert relative(F @ F.mT, torch.eye(8).expand_as(F)) < 4e-15
    assert relative(F, data["ai_gyr_F"]) < 1e-9
    small = polar((p @ q).float())
    assert small.dtype == torch.float32
    assert relative(small @ small.mT, torch.eye(8).expand_as(F)) < 1e-6


def test_projectors_of_projectors() -> None:
    """Where packages that differentiate eigenvectors give 15 % error or NaN."""
    q = torch.linalg.qr(torch.randn(5, 5, generator=generator(3), dtype=torch.float64))[0]
    P = q[:, :3] @ q[:, :3].mT
    assert relative(top_projector(P, 3), P) < 1e-14
    E = symmetric(5, 5, seed=4)
    x = P.clone().requires_grad_()
    grad = torch.autograd.grad(top_projector(x, 3), x, E)[0]
    wanted = P @ E @ (torch.eye(5) - P) + (torch.eye(5) - P) @ E @ P  # all gaps are 1
    assert relative(grad, wanted) < 1e-14
    y = P.float().requires_grad_()
    assert relative(torch.autograd.grad(top_projector(y, 3), y, E.float())[0], wanted) < 1e-6
    A = torch.stack([P, with_spectra([[0.0, 0.2, 1.0, 1.2, 3.0]])[0]])
    differentiates(lambda x: top_projector(x, 3), A)
    transforms(lambda x: top_projector(x, 3), A)


def test_third_derivative_of_a_projector() -> None:
    A = with_spectra([[0.0, 0.0, 1.0, 1.0]]).requires_grad_()
    E = symmetric(1, 4, 4, seed=5)

    def first(x):
        y = x if x.requires_grad else x.requires_grad_()
        return torch.autograd.grad(top_projector(y, 2), y, E, create_graph=True)[0]

    assert gradcheck(first, A, fast_mode=True) and gradgradcheck(first, A, fast_mode=True)


def test_flags() -> None:
    A = with_spectra([[0.5, 0.5, 2.0, 3.0, 3.0]])
    flags = flag_projectors(A, (2, 3, 5))
    assert flags.shape == (1, 3, 5, 5)
    total = 1.0 * flags[:, 0] + 1.5 * flags[:, 1] + 0.5 * flags[:, 2]
    assert relative(total, A) < 1e-14  # the sum over gaps of the eigenvalues is the matrix
    assert torch.allclose(flags @ flags, flags, atol=1e-14)
    assert torch.allclose(flags[:, 0] @ flags[:, 1], flags[:, 0], atol=1e-14)
    differentiates(lambda x: flag_projectors(x, (2, 3, 5)), A)


def test_eigenvalues() -> None:
    A = with_spectra([[0.3, 1.0, 2.5], [-1.0, 0.0, 4.0]])
    assert torch.allclose(spectrum(A), torch.tensor([[0.3, 1.0, 2.5], [-1.0, 0.0, 4.0]]).double(), atol=1e-14)
    differentiates(spectrum, A)
    transforms(spectrum, A)
    x = with_spectra([[1.0, 1.0, 2.0]])[0].requires_grad_()
    grad = torch.autograd.grad(spectrum(x).exp().sum(), x, create_graph=True)[0]
    assert relative(grad, symfun(x, "exp")) < 1e-14  # the gradient of trace exp, at a repeated eigenvalue
    with pytest.raises(InvalidInput, match=r"second derivative .* coincide"):
        grad.sum().backward()
    twice = torch.func.hessian(lambda a: spectrum(a).exp().sum())(x.detach())
    assert twice.isnan().any()  # where values cannot be read, NaN and not a number that is wrong
    one = symfun(x, "exp").trace()
    assert torch.autograd.grad(torch.autograd.grad(one, x, create_graph=True)[0].sum(), x)[0].isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lyapunov(torch.eye(3), torch.eye(2)), "`V` has shape .2, 2."),
        (lambda: lyapunov(-torch.eye(3), torch.eye(3)), "`P` is not positive definite"),
        (lambda: polar(torch.zeros(2, 3, 3)), r"matrix \[0\] of `A` has no full rank"),
        (lambda: polar(torch.full((3, 3), torch.nan)), "NaN"),
        (lambda: polar(torch.ones(3)), "expected real matrices"),
        (lambda: top_projector(torch.eye(3), 4), "from 1 to n = 3"),
        (lambda: top_projector(torch.eye(3), 0), "from 1 to n = 3"),
        (lambda: top_projector(torch.eye(3), 2), "2 largest eigenvalues are not separated"),
        (lambda: flag_projectors(torch.eye(3), (2, 1)), "ascending"),
        (lambda: spectrum(torch.full((3, 3), torch.nan)), "NaN"),
        (lambda: sym_sqrt_pair(torch.diag(torch.tensor([1.0, -1.0]))), "not positive definite"),
    ],
)
def test_what_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def test_third_derivatives_of_eigenvalues() -> None:
    A = symmetrize(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    directions = [
        symmetrize(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)))
        for k in (5, 6)
    ]

    def second(A: torch.Tensor) -> torch.Tensor:
        A = A if A.requires_grad else A.requires_grad_()
        g = spectrum(A)[1]
        for D in directions:
            g = (torch.autograd.grad(g, A, create_graph=True)[0] * D).sum()
        return g

    x = A.clone().requires_grad_()
    (third,) = torch.autograd.grad(second(x), x)
    E = symmetrize(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7)))
    h = 1e-4
    differences = (second(A + h * E) - second(A - h * E)) / (2 * h)
    torch.testing.assert_close((third * E).sum(), differences.detach(), rtol=1e-6, atol=1e-6)
