"""Couplings against fixtures, exact values and identities."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.irreps import bracket, bracket_constant, gaunt_constant, real_gaunt, wigner_3j

DATA = Path(__file__).parents[2] / "data" / "tensor_products"
TRIPLES = [(a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), a + b + 1)]


def test_wigner_3j_sign_included():
    stored = np.load(DATA / "cg_w3j.npz")
    assert len(stored.files) > 100
    for name in stored.files:
        found = wigner_3j(*map(int, name.split("_"))).numpy()
        assert np.abs(found - stored[name]).max() < 1e-14


@pytest.mark.parametrize(("name", "function"), [("gaunt", real_gaunt), ("bracket", bracket)])
def test_dense_tables(name, function):
    stored = np.load(DATA / f"{name}_dense_4_4_8.npz")
    dense = np.zeros(stored["shape"])
    dense[tuple(stored["index"])] = stored["value"]
    for a, b, c in TRIPLES:
        block = dense[a * a : (a + 1) ** 2, b * b : (b + 1) ** 2, c * c : (c + 1) ** 2]
        assert np.abs(block - function(a, b, c).numpy()).max() < 1e-12


def test_exact_gaunt_samples():
    stored = np.load(DATA / "real_gaunt_exact_samples.npz")
    rows = stored[stored.files[0]]
    assert rows.shape[1] == 7
    for l1, l2, l3, m1, m2, m3, value in rows:
        a, b, c = int(l1), int(l2), int(l3)
        if abs(a - b) <= c <= a + b:
            found = float(real_gaunt(a, b, c)[a + int(m1), b + int(m2), c + int(m3)])
        else:
            found = 0.0
        assert found == pytest.approx(value, abs=1e-13)


@pytest.mark.parametrize("triple", [(8, 8, 8), (7, 5, 6), (12, 3, 10), (9, 9, 17), (6, 0, 6)])
def test_high_degrees_are_unit_and_orthogonal(triple):
    """Summed over two indices the tensor is a multiple of the identity of the third: Schur's lemma."""
    c = wigner_3j(*triple)
    for axis, l in enumerate(triple):
        flat = c.movedim(axis, 0).flatten(1)
        torch.testing.assert_close(
            flat @ flat.T, torch.eye(2 * l + 1).double() / (2 * l + 1), atol=1e-13, rtol=0
        )


def test_symmetries():
    for a, b, c in TRIPLES:
        sign = (-1) ** (a + b + c)
        torch.testing.assert_close(
            wigner_3j(b, a, c), sign * wigner_3j(a, b, c).transpose(0, 1), atol=1e-14, rtol=0
        )
        torch.testing.assert_close(
            wigner_3j(a, c, b), sign * wigner_3j(a, b, c).transpose(1, 2), atol=1e-14, rtol=0
        )


def test_gaunt_and_bracket_cover_every_coupling_once():
    for a, b, c in TRIPLES:
        gaunt, poisson = gaunt_constant(a, b, c), bracket_constant(a, b, c)
        even = (a + b + c) % 2 == 0
        assert (gaunt > 0) == even and (poisson > 0) == (not even)
    assert gaunt_constant(1, 1, 4) == 0.0 and bracket_constant(1, 1, 4) == 0.0
    assert gaunt_constant(0, 0, 0) == pytest.approx(1 / math.sqrt(4 * math.pi))


def test_types_and_errors():
    assert wigner_3j(1, 1, 2, dtype=torch.float32).dtype == torch.float32
    first = wigner_3j(1, 1, 1)
    first.zero_()
    assert float(wigner_3j(1, 1, 1).norm()) == pytest.approx(1.0)
    for bad in ((1, 1, 3), (-1, 1, 1), (0, 1, 0)):
        with pytest.raises(InvalidInput, match="degrees"):
            wigner_3j(*bad)
