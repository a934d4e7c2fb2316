"""The basis of symmetric equivariant maps: counted by characters, orthonormal, equivariant, spanning all products."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.irreps import Irrep, Irreps, symmetric_basis, symmetric_tensors, wigner_3j

from .test_wigner_d import rotations

CASES = [
    ("0e+1o", 3),
    ("0e+1o+2e", 3),
    ("0e+1o+2e+3o", 3),
    ("1o+1o+0o", 3),
    ("1e+2o", 2),
    ("2e", 3),
    ("1o", 4),
]
OUTS = ["0e", "1o", "2e", "3o", "1e", "0o"]


def character(irreps: Irreps, angle: np.ndarray, parity: int) -> np.ndarray:
    total = np.zeros_like(angle)
    for b in irreps:
        sign = b.ir.p if parity == -1 else 1
        total = total + sign * b.mul * sum(np.cos(m * angle) for m in range(-b.ir.l, b.ir.l + 1))
    return total


def molien(irreps: Irreps, out: Irrep, degree: int) -> int:
    """The multiplicity of an irrep in a symmetric power, from power sums of characters integrated over O(3)."""
    n = 4 * (degree * irreps.lmax + out.l) + 8
    angle = 2 * np.pi * np.arange(n) / n
    measure = (1 - np.cos(angle)) / n
    total = 0.0
    for parity in (1, -1):
        powers = [character(irreps, k * angle, parity**k) for k in range(1, degree + 1)]
        complete = [np.ones(n)]
        for d in range(1, degree + 1):
            complete.append(sum(powers[k - 1] * complete[d - k] for k in range(1, d + 1)) / d)
        total += float((measure * complete[degree] * character(Irreps([(1, out)]), angle, parity)).sum()) / 2
    assert abs(total - round(total)) < 1e-9
    return round(total)


@pytest.mark.parametrize(("irreps", "degree"), CASES)
@pytest.mark.parametrize("out", OUTS)
def test_as_many_as_characters_count(irreps, degree, out):
    for d in range(1, degree + 1):
        assert len(symmetric_basis(irreps, out, d).paths) == molien(Irreps(irreps), Irrep.parse(out), d)


@pytest.mark.parametrize(("irreps", "degree"), CASES)
@pytest.mark.parametrize("out", ["0e", "1o", "2e"])
def test_orthonormal_symmetric_equivariant(irreps, degree, out):
    u = symmetric_tensors(irreps, out, degree)
    count = u.shape[-1]
    flat = u.flatten(1, -2)
    gram = torch.einsum("mik,nil->mnkl", flat, flat)
    eye = torch.einsum("mn,kl->mnkl", torch.eye(len(u)).double(), torch.eye(count).double())
    torch.testing.assert_close(gram, eye, rtol=0, atol=1e-13)
    for p in itertools.permutations(range(degree)):
        torch.testing.assert_close(u.permute(0, *(1 + k for k in p), degree + 1), u, rtol=0, atol=1e-14)
    r = rotations(1)[0] * -1.0
    d = Irreps(irreps).D(r)
    turned = u
    for _ in range(degree if count else 0):  # the new axis goes behind the other factors: their order stays
        turned = torch.tensordot(turned, d, dims=([1], [1])).movedim(-1, -2)
    expected = torch.tensordot(Irrep.parse(out).D(r).mT, u, dims=1)
    torch.testing.assert_close(turned if count else expected, expected, rtol=0, atol=1e-12)


def test_products_of_all_orders_of_coupling_are_combinations():
    """Right-nested couplings, which are no paths of the basis, lie in its span on equal factors."""
    irreps, out = Irreps("0e+1o+2e"), Irrep.parse("1o")
    u = symmetric_tensors(irreps, out, 3)
    x = torch.randn(400, irreps.dim, dtype=torch.float64)
    values = torch.einsum("mijkn,bi,bj,bk->bmn", u, x, x, x).flatten(0, 1)
    parts = dict(zip([b.ir for b in irreps], x.split([b.dim for b in irreps], 1), strict=True))
    tried = 0
    for (a, xa), (b, xb), (c, xc) in itertools.product(parts.items(), repeat=3):
        for middle in b * c:
            if out not in a * middle:
                continue
            inner = torch.einsum("bj,bk,jke->be", xb, xc, wigner_3j(b.l, c.l, middle.l))
            z = torch.einsum("bi,be,iem->bm", xa, inner, wigner_3j(a.l, middle.l, out.l)).flatten()
            found = torch.linalg.lstsq(values, z[:, None]).solution
            torch.testing.assert_close(values @ found, z[:, None], rtol=0, atol=1e-10)
            tried += 1
    assert tried > 15


def test_coefficients_stay_small():
    for out in OUTS:
        basis = symmetric_basis("0e+1o+2e+3o+4e", out, 3)
        if len(basis.paths):
            assert float(basis.mixing.abs().max()) < 2 * math.sqrt(6)


def test_refusals():
    with pytest.raises(InvalidInput, match="degree 0"):
        symmetric_basis("1o", "0e", 0)
    with pytest.raises(InvalidInput, match="not a term"):
        symmetric_basis("1q", "0e", 2)
