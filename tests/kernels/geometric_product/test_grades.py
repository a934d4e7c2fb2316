"""Squares and multiples of grades: the loops beside plain torch."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.dispatch import available_backends
from geomlib.kernels.geometric_product import grade_scale, grade_squares
from tests.algebra.clifford.common import SIGNATURES, rand

BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")


@pytest.mark.parametrize("alg", [CliffordAlgebra(*s) for s in SIGNATURES], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_values(alg, backend):
    x = rand(alg, 150, 2)
    q = grade_squares(x, alg, backend=backend)
    for g, part in enumerate(alg.grade_slices):
        one = alg.embed(x[..., part], g)
        torch.testing.assert_close(q[..., g], alg.gp(alg.reverse(one), one)[..., 0], rtol=0, atol=1e-11)
    u = grade_squares(x, alg, scalar_as_is=True, backend=backend)
    assert torch.equal(u[..., 0], x[..., 0]) and torch.equal(u[..., 1:], q[..., 1:])
    scaled = grade_scale(x, q, alg, backend=backend)
    for g, part in enumerate(alg.grade_slices):
        torch.testing.assert_close(scaled[..., part], x[..., part] * q[..., g : g + 1], rtol=1e-14, atol=0)
    assert grade_squares(x[:0], alg, backend=backend).shape == (0, 2, alg.n + 1)
    assert grade_scale(x[:0], q[:0], alg, backend=backend).shape == (0, 2, alg.size)


@pytest.mark.parametrize("signature", [(2, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives(signature, backend):
    alg = CliffordAlgebra(*signature)
    x = rand(alg, 2, 2).requires_grad_()
    s = rand(alg, 2, 2, seed=1)[..., : alg.n + 1].requires_grad_()

    def squares(x):
        return grade_squares(x, alg, backend=backend)

    def scaled(x, s):
        return grade_scale(x, s, alg, backend=backend)

    def invariants(x):
        return grade_squares(x, alg, scalar_as_is=True, backend=backend)

    def both(x):
        return scaled(x, squares(x).sigmoid())

    for function, args in ((squares, (x,)), (invariants, (x,)), (scaled, (x, s)), (both, (x,))):
        assert torch.autograd.gradcheck(function, args)
        assert torch.autograd.gradgradcheck(function, args)


def test_misuse():
    alg = CliffordAlgebra(3)
    with pytest.raises(InvalidInput, match="float32 factors"):
        grade_scale(torch.randn(2, 8), torch.randn(2, 3), alg)
    with pytest.raises(InvalidInput, match="8 blades"):
        grade_squares(torch.randn(2, 4), alg)
