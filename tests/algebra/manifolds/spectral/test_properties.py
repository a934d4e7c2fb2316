"""Identities that hold for every spectrum: inverses, powers, orthogonal conjugation, symmetry of derivatives."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.algebra.manifolds.spectral import derivative_symfun, symfun
from tests.algebra.manifolds.spectral.common import FUNCTIONS, generator, symmetric

exponents = st.floats(-4, 4).map(lambda x: round(x, 3))
spectra = st.lists(exponents, min_size=1, max_size=7)


def matrix(logs: list[float], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(logs)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator(seed), dtype=torch.float64))[0]
    w = 10.0 ** torch.tensor(logs, dtype=torch.float64)
    a = (q * w) @ q.mT
    return 0.5 * (a + a.mT), q


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return float((a - b).norm()) <= tolerance * float(b.norm())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(spectra, st.integers(0, 99), st.floats(-2, 2))
def test_identities(logs: list[float], seed: int, t: float) -> None:
    A, q = matrix(logs, seed)
    kappa = 10.0 ** (max(logs) - min(logs))
    eye = torch.eye(len(logs), dtype=torch.float64)
    assert same(symfun(symfun(A, "log"), "exp"), A, 1e-13)
    assert same(symfun(symfun(A, "sqrt"), "pow", 2.0), A, 1e-13)
    assert same(symfun(A, "inv") @ A, eye, 1e-14 * kappa + 1e-13)
    assert same(symfun(A, "pow", t) @ symfun(A, "pow", -t), eye, 1e-13 * kappa ** abs(t) + 1e-13)
    turned = q @ A @ q.mT
    # Of e A: the logarithm of the identity is noise, and the error of noise is as large.
    assert same(symfun(math.e * turned, "log"), q @ symfun(math.e * A, "log") @ q.mT, 1e-13 * kappa + 1e-12)
    log_det = sum(logs) * math.log(10)
    assert abs(float(symfun(A, "log").trace()) - log_det) <= 1e-13 * kappa + 1e-12


@settings(max_examples=30, deadline=None, derandomize=True)
@given(spectra, st.integers(0, 99), st.sampled_from(FUNCTIONS))
def test_derivatives_are_their_own_transposes(logs: list[float], seed: int, function) -> None:
    """<H, Df[G]> = <G, Df[H]>, linear in G, and Df[A] = A f'(A) along the ray of A."""
    f, t = function
    A, _ = matrix([0.25 * x for x in logs], seed)
    n = len(logs)
    G, H = symmetric(n, n, seed=seed), symmetric(n, n, seed=seed + 1)
    DG, DH = derivative_symfun(A, f, G, t), derivative_symfun(A, f, H, t)
    size = float(DG.norm() * H.norm() + DH.norm() * G.norm()) + 1e-30
    assert abs(float((H * DG).sum() - (G * DH).sum())) <= 1e-13 * size
    assert (
        same(derivative_symfun(A, f, G - 2 * H, t), DG - 2 * DH, 1e-12)
        or float((DG - 2 * DH).norm()) < 1e-12 * size
    )
    ray = {
        "log": lambda: torch.eye(n, dtype=torch.float64),
        "sqrt": lambda: 0.5 * symfun(A, "sqrt"),
        "invsqrt": lambda: -0.5 * symfun(A, "invsqrt"),
        "inv": lambda: -symfun(A, "inv"),
        "exp": lambda: A @ symfun(A, "exp"),
        "pow": lambda: t * symfun(A, "pow", t),
    }
    if f in ray:
        assert same(derivative_symfun(A, f, A, t), ray[f](), 1e-11)
