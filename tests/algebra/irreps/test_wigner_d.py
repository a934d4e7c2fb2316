"""The public Wigner matrices: laws, e3nn, derivatives, reflections, batches, refusals."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.irreps import Irrep, Irreps, spherical_harmonics, wigner_D

o3 = pytest.importorskip("e3nn.o3")


def rotations(count: int, seed: int = 0) -> torch.Tensor:
    q, r = torch.linalg.qr(
        torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    q = q * torch.linalg.diagonal(r)[:, None].sign()
    return q * torch.linalg.det(q)[:, None, None]


@pytest.mark.parametrize("l", range(12))
def test_a_homomorphism_that_moves_harmonics(l):
    r, s = rotations(20), rotations(20, 1)
    d = wigner_D(l, r)
    torch.testing.assert_close(d @ wigner_D(l, s), wigner_D(l, r @ s), rtol=0, atol=1e-12)
    torch.testing.assert_close(d @ d.mT, torch.eye(2 * l + 1).double().expand(20, -1, -1), rtol=0, atol=1e-12)
    x = torch.randn(20, 3, dtype=torch.float64)
    turned = spherical_harmonics(l, torch.einsum("nij,nj->ni", r, x))
    torch.testing.assert_close(
        torch.einsum("nij,nj->ni", d, spherical_harmonics(l, x)), turned, rtol=0, atol=3e-12
    )


@pytest.mark.parametrize("l", range(9))
@pytest.mark.parametrize("p", [1, -1])
def test_as_e3nn_with_reflections(l, p):
    r = rotations(10, l) * torch.tensor([1.0, -1.0] * 5, dtype=torch.float64)[:, None, None]
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.testing.assert_close(
            Irrep(l, p).D(r), o3.Irrep(l, p).D_from_matrix(r), rtol=0, atol=1e-9
        )  # theirs goes through angles
        text = f"2x{l}e+1x{l}o+1o"
        torch.testing.assert_close(Irreps(text).D(r), o3.Irreps(text).D_from_matrix(r), rtol=0, atol=1e-9)
    finally:
        torch.set_default_dtype(old)


@pytest.mark.parametrize("l", [1, 2, 4])
def test_derivatives_at_any_rotation(l):
    """Along rotations R exp(A), at the identity and at half turns too."""
    special = torch.stack([torch.eye(3), torch.diag(torch.tensor([-1.0, 1, -1]))]).double()
    base = torch.cat([special, rotations(2)])

    def turned(a):
        zero = torch.zeros_like(a[:, 0])
        k = torch.stack([zero, -a[:, 2], a[:, 1], a[:, 2], zero, -a[:, 0], -a[:, 1], a[:, 0], zero], -1)
        return wigner_D(l, base @ torch.linalg.matrix_exp(k.unflatten(-1, (3, 3))))

    a = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(turned, a) and gradgradcheck(turned, a)


def test_types_and_batches():
    r = rotations(6).reshape(2, 3, 3, 3)
    assert wigner_D(3, r).shape == (2, 3, 7, 7) and wigner_D(0, r).shape == (2, 3, 1, 1)
    assert wigner_D(2, r[:0]).shape == (0, 3, 5, 5)
    single = wigner_D(6, r.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wigner_D(6, r), rtol=0, atol=1e-5)
    assert Irreps("").D(r).shape == (2, 3, 0, 0)


def test_refusals():
    eye = torch.eye(3)
    for bad, words in (
        (torch.stack([eye, -eye]), r"matrix 1 is not a rotation.*Irrep\('1o'\)\.D"),
        (2 * eye, "not a rotation"),
        (torch.full((3, 3), float("nan")), "not a rotation"),
        (torch.eye(2), r"\(\.\.\., 3, 3\)"),
        (eye.long(), "int64"),
    ):
        with pytest.raises(InvalidInput, match=words):
            wigner_D(2, bad)
        if "1 is" not in words:
            with pytest.raises(InvalidInput, match=words):
                Irreps("1o").D(bad)
    with pytest.raises(InvalidInput, match="negative"):
        wigner_D(-1, eye)
