"""Values and gradients against arithmetic in 60 digits."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.spectral import symfun
from tests.algebra.manifolds.spectral.common import load, relative


def gradient(A, f, t, G):
    x = A.clone().requires_grad_()
    return torch.autograd.grad(symfun(x, f, t), x, G)[0]


@pytest.mark.parametrize("case", ["identity", "pair", "triple", "near1e-10"])
@pytest.mark.parametrize("f", ["log", "sqrt", "invsqrt", "exp", "inv"])
def test_gradients_at_repeated_eigenvalues(case: str, f: str) -> None:
    data = load("eigfun_vjp")
    A, G, wanted = (data[f"{case}_{k}"] for k in ("A", "G", f"vjp_{f}"))
    assert relative(gradient(A, f, None, G), wanted) < 1e-12
    if float(data[f"{case}_w"].max()) < 80 or f != "exp":  # exp(100) is no float32
        assert relative(gradient(A.float(), f, None, G.float()), wanted) < 1e-5


@pytest.mark.parametrize("f", ["log", "sqrt", "invsqrt", "inv"])
def test_gradients_at_condition_1e10(f: str) -> None:
    """The rounding of A itself limits every method here."""
    data = load("eigfun_vjp")
    A, G, wanted = (data[f"cond1e10_{k}"] for k in ("A", "G", f"vjp_{f}"))
    assert relative(gradient(A, f, None, G), wanted) < 1e-6


@pytest.mark.parametrize("case", ["generic", "pair", "near1e-9", "floor"])
@pytest.mark.parametrize(
    ("f", "t", "key"),
    [
        ("pow", 0.5, "pow0.5"),
        ("pow", 0.3, "pow0.3"),
        ("pow", -1.5, "pow-1.5"),
        ("log", None, "log"),
        ("clamp", 1e-4, "clamp1e-4"),
    ],
)
def test_gradients_of_powers_and_floors(case: str, f: str, t: float | None, key: str) -> None:
    data = load("eigfun_vjp_pow")
    A, G, wanted = (data[f"{case}_{k}"] for k in ("A", "G", f"vjp_{key}"))
    kappa = float(torch.linalg.cond(A))
    assert relative(gradient(A, f, t, G), wanted) < max(1e-12, 1e-15 * kappa)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_values(n: int) -> None:
    data = load(f"spd_n{n}")
    P, scale = data["P"], 1e-12 if n <= 3 else 1e-9
    for f, t, key in (
        ("log", None, "P_log_mp"),
        ("sqrt", None, "P_sqrt_mp"),
        ("invsqrt", None, "P_invsqrt_mp"),
        ("pow", 0.7, "P_pow0.7_mp"),
    ):
        assert relative(symfun(P, f, t), data[key]) < scale, key
    assert relative(symfun(data["Sexp_in"], "exp"), data["Sexp_mp"]) < 1e-12
