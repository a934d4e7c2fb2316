"""Irreps of O(3) to l = 11: laws at the identity and at half turns, e3nn, scipy, harmonics of turned points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.algebra import representations as reps
from geomlib.algebra.groups import compose, inverse, parse_group, rotation, stratified
from geomlib.algebra.representations import irrep_matrix, matrix, wigner_matrices
from geomlib.algebra.types import MAX_L
from tests.algebra._groups import gen, plain

DEGREES = range(MAX_L + 1)


def elements(trials: int = 8, seed: int = 0) -> list:
    group, rng = parse_group("O(3)"), gen(seed)
    return stratified(group, trials, rng) + group.special(rng)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("parity", [1, -1])
def test_laws_at_random_and_special_elements(degree: int, parity: int) -> None:
    """D(R)D(S) = D(RS) and D(R^-1)D(R) = 1 to 1e-12, also at 1e-8 and pi - 1e-8; D is orthogonal."""
    found = elements()
    eye = torch.eye(2 * degree + 1, dtype=torch.float64)
    for g, h in zip(found, found[3:] + found[:3], strict=True):
        d, e, both = (irrep_matrix(degree, parity, k.linear) for k in (g, h, compose(g, h)))
        torch.testing.assert_close(d @ e, both, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            irrep_matrix(degree, parity, inverse(g).linear) @ d, eye, rtol=0, atol=1e-12
        )
        torch.testing.assert_close(d.T @ d, eye, rtol=0, atol=1e-12)
    assert torch.equal(irrep_matrix(degree, parity, torch.eye(3).double()).round(decimals=13), eye)


@pytest.mark.parametrize("degree", DEGREES)
def test_against_e3nn_with_parity(degree: int) -> None:
    """E3nn goes through Euler angles: 1e-9 at generic elements."""
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for g in stratified(parse_group("O(3)"), 12, gen(degree)):
            for parity in (1, -1):
                wanted = o3.Irrep(degree, parity).D_from_matrix(g.linear)
                torch.testing.assert_close(irrep_matrix(degree, parity, g.linear), wanted, rtol=0, atol=1e-9)
    finally:
        torch.set_default_dtype(old)


@pytest.mark.parametrize("degree", DEGREES)
def test_harmonics_of_turned_points(degree: int) -> None:
    """Y(Q x) = rho(Q) Y(x) with e3nn's harmonics, parity (-1)^l, at special elements too."""
    x = torch.randn(20, 3, generator=gen(), dtype=torch.float64)
    for g in elements():
        before, after = (o3.spherical_harmonics(degree, v, normalize=True) for v in (x, x @ g.linear.T))
        d = irrep_matrix(degree, (-1) ** degree, g.linear)
        torch.testing.assert_close(before @ d.T, after, rtol=0, atol=3e-12)


def test_low_degrees_in_closed_form() -> None:
    e = reps.symmetric_traceless_basis()
    for g in elements():
        one, two = irrep_matrix(1, -1, g.linear), irrep_matrix(2, 1, g.linear)
        torch.testing.assert_close(one, g.linear, rtol=0, atol=0)
        torch.testing.assert_close(
            two, torch.einsum("kij,ia,lab,jb->kl", e, g.linear, e, g.linear), rtol=0, atol=1e-14
        )


@pytest.mark.parametrize("degree", DEGREES)
def test_characters(degree: int) -> None:
    """The trace is sin((2l+1) t/2) / sin(t/2) at scipy's rotation by t."""
    for turn in Rotation.random(5, random_state=degree):
        t = turn.magnitude()
        trace = float(irrep_matrix(degree, 1, torch.tensor(turn.as_matrix())).trace())
        assert trace == pytest.approx(math.sin((degree + 0.5) * t) / math.sin(t / 2), abs=1e-11)


def test_turns_about_y_are_diagonal_in_pairs() -> None:
    """The polar axis is y: component l is fixed, components l +- m turn by m times the angle."""
    angle = 0.7
    d = irrep_matrix(5, 1, rotation(torch.tensor([0.0, 1.0, 0.0]), angle))
    assert float(d[5, 5]) == pytest.approx(1.0, abs=1e-14)
    for m in range(1, 6):
        block = d[[5 - m, 5 + m]][:, [5 - m, 5 + m]]
        assert float(block[0, 0]) == pytest.approx(math.cos(m * angle), abs=1e-13)
        assert abs(float(block[0, 1])) == pytest.approx(abs(math.sin(m * angle)), abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_dtype_does_not_matter(dtype: torch.dtype) -> None:
    q = rotation(torch.tensor([1.0, 2.0, 3.0]), 1.0)
    wanted = matrix("1x3o+1x4e", plain(q))
    old = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    reps.wigner.stretched.cache_clear()
    reps.wigner._exact.cache_clear()
    try:
        assert torch.equal(matrix("1x3o+1x4e", plain(q)), wanted)
    finally:
        torch.set_default_dtype(old)


def test_batches() -> None:
    q = torch.stack([g.linear for g in elements()]).reshape(1, -1, 3, 3)
    for degree in (0, 1, 4):
        found = irrep_matrix(degree, -1, q)
        assert found.shape == (1, q.shape[1], 2 * degree + 1, 2 * degree + 1)
        for k in range(q.shape[1]):
            torch.testing.assert_close(found[0, k], irrep_matrix(degree, -1, q[0, k]), rtol=0, atol=1e-15)
    assert [len(d) for d in wigner_matrices(2, q[0, 0])] == [1, 3, 5]
    assert len(wigner_matrices(0, q[0, 0])) == 1


def test_accuracy_near_the_identity() -> None:
    """D(exp(1e-8 X)) - 1 keeps its digits: its norm is 1e-8 sqrt(2 * sum of m^2)."""
    q = rotation(torch.tensor([0.3, -0.5, 0.8]), 1e-8)
    for degree in (1, 4, 8):
        gap = irrep_matrix(degree, 1, q) - torch.eye(2 * degree + 1).double()
        norm = np.sqrt(2.0 * sum(m * m for m in range(1, degree + 1)))
        assert float(gap.norm()) == pytest.approx(1e-8 * norm, rel=1e-6)


def test_misuse() -> None:
    with pytest.raises(InvalidInput, match=r"degree 12 is not in 0\.\.11"):
        irrep_matrix(12, 1, torch.eye(3).double())
    with pytest.raises(InvalidInput, match="not orthogonal"):
        reps.act("1o", parse_group("GL(3)").sample("proper", gen()), torch.zeros(3))
    with pytest.raises(InvalidInput, match=r"shape \(2, 2\)"):
        reps.act("1o", parse_group("O(2)").sample("proper", gen()), torch.zeros(3))
    x = torch.randn(4, 3, dtype=torch.float64)
    g = parse_group("O(2)*O(3)").sample("improper, improper", gen())
    torch.testing.assert_close(reps.act("1o", g, x), x @ g.on(3).T, rtol=0, atol=1e-15)
