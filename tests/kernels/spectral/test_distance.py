"""The affine-invariant distance in registers against its reference, scipy, and its symmetries."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.spd.affine_distance import (
    ai_sqdist,
    ai_sqdist_gradients,
    ai_sqdist_reference,
)
from geomlib.errors import InvalidInput
from geomlib.testing import KernelSuite
from tests.algebra.manifolds.spectral.common import load
from tests.kernels.spectral.common import matrices, relative

BACKENDS = ("cpu", "torch")


def spoiled(A: torch.Tensor, k: int, value: torch.Tensor) -> torch.Tensor:
    A = A.clone()
    A[k] = value
    return A


@pytest.mark.parametrize("backend", BACKENDS)
def test_fixture(backend: str) -> None:
    data = load("spd_sqdist_grad_n4")
    P, Q = data["P"].requires_grad_(), data["Q"].requires_grad_()
    d = ai_sqdist(P, Q, backend=backend)
    gP, gQ = torch.autograd.grad(d.sum(), (P, Q))
    torch.testing.assert_close(d, data["ai_sqdist"], rtol=1e-11, atol=0)
    assert relative(gP, data["ai_sqdist_gradP"]) < 1e-11 and relative(gQ, data["ai_sqdist_gradQ"]) < 1e-11


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16, 33])
def test_against_scipy(n: int) -> None:
    from scipy.linalg import eigh

    P, Q = matrices(18, n), matrices(18, n, seed=1)
    wanted = [eigh(q, p, eigvals_only=True) for p, q in zip(P.numpy(), Q.numpy(), strict=True)]
    d = torch.tensor([float((torch.from_numpy(w).log() ** 2).sum()) for w in wanted], dtype=torch.float64)
    torch.testing.assert_close(ai_sqdist(P, Q, backend="cpu"), d, rtol=1e-12, atol=0)
    p, q = P.clone().requires_grad_(), Q.clone().requires_grad_()
    found = torch.autograd.grad(ai_sqdist(p, q, backend="cpu"), (p, q), d)
    for a, b in zip(found, ai_sqdist_gradients(d, P, Q), strict=True):
        assert relative(a, b) < 1e-12
    for wrt in (p, q):  # one gradient alone
        other = ai_sqdist(P if wrt is q else p, Q if wrt is p else q, backend="cpu")
        assert relative(torch.autograd.grad(other, wrt, d)[0], found[wrt is q]) < 1e-13
    single, same = (P.float(), Q.float()), (P.float().double(), Q.float().double())
    rounded = ai_sqdist(*single, backend="cpu")
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), ai_sqdist_reference(*same), rtol=1e-7, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives(backend: str) -> None:
    """Also at coincident points and where eigenvalues repeat; the third by differentiating the gradient twice."""
    eye = torch.eye(3, dtype=torch.float64)
    for P, Q in ((matrices(2, 3), matrices(2, 3, seed=1)), (matrices(1, 3),) * 2, (eye, 2 * eye), (eye, eye)):
        p, q = P.clone().requires_grad_(), Q.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda a, b: ai_sqdist(a, b, backend=backend), (p, q))
        assert torch.autograd.gradgradcheck(lambda a, b: ai_sqdist(a, b, backend=backend), (p, q))
    p, q = matrices(1, 2).requires_grad_(), matrices(1, 2, seed=1).requires_grad_()

    def gradients(a, b):
        return torch.autograd.grad(ai_sqdist(a, b, backend=backend).sum(), (a, b), create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, (p, q))


def test_isotropic_pair_in_closed_form() -> None:
    """A10: dist^2(I, 2I) = n log^2 2, with gradients -2 log 2 I and log 2 I; zero and flat at P = Q."""
    for dtype in (torch.float32, torch.float64):
        P, Q = (
            torch.eye(3, dtype=dtype).requires_grad_(),
            (2 * torch.eye(3, dtype=dtype)).requires_grad_(),
        )
        log2 = torch.log(torch.tensor(2.0, dtype=dtype))
        d = ai_sqdist(P, Q)
        gP, gQ = torch.autograd.grad(d, (P, Q))
        torch.testing.assert_close(d.detach(), 3 * log2**2)
        torch.testing.assert_close(gP, -2 * log2 * torch.eye(3, dtype=dtype))
        torch.testing.assert_close(gQ, log2 * torch.eye(3, dtype=dtype))
        A = matrices(30, 8, kappa=1e4, dtype=dtype).requires_grad_()
        zero = ai_sqdist(A, A.detach())
        (g,) = torch.autograd.grad(zero.sum(), A)
        assert zero.max() < 1e-20 and g.abs().max() < 1e-8


def test_condition_1e8_in_single_precision() -> None:
    A, B = matrices(20, 6, kappa=1e8).float(), matrices(20, 6, seed=1).float()
    w = torch.linalg.eigvalsh(A.double())
    good = w[:, 0] > 0
    a = A[good].requires_grad_()
    d = ai_sqdist(a, B[good])
    (g,) = torch.autograd.grad(d.sum(), a)
    exact = ai_sqdist_reference(A[good].double(), B[good].double())
    assert good.sum() > 5 and ((d - exact) / exact).abs().max() < 1e-6 and g.isfinite().all()


def test_invariances() -> None:
    P, Q = matrices(20, 5), matrices(20, 5, seed=1)
    d = ai_sqdist(P, Q)
    M = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 3 * torch.eye(5)
    close = {"rtol": 1e-10, "atol": 0.0}
    torch.testing.assert_close(ai_sqdist(M @ P @ M.mT, M @ Q @ M.mT), d, **close)
    torch.testing.assert_close(ai_sqdist(P.inverse(), Q.inverse()), d, **close)
    torch.testing.assert_close(ai_sqdist(Q, P), d, **close)


class TestDistance(KernelSuite):
    kernel = staticmethod(lambda P, Q: ai_sqdist(P, Q, backend="cpu"))
    reference = staticmethod(lambda P, Q: ai_sqdist_reference(P, Q, eig_dtype=P.dtype))
    inputs = staticmethod(lambda rows, g: {"P": matrices(rows, 3), "Q": matrices(rows, 3, seed=1)})
    options = {"nan": False}  # noqa: RUF012


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes(backend: str) -> None:
    P, Q = matrices(6, 3).reshape(2, 3, 3, 3), matrices(3, 3, seed=1)
    d = ai_sqdist(P, Q, backend=backend)
    assert d.shape == (2, 3) and torch.allclose(d[1, 2], ai_sqdist(P[1, 2], Q[2], backend=backend))
    one = Q[0].clone().requires_grad_()
    (g,) = torch.autograd.grad(ai_sqdist(P, one, backend=backend).sum(), one)
    assert g.shape == (3, 3) and torch.equal(g, g.mT)
    assert ai_sqdist(P[:0], Q, backend=backend).shape == (0, 3)
    empty = torch.zeros(0, 3, 3, requires_grad=True)
    assert torch.autograd.grad(ai_sqdist(empty, empty, backend=backend).sum(), empty)[0].shape == (0, 3, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors(backend: str) -> None:
    P, eye = matrices(20, 3), torch.eye(3, dtype=torch.float64)
    cases = (
        (-eye, "is not positive definite"),
        (torch.diag(torch.tensor([1.0, 1.0, 0.0])).double(), "is not positive definite"),
        (torch.nan * eye, "holds NaN"),
        (eye + torch.ones(3, 3).double().tril(-1), "is not symmetric"),
    )
    for value, message in cases:
        bad = spoiled(P, 17, value)
        for name, pair in (("P", (bad, P)), ("Q", (P, bad))):
            with pytest.raises(InvalidInput, match=rf"matrix \[17\] of `{name}` {message}"):
                ai_sqdist(*pair, backend=backend)
    far = torch.diag(torch.tensor([1e-9, 1e9, 1.0])).double()
    with pytest.raises(InvalidInput, match=r"matrix \[17\] of `Q` and that of `P` are too different"):
        ai_sqdist(spoiled(P, 17, far), spoiled(P, 17, far.inverse()), backend=backend)
    for pair, message in (
        ((P, matrices(20, 4)), "expected one size"),
        ((P, P.float()), "expected one size"),
        ((P.long(), P.long()), "`P` has dtype"),
        ((P[0, 0], P), "`P` has shape"),
    ):
        with pytest.raises(InvalidInput, match=message):
            ai_sqdist(*pair, backend=backend)
