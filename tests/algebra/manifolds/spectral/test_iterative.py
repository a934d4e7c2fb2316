"""Roots by products: exact at convergence, or as wrong as their documentation says."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.manifolds.spectral import derivative_symfun, lyapunov, sign_lyapunov, symfun
from geomlib.algebra.manifolds.spectral.iterative import MOST
from tests.algebra.manifolds.spectral.common import SPECTRA, relative, symmetric, with_spectra


def spaced(n: int, decades: float, count: int = 8):
    return with_spectra(torch.logspace(0, -decades, n, dtype=torch.float64).expand(count, n))


def errors(A, f: str, method: str) -> tuple[float, float]:
    G = symmetric(*A.shape, seed=1)
    x = A.clone().requires_grad_()
    found = symfun(x, f, method=method)
    grad = torch.autograd.grad(found, x, G)[0]
    return relative(found, symfun(A, f)), relative(grad, derivative_symfun(A, f, G))


@pytest.mark.parametrize("n", [1, 4, 16])
@pytest.mark.parametrize("decades", [0.0, 2.0, 4.0, 8.0])
def test_newton_schulz_is_exact(n: int, decades: float) -> None:
    A, kappa = spaced(n, decades), 10.0**decades
    for f in ("sqrt", "invsqrt"):
        value, grad = errors(A, f, "newton_schulz")
        assert value < 1e-15 * (10 + (kappa**0.5 if f == "sqrt" else kappa)), f
        assert grad < 1e-15 * (20 + 10 * kappa), f
    if decades <= 4:
        root = symfun(A.float(), "sqrt", method="newton_schulz")
        assert root.dtype == torch.float32 and relative(root, symfun(A, "sqrt")) < 1e-6 * (1 + kappa**0.5)


def test_newton_schulz_derivatives() -> None:
    A = with_spectra(SPECTRA).requires_grad_()
    for f in ("sqrt", "invsqrt"):

        def fn(x, f=f):
            return symfun(x, f, method="newton_schulz")

        assert gradcheck(fn, A, check_forward_ad=True, fast_mode=True)
        assert gradgradcheck(fn, A, check_fwd_over_rev=True, fast_mode=True)
        assert torch.allclose(torch.func.vmap(fn)(A), fn(A), atol=1e-14)


@pytest.mark.parametrize("method", ["newton_schulz", "pade", "taylor"])
def test_a_matrix_does_not_see_its_batch(method: str) -> None:
    """The released code of the published method divides by the norm of the whole batch."""
    A = torch.cat([spaced(4, 1.0, 2), 1e6 * spaced(4, 0.5, 2), 1e-6 * spaced(4, 3.0, 2)]).requires_grad_()
    E = symmetric(6, 4, 4, seed=2)
    for f in ("sqrt", "invsqrt"):
        together = torch.autograd.grad(symfun(A, f, method=method), A, E)[0]
        for i in range(6):
            alone = A[i].detach().requires_grad_()
            own = torch.autograd.grad(symfun(alone, f, method=method), alone, E[i])[0]
            assert relative(together[i], own) < 1e-14


@pytest.mark.parametrize(
    ("method", "decades", "value", "grad"),
    [
        ("pade", 0.602, 3e-4, 4e-4), ("pade", 2, 0.03, 0.14), ("pade", 3, 0.09, 0.52),
        ("taylor", 0.602, 1e-2, 1.4e-2), ("taylor", 2, 0.13, 0.34), ("taylor", 3, 0.24, 0.69),
    ],
)  # fmt: skip
def test_published_series_are_as_documented(method: str, decades: float, value: float, grad: float) -> None:
    found = errors(spaced(16, decades, 20), "sqrt", method)
    assert found[0] == pytest.approx(value, rel=0.4) and found[1] == pytest.approx(grad, rel=0.4)


def test_pade_is_the_published_approximant() -> None:
    """As rational function of one number: error of order z^11 at 0, 1/11 at 1."""
    z = torch.linspace(0, 1, 11, dtype=torch.float64)
    A = torch.diag_embed(torch.stack([1 - z, (1 - (1 - z) ** 2).clamp_min(1e-300).sqrt()], -1))  # norm 1
    A = A.clone()
    A[:, 0, 0] += 1e-13  # SPD
    A[:, 1, 1] += 1e-13
    found = symfun(A, "sqrt", method="pade")[:, 0, 0]
    p, q = (
        (1, -11 / 4, 11 / 4, -77 / 64, 55 / 256, -11 / 1024),
        (1, -9 / 4, 7 / 4, -35 / 64, 15 / 256, -1 / 1024),
    )
    wanted = sum(c * z**k for k, c in enumerate(p)) / sum(c * z**k for k, c in enumerate(q))
    assert torch.allclose(found, wanted, atol=1e-9)
    assert abs(float(found[-1]) - 1 / 11) < 1e-9
    assert (found - (1 - z).sqrt())[:4].abs().max() < 1e-6


def test_taylor_has_ten_terms() -> None:
    A = torch.diag(torch.tensor([0.6, 0.8], dtype=torch.float64))  # norm 1, z = 0.4 and 0.2
    found = symfun(A, "sqrt", method="taylor").diagonal()
    error = (found - torch.tensor([0.6, 0.8]).double().sqrt()).abs()
    next_term = 0.00963  # |binomial(1/2, 11)|
    assert torch.allclose(error, next_term * torch.tensor([0.4, 0.2]).double() ** 11, rtol=0.7)


def test_sign_iteration_solves_lyapunov_equations() -> None:
    P, V = spaced(5, 1.5), torch.randn(8, 5, 5, dtype=torch.float64)
    assert relative(sign_lyapunov(P, V), lyapunov(P, V)) < 1e-13
    few = sign_lyapunov(spaced(5, 0.0), V, published=True)
    assert relative(few, 0.5 * V) < 1e-14  # 8 iterations suffice for the identity


def test_compiled() -> None:
    A = with_spectra(SPECTRA).requires_grad_()
    for method in ("newton_schulz", "pade"):
        fn = torch.compile(
            lambda x, m=method: symfun(x, "sqrt", method=m), fullgraph=True, backend="aot_eager"
        )
        found = torch.autograd.grad(fn(A).square().sum(), A)[0]
        assert torch.allclose(
            found,
            torch.autograd.grad(symfun(A, "sqrt", method=method).square().sum(), A)[0],
            atol=1e-12,
        )


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInput, match="computes 'sqrt' and 'invsqrt' only, found 'log'"):
        symfun(torch.eye(2), "log", method="pade")
    with pytest.raises(InvalidInput, match="Did you mean 'newton_schulz'"):
        symfun(torch.eye(2), "sqrt", method="newton_schultz")
    with pytest.raises(InvalidInput, match=r"did not converge in torch.float32"):
        symfun(spaced(16, 8.0).float(), "sqrt", method="newton_schulz")
    with pytest.raises(InvalidInput, match="not positive definite"):
        symfun(torch.diag(torch.tensor([1.0, 0.0])), "sqrt", method="newton_schulz")
    assert MOST < 60  # where values are not known, all of them run
    traced = torch.func.vmap(lambda x: symfun(x, "sqrt", method="newton_schulz"))
    assert traced(torch.eye(2)[None]).isfinite().all()
