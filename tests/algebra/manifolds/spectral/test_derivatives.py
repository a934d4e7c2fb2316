"""Derivatives of every order, forward and reverse, under the transforms of torch, for every kind of batch."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun
from tests.algebra.manifolds.spectral.common import (
    FUNCTIONS,
    SPECTRA,
    mp_directional,
    relative,
    symmetric,
    with_spectra,
)


@pytest.mark.parametrize(("f", "t"), FUNCTIONS)
def test_first_and_second_order(f: str, t: float | None) -> None:
    """Finite differences, in reverse, in forward, and forward over reverse; equal eigenvalues are in the batch."""
    A = with_spectra(SPECTRA).requires_grad_()
    assert gradcheck(lambda x: symfun(x, f, t), A, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(lambda x: symfun(x, f, t), A, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize(
    ("f", "t"),
    [("log", None), ("invsqrt", None), ("clamp", 0.7)]
    + [pytest.param(f, t, marks=pytest.mark.slow) for f, t in FUNCTIONS],
)
def test_third_order(f: str, t: float | None) -> None:
    """The second derivative in fixed directions is a function whose derivatives are checked in turn."""
    A = with_spectra(SPECTRA[:3]).requires_grad_()
    E = symmetric(3, 3, seed=1).expand_as(A)
    G = symmetric(3, 3, 3, seed=2).requires_grad_()

    def second(x, g):
        return torch.autograd.grad(derivative_symfun(x, f, g, t), x, E, create_graph=True)[0]

    assert gradcheck(second, (A, G), fast_mode=True)
    assert gradgradcheck(second, (A, G), fast_mode=True)


@pytest.mark.parametrize("f", ["log", "sqrt", "invsqrt", "inv", "exp"])
def test_fourth_order_against_many_digits(f: str) -> None:
    w = [0.4, 0.4, 1.1]
    E = [symmetric(3, 3, seed=s) for s in range(4)]
    found = torch.diag(torch.tensor(w, dtype=torch.float64)).requires_grad_()
    value = derivative_symfun(found, f, E[0])
    for e in E[1:]:
        value = torch.autograd.grad(value, found, e, create_graph=True)[0]
    assert relative(value, mp_directional(f, w, E)) < 1e-13


@pytest.mark.parametrize("f", ["log", "sqrt", "exp"])
def test_block_triangular_matrices(f: str) -> None:
    """f of [[A, G], [0, A]] holds Df(A)[G], by algorithms for matrices that are not symmetric."""
    linalg = pytest.importorskip("scipy.linalg")
    A, G = with_spectra([[0.2, 0.2, 1.0, 3.0]])[0], symmetric(4, 4, seed=3)
    block = torch.cat([torch.cat([A, G], 1), torch.cat([torch.zeros_like(A), A], 1)])
    dense = {"log": linalg.logm, "sqrt": linalg.sqrtm, "exp": linalg.expm}[f](block.numpy())
    assert relative(derivative_symfun(A, f, G), torch.from_numpy(dense.real.copy())[:4, 4:]) < 1e-11


def test_transforms_agree_with_loops() -> None:
    A, E = with_spectra(SPECTRA), symmetric(4, 3, 3, seed=4)
    for f, t in FUNCTIONS:

        def fn(x, f=f, t=t):
            return symfun(x, f, t)

        def loss(x, e, fn=fn):
            return (fn(x) * e).sum()

        looped = torch.stack([fn(a) for a in A])
        assert torch.allclose(torch.func.vmap(fn)(A), looped, rtol=1e-13, atol=1e-13)
        one = torch.func.vmap(torch.func.grad(loss), (None, 0))(A[0], E)  # one matrix, many directions
        assert torch.allclose(one, derivative_symfun(A[0], f, E, t), rtol=1e-12, atol=1e-13)
        value, tangent = torch.func.jvp(fn, (A,), (E,))
        assert torch.allclose(value, looped, rtol=1e-13, atol=1e-13)
        assert torch.allclose(tangent, derivative_symfun(A, f, E, t), rtol=1e-12, atol=1e-13)
    hessian = torch.func.hessian(lambda x: symfun(x, "log").square().sum())(A[0])
    x = A[0].clone().requires_grad_()
    rows = torch.autograd.functional.hessian(lambda x: symfun(x, "log").square().sum(), x)
    assert torch.allclose(hessian, rows, atol=1e-12)


@pytest.mark.parametrize(("f", "t"), [("log", None), pytest.param("pow", 0.3, marks=pytest.mark.slow)])
def test_compiled(f: str, t: float | None) -> None:
    A, E = with_spectra(SPECTRA).requires_grad_(), symmetric(4, 3, 3, seed=5)
    compiled = torch.compile(lambda x: symfun(x, f, t), fullgraph=True, backend="aot_eager")
    found = compiled(A)
    assert torch.allclose(found, symfun(A, f, t), rtol=1e-13, atol=1e-14)
    grad = torch.autograd.grad(found, A, E)[0]
    assert torch.allclose(grad, derivative_symfun(A, f, E, t), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_does_not_see_its_batch(dtype: torch.dtype) -> None:
    """Nothing is compared over the batch: huge, tiny and repeated spectra next to each other."""
    spectra = torch.tensor([[1.0, 1.0, 2.0], [1e-6, 1.0, 1e4], [1e6, 2e6, 3e6], [1e-7, 1e-7, 2e-7]])
    eps = 4 * torch.finfo(dtype).eps
    A, E = with_spectra(spectra).to(dtype), symmetric(4, 3, 3, seed=6, dtype=dtype)
    for f, t in (("log", None), ("sqrt", None), ("invsqrt", None), ("pow", 0.3)):
        together = A.clone().requires_grad_()
        first = torch.autograd.grad(symfun(together, f, t), together, E, create_graph=True)[0]
        second = torch.autograd.grad(first, together, E)[0]
        for i in range(4):
            alone = A[i].clone().requires_grad_()
            own = torch.autograd.grad(symfun(alone, f, t), alone, E[i], create_graph=True)[0]
            more = torch.autograd.grad(own, alone, E[i])[0]
            assert relative(first[i].detach(), own.detach()) < eps
            assert relative(second[i], more) < 20 * eps


def test_float32_is_computed_in_float64() -> None:
    """Condition number 1e8, where float32 arithmetic has no digits left; a diagonal matrix is exact in float32."""
    w = torch.tensor([1e-8, 3e-3, 1.0])
    A = torch.diag(w)
    assert A.dtype == symfun(A, "log").dtype == torch.float32
    assert torch.equal(symfun(A, "log"), torch.diag(w.double().log()).float())
    assert torch.allclose(symfun(A, "invsqrt").diagonal(), w.double().rsqrt().float(), rtol=1e-6)
    x = A.clone().requires_grad_()
    symfun(x, "log").diagonal().sum().backward()
    assert torch.allclose(x.grad.diagonal(), 1 / w, rtol=1e-6)


def test_batches_of_every_kind() -> None:
    A = with_spectra(SPECTRA)
    for f, t in FUNCTIONS:
        assert symfun(A[:0], f, t).shape == (0, 3, 3)
        assert derivative_symfun(A[:0], f, A[:0], t).shape == (0, 3, 3)
        assert symfun(torch.full((1, 1), 2.0), f, t).shape == (1, 1)
        strided = A.repeat(1, 2, 2)[:, ::2, ::2].contiguous().mT.expand(2, 4, 3, 3)
        strided = 0.5 * (strided + strided.mT) + torch.eye(3)
        copy = strided.contiguous()
        assert torch.allclose(
            symfun(strided.permute(1, 0, 3, 2), f, t), symfun(copy, f, t).transpose(0, 1), rtol=1e-13
        )
    empty = A[:0].clone().requires_grad_()
    assert torch.autograd.grad(symfun(empty, "log"), empty, empty.detach())[0].shape == (0, 3, 3)


def test_only_the_symmetric_part_counts() -> None:
    A = with_spectra(SPECTRA)
    skew = torch.randn(4, 3, 3, dtype=torch.float64) * 1e-5
    tilted = (A + skew - skew.mT).requires_grad_()
    assert torch.allclose(symfun(tilted, "log"), symfun(A, "log"), atol=1e-13)
    G = torch.randn(4, 3, 3, dtype=torch.float64)
    grad = torch.autograd.grad(symfun(tilted, "log"), tilted, G)[0]
    assert torch.allclose(grad, grad.mT, atol=1e-14)
    assert torch.allclose(grad, derivative_symfun(A, "log", 0.5 * (G + G.mT)), atol=1e-11)


def test_large_second_derivatives_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from geomlib.algebra.manifolds.spectral import higher

    A = with_spectra(torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) + 0.2).requires_grad_()
    E = symmetric(5, 6, 6, seed=7)

    def second():
        first = torch.autograd.grad(symfun(A, "log"), A, E, create_graph=True)[0]
        return torch.autograd.grad(first, A, E)[0]

    whole = second()
    monkeypatch.setattr(higher, "HELD", 2 * 6**3)
    assert torch.allclose(second(), whole, rtol=1e-14)


def test_compiled_second_derivative() -> None:
    """Compiled code may differentiate a derivative; the tuples of indices are known to the trace."""
    A, G = with_spectra(SPECTRA).requires_grad_(), symmetric(4, 3, 3, seed=8).requires_grad_()

    def fn(a, g):
        return derivative_symfun(a, "log", g)

    compiled = torch.compile(fn, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(A, G).square().sum(), (A, G))
    wanted = torch.autograd.grad(fn(A, G).square().sum(), (A, G))
    assert all(torch.allclose(x, y, rtol=1e-12, atol=1e-13) for x, y in zip(found, wanted, strict=True))
