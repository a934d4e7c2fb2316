"""Exponentials, logarithms, grade-typed storage, projective geometry, conversions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from geomlib import InvalidInput, verify
from geomlib.algebra.clifford import (
    PGA,
    CliffordAlgebra,
    from_irreps,
    from_quaternion,
    motor,
    plane,
    point,
    point_coordinates,
    reflect,
    rotor,
    to_irreps,
    to_quaternion,
    translator,
)
from tests.algebra.clifford.common import SIGNATURES, as_matrix, rand

every = pytest.mark.parametrize("alg", [CliffordAlgebra(*s) for s in SIGNATURES], ids=str)
SOLVED = [
    CliffordAlgebra(*s)
    for s in [
        (2, 0, 0),
        (3, 0, 0),
        (0, 3, 0),
        (1, 1, 0),
        (2, 0, 1),
        (1, 2, 0),
        (3, 0, 1),
        (1, 2, 1),
        (0, 3, 1),
    ]
]


def close(a, b, tol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(torch.as_tensor(b).abs().max())))


def bivectors(alg, rows=6, seed=0):
    return alg.embed(rand(alg, rows, seed=seed)[..., alg.grade_slices[2]], 2)


@every
@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-2, 0.2, 1.0, 4.0])
def test_exp_is_that_of_matrices(alg, size):
    for b in size * bivectors(alg, 3):
        wanted = expm(as_matrix(alg.metric, b))
        found = as_matrix(alg.metric, alg.exp(b))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * max(1.0, np.abs(wanted).max()))


@every
def test_exponentials_are_versors(alg):
    b = 0.7 * bivectors(alg)
    r, one = alg.exp(b), alg.blade("1", b).expand_as(b)
    close(alg.gp(r, alg.reverse(r)), one)
    close(alg.gp(alg.exp(b / 2), alg.exp(b / 2)), r)
    x = alg.embed(rand(alg, 6)[..., 1 : alg.n + 1], 1)
    moved = alg.sandwich(r, x)
    close(moved, alg.embed(moved[..., 1 : alg.n + 1], 1))


@pytest.mark.parametrize("alg", SOLVED, ids=str)
@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.1, 0.22, 0.5, 1.0])
def test_log_undoes_exp(alg, size):
    b = size * bivectors(alg, 40)
    r = alg.exp(b)
    again = alg.exp(alg.log(r))
    keep = alg.gp(b, b)[..., 0] > -(math.pi**2) * 0.98  # within half a turn
    assert int(keep.sum()) > 10
    close(alg.log(r)[keep], b[keep], 1e-11)
    close(again, r, 1e-11)


@pytest.mark.parametrize("alg", SOLVED, ids=str)
def test_derivatives_of_exp_and_log(alg):
    coordinates = rand(alg, 2)[..., alg.grade_slices[2]] * torch.tensor([[0.05], [0.8]], dtype=torch.float64)

    def f(c):
        return alg.exp(alg.embed(c, 2))

    def g(c):
        return alg.extract(alg.log(f(c)), 2)

    for c in (coordinates, torch.zeros_like(coordinates)):
        c = c.requires_grad_()
        assert torch.autograd.gradcheck(f, c) and torch.autograd.gradgradcheck(f, c)
        assert torch.autograd.gradcheck(g, c)


@pytest.mark.parametrize("alg", SOLVED, ids=str)
def test_project_unit(alg):
    r = alg.exp(0.5 * bivectors(alg))
    even = [k for k, g in enumerate(alg.grades) if g % 2 == 0]
    noise = torch.zeros_like(r)
    noise[..., even] = 0.05 * rand(alg, 6, seed=3)[..., even]
    fixed = alg.project_unit(2 * (r + noise))
    close(alg.gp(fixed, alg.reverse(fixed)), alg.blade("1", r).expand_as(r))
    close(alg.project_unit(3 * r), r)


def test_what_has_no_logarithm():
    five, three = CliffordAlgebra(5), CliffordAlgebra(3)
    one = three.blade("1", torch.zeros(1))
    with pytest.raises(InvalidInput, match="n <= 3"):
        five.log(five.blade("1"))
    with pytest.raises(InvalidInput, match="minus one"):
        three.log(-one)
    with pytest.raises(InvalidInput, match="not 1"):
        three.log(2 * one)
    with pytest.raises(InvalidInput, match="grades 0, 2"):
        three.log(three.blade("e1"))
    with pytest.raises(InvalidInput, match="grades 2"):
        three.exp(one)
    with pytest.raises(InvalidInput, match="not positive"):
        three.project_unit(torch.zeros(8))
    assert torch.equal(three.log(one), torch.zeros(8))


@every
def test_grade_typed_products(alg):
    for left, right in (((1,), (1,)), ((0, 2), (1,)), ((0, 2), (0, 2)), ((2,), (0, 1))):
        a, b = alg.space(left), alg.space(right)
        x, y = rand(alg, 3)[..., : a.dim], rand(alg, 3, seed=1)[..., : b.dim]
        z, where = a.gp(x, b, y)
        close(where.embed(z), alg.gp(a.embed(x), b.embed(y)))
        w, vectors = a.gp(x, b, y, (1,), kind="wedge")
        close(w, alg.extract(alg.wedge(a.embed(x), b.embed(y)), 1))
        assert vectors.dim == alg.n
        close(a.reverse(x), a.extract(alg.reverse(a.embed(x))))
    with pytest.raises(InvalidInput, match="increasing"):
        alg.space((2, 1))
    with pytest.raises(InvalidInput, match="factors of"):
        alg.space((1,)).gp(x, CliffordAlgebra(6).space((1,)), y)


def test_projective_geometry():
    rng = torch.Generator().manual_seed(0)
    x, t, n, axis = torch.randn(4, 7, 3, dtype=torch.float64, generator=rng)
    n, axis = (v / v.norm(dim=-1, keepdim=True) for v in (n, axis))
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)
    close(point_coordinates(point(x)), x)
    close(point_coordinates(PGA.sandwich(translator(t), point(x))), x + t)
    cross = torch.zeros(7, 3, 3, dtype=torch.float64)
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    turn = torch.linalg.matrix_exp((cross - cross.mT) * angle[:, None, None])
    turned = (turn @ x[..., None])[..., 0]
    close(point_coordinates(PGA.sandwich(rotor(axis, angle), point(x))), turned)
    m = motor(axis, angle, t)
    close(point_coordinates(PGA.sandwich(m, point(x))), turned + t)
    close(PGA.gp(m, PGA.reverse(m)), PGA.blade("1", m).expand_as(m))
    close(PGA.exp(PGA.log(m)), m)
    # A plane through x holds x: their join is zero; and mirrors send x to its image.
    p = plane(n, (n * x).sum(-1))
    close(PGA.wedge(p, point(x)), torch.zeros_like(p))
    q = plane(n, torch.full((7,), 0.3, dtype=torch.float64))
    mirrored = x - 2 * ((n * x).sum(-1, keepdim=True) - 0.3) * n
    close(point_coordinates(reflect(q, point(x))), mirrored)
    with pytest.raises(InvalidInput, match="point"):
        point(torch.randn(4))


def test_conversions():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 8, generator=rng)
    assert torch.equal(from_irreps(to_irreps(x)), x)
    report = verify.check(
        to_irreps, "O(3)", "mv(3,0,0)", "4x0e+4x1o+4x1e+4x0o", example=x[:, :1].expand(5, 4, 8)
    )
    assert report.verdict == "EXACT"
    q, p = torch.randn(2, 5, 4, generator=rng)
    (a, b), (c, d) = (q[:, :3], q[:, 3:]), (p[:, :3], p[:, 3:])
    hamilton = torch.cat(
        [b * c + d * a + torch.linalg.cross(a, c), b * d - (a * c).sum(-1, keepdim=True)], -1
    )
    alg = CliffordAlgebra(3)
    torch.testing.assert_close(to_quaternion(alg.gp(from_quaternion(q), from_quaternion(p))), hamilton)
    torch.testing.assert_close(to_quaternion(from_quaternion(q, PGA), PGA), q)
    with pytest.raises(InvalidInput, match="from_quaternion"):
        from_quaternion(torch.randn(3))
    with pytest.raises(InvalidInput, match="to_irreps"):
        to_irreps(torch.randn(8))
