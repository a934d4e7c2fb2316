"""Spectral functions in registers against the reference, which is tested against arithmetic in many digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun
from geomlib.algebra.manifolds.spectral import primitives as reference
from geomlib.errors import InvalidInput
from geomlib.kernels import spectral
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.spectral.served import loops_pay
from geomlib.testing import KernelSuite
from tests.kernels.spectral.common import FUNCTIONS, directions, matrices, relative


@pytest.mark.parametrize("kind", ["apart", "equal", "close", "one"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 16, 17, 32])
def test_values_and_derivatives(n: int, kind: str) -> None:
    A, E = matrices(19, n, kind), directions(19, n, n)
    for f, t in FUNCTIONS:
        F, w, v = spectral.forward(A, f, t, torch.float64, "cpu")
        wanted, w0, v0 = reference.torch_forward(A, f, t, torch.float64)
        assert relative(F, wanted) < 2e-13, f
        assert (w - w0).abs().max() < 1e-13 * w0.max() and (w.diff() >= 0).all()
        assert relative((v * w.unsqueeze(-2)) @ v.mT, A) < 1e-13
        slope = reference.torch_derivative(w0, v0, f, t, E)
        assert relative(spectral.derivative(w, v, f, t, E, "cpu"), slope) < 5e-13, f
        x = A.clone().requires_grad_()
        (pulled,) = torch.autograd.grad(spectral.symfun(x, f, t, torch.float64, "cpu"), x, E)
        assert relative(pulled, slope) < 5e-13, f


@pytest.mark.parametrize(
    ("eig_dtype", "bound"),
    [(torch.float64, 6e-8), pytest.param(torch.float32, 6e-5, marks=pytest.mark.slow)],  # compiled again
)
@pytest.mark.parametrize("n", [2, 9, 32])
def test_single_precision(n: int, eig_dtype: torch.dtype, bound: float) -> None:
    """Decomposed in float64, single precision rounds once; decomposed in float32, it is as good as LAPACK in float32."""
    A, E = matrices(40, n, dtype=torch.float32), directions(40, n, n, dtype=torch.float32)
    for f, t in FUNCTIONS:
        wanted, w, v = reference.torch_forward(A.double(), f, t, torch.float64)
        slope = reference.torch_derivative(w, v, f, t, E.double())
        F, w1, v1 = spectral.forward(A, f, t, eig_dtype, "cpu")
        assert F.dtype == torch.float32 and w1.dtype == v1.dtype == eig_dtype
        assert relative(F, wanted) < bound, f
        assert relative(spectral.derivative(w1, v1, f, t, E, "cpu"), slope) < 2 * bound, f


@pytest.mark.parametrize("n", [3, 10, 40])
def test_projectors(n: int) -> None:
    A, E, p = matrices(18, n, kappa=1e3), directions(18, n, n), float(n // 2)
    F, w, v = spectral.forward(A, "top", p, torch.float64, "cpu")
    wanted, w0, v0 = reference.torch_forward(A, "top", p, torch.float64)
    gap = float((w0[:, n - n // 2] - w0[:, n - n // 2 - 1]).min())
    assert relative(F, wanted) < 1e-13 / gap
    slope = reference.torch_derivative(w0, v0, "top", p, E)
    assert relative(spectral.derivative(w, v, "top", p, E, "cpu"), slope) < 1e-13 / gap**2


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e30, 1e290])
def test_scales(scale: float) -> None:
    A = matrices(5, 6)
    for f, wanted in (
        ("sqrt", symfun(A, "sqrt", backend="torch") * scale**0.5),
        ("log", symfun(A, "log", backend="torch") + np.log(scale) * torch.eye(6).double()),
    ):
        assert relative(symfun(scale * A, f, backend="cpu"), wanted) < 1e-13


def hard(n: int) -> dict[str, torch.Tensor]:
    """Symmetric matrices on which eigenvalue algorithms have failed."""
    steps, random = torch.arange(n, dtype=torch.float64), directions(17, n, n)
    random, falling = random + random.mT, 10.0 ** (-8 * steps / (n - 1))
    wilkinson = torch.diag((steps - (n - 1) / 2).abs())
    wilkinson += torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1)
    mixed = random.clone()
    mixed[::2], mixed[1::4] = torch.eye(n).double(), 1e-200 * mixed[1::4]
    thin = directions(17, n, n // 3)
    return {
        "nearly equal pairs": wilkinson.expand(17, n, n),
        "graded downwards": random * falling * falling[:, None],
        "graded upwards": random * falling.flip(0) * falling.flip(0)[:, None],
        "of low rank": thin @ thin.mT,
        "of rank one": torch.ones(17, n, n, dtype=torch.float64),
        "nearly one": torch.eye(n) + 1e-15 * random,
        "Hilbert's": (1 / (steps + steps[:, None] + 1)).expand(17, n, n),
        "huge": 1e300 * random,
        "tiny": 1e-300 * random,
        "of all kinds": mixed,
    }


@pytest.mark.parametrize("n", [3, 21, 50])
def test_hard_matrices(n: int) -> None:
    for name, A in hard(n).items():
        w, v = spectral.eigh(A, torch.float64, "cpu")
        size = A.abs().amax((1, 2))
        small = A / size[:, None, None]
        error = (v * (w / size[:, None]).unsqueeze(-2)) @ v.mT - small
        assert error.abs().max() < 2e-14 and (v.mT @ v - torch.eye(n)).abs().max() < 2e-14, name
        assert (w / size[:, None] - torch.linalg.eigvalsh(small)).abs().max() < 5e-14, name


def test_a_zero_matrix_and_diagonal_ones() -> None:
    zero = torch.zeros(3, 4, 4, dtype=torch.float64)
    assert torch.equal(symfun(zero, "exp", backend="cpu"), torch.eye(4).double().expand(3, 4, 4))
    assert torch.equal(symfun(zero, "clamp", 0.5, backend="cpu"), 0.5 * torch.eye(4).double().expand(3, 4, 4))
    spectrum = torch.tensor([4.0, 1e-200, 9.0, 16.0], dtype=torch.float64)
    with pytest.raises(InvalidInput, match="not positive definite"):
        symfun(torch.diag(spectrum), "sqrt", backend="cpu")
    root = symfun(torch.diag(spectrum), "clamp", 1e-200, backend="cpu")
    assert torch.equal(root, torch.diag(spectrum))


def test_matrices_do_not_know_of_each_other() -> None:
    """Bitwise, though lanes of one register take their own numbers of steps."""
    A = torch.cat([matrices(9, 7), matrices(9, 7, "one"), 1e8 * matrices(9, 7, "close", kappa=1e6)])
    E = directions(27, 7, 7)
    x = A.clone().requires_grad_()
    F = symfun(x, "log", backend="cpu")
    (G,) = torch.autograd.grad(F, x, E)
    for k in (0, 8, 9, 20, 26):
        y = A[k].clone().requires_grad_()
        one = symfun(y, "log", backend="cpu")
        assert torch.equal(F[k], one) and torch.equal(G[k], torch.autograd.grad(one, y, E[k])[0])


def test_shapes_and_layouts() -> None:
    A = matrices(24, 5)
    wanted = symfun(A, "sqrt", backend="torch")
    for shape in ((2, 3, 4), (24, 1), (24,)):
        assert (
            relative(symfun(A.reshape(*shape, 5, 5), "sqrt", backend="cpu").reshape(24, 5, 5), wanted) < 1e-14
        )
    assert relative(symfun(A[::3], "sqrt", backend="cpu"), wanted[::3]) < 1e-14
    assert relative(symfun(A.mT, "sqrt", backend="cpu"), wanted) < 1e-14
    wide = torch.zeros(24, 5, 11, dtype=torch.float64)
    wide[..., 3:8] = A
    assert relative(symfun(wide[..., 3:8], "sqrt", backend="cpu"), wanted) < 1e-14
    x = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(symfun(x, "sqrt", backend="cpu").sum(), x)  # an expanded cotangent
    assert relative(G, derivative_symfun(A, "sqrt", torch.ones(5, 5).double(), backend="torch")) < 1e-13
    for shape in ((0, 5, 5), (3, 0, 5, 5)):
        empty = torch.zeros(shape, requires_grad=True)
        (G,) = torch.autograd.grad(symfun(empty, "log", backend="cpu").sum(), empty)
        assert G.shape == shape
    before = A.clone()
    assert symfun(A, "exp", backend="cpu") is not A and torch.equal(A, before)


@pytest.mark.parametrize("f", ["log", "exp", "pow"])
def test_second_derivatives(f: str) -> None:
    t = 0.4 if f == "pow" else None
    for kind in ("apart", "equal", "one"):
        x = matrices(2, 3, kind).requires_grad_()

        def call(a):
            return symfun(0.5 * (a + a.mT), f, t, backend="cpu")

        assert torch.autograd.gradcheck(call, x) and torch.autograd.gradgradcheck(call, x)


class TestLogarithm(KernelSuite):
    kernel = staticmethod(lambda A: symfun(A, "log", backend="cpu"))
    reference = staticmethod(lambda A: symfun(A, "log", backend="torch", eig_dtype=A.dtype))
    inputs = staticmethod(lambda rows, g: {"A": matrices(rows, 4, seed=rows)})
    options = {"nan": False}  # noqa: RUF012


def test_bad_matrices_are_named() -> None:
    A = matrices(20, 4)
    for value, message in (
        (-torch.eye(4).double(), r"matrix \[17\] of `A` is not positive definite"),
        (torch.full((4, 4), torch.nan).double(), r"matrix \[17\] of `A` holds NaN"),
        (
            torch.eye(4).double() + torch.ones(4, 4).double().tril(-1),
            r"matrix \[17\] of `A` is not symmetric",
        ),
    ):
        bad = A.clone()
        bad[17] = value
        for f in ("log", "sqrt", "invsqrt"):
            with pytest.raises(InvalidInput, match=message):
                symfun(bad, f, backend="cpu")
    off = A.clone()
    off[3, 2, 1] = off[3, 1, 2] = torch.inf
    with pytest.raises(InvalidInput, match=r"matrix \[3\] of `A` holds NaN or infinity"):
        symfun(off, "exp", backend="cpu")
    with pytest.raises(InvalidInput, match="singular"):
        symfun(torch.ones(2, 3, 3), "inv", backend="cpu")
    with pytest.raises(InvalidInput, match="overflows"):
        symfun(100 * torch.eye(3), "exp", backend="cpu")


def test_the_backend_is_chosen_by_size() -> None:
    assert loops_pay(torch.empty(1, 8, 8)) and loops_pay(torch.empty(100, 64, 64))
    assert not loops_pay(torch.empty(1, 64, 64)) and not loops_pay(torch.empty(100, 200, 200))
    A = matrices(3, 4)
    with use_backend("torch"):
        assert torch.equal(symfun(A, "log"), symfun(A, "log", backend="torch"))
    assert torch.equal(symfun(A, "log"), symfun(A, "log", backend="cpu"))
    with pytest.raises(InvalidInput, match="float16 is not float32 or float64"):
        symfun(A.half(), "log", backend="cpu")
    with pytest.raises(InvalidInput, match="unknown backend"):
        symfun(A, "log", backend="gpu")


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_every_place_of_a_matrix_is_looked_at(n: int, value: float) -> None:
    """NaN on the diagonal passed, and where it met other entries afterwards."""
    for i in range(n):
        for j in range(n):
            A = torch.eye(n, dtype=torch.float64).repeat(20, 1, 1)
            A[17, i, j] = A[17, j, i] = value
            for f, t in (("clamp", 0.5), ("log", None), ("exp", None)):
                with pytest.raises(InvalidInput, match=r"matrix \[17\] of `A`"):
                    symfun(A, f, t, backend="cpu")


def test_entries_that_overflow_are_refused() -> None:
    A = torch.full((40, 2, 2), 1.5e308, dtype=torch.float64) - torch.diag(torch.ones(2, dtype=torch.float64))
    A[1:] = torch.eye(2, dtype=torch.float64)
    for f, t in (("clamp", 0.5), ("sqrt", None)):
        with pytest.raises(InvalidInput, match=r"matrix \[0\] of `A`"):  # not of memory behind what was kept
            symfun(A, f, t, backend="cpu")
