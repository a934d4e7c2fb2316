"""Matrices of Clifford algebras: homomorphisms, known sizes, products of every method, and their derivatives."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.frames import frame
from geomlib.algebra.clifford.products import bilinear, dense_table
from tests.algebra.clifford.common import SIGNATURES, as_matrix, rand

MORE = [
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (0, 0, 3),
    (1, 0, 1),
    (0, 2, 1),
    (3, 1, 0),
    (2, 2, 2),
    (6, 0, 0),
    (0, 7, 0),
    (4, 4, 0),
    (8, 0, 0),
]
every = pytest.mark.parametrize("signature", SIGNATURES + MORE, ids=str)


def close(a, b):
    torch.testing.assert_close(
        a, b, rtol=0, atol=1e-13 * max(1.0, float(b.detach().abs().max())) * a.shape[-1] ** 0.5
    )


@every
def test_products_of_matrices_are_matrices_of_products(signature):
    alg = CliffordAlgebra(*signature)
    x, y = rand(alg, 2, 3), rand(alg, 2, 3, seed=1)
    z = alg.gp(x, y, method="table")
    close(alg.to_matrix(x) @ alg.to_matrix(y), alg.to_matrix(z))
    close(alg.from_matrix(alg.to_matrix(x)), x)
    close(alg.gp(x, y, method="matrix"), z)
    one = alg.embed(torch.ones(1, dtype=torch.float64), 0)
    blocks, size, _ = alg.matrix_rep().shape
    assert torch.equal(alg.to_matrix(one), torch.eye(size, dtype=torch.float64).expand(blocks, -1, -1))


@pytest.mark.parametrize("metric", [(0, 1, 1, 1), (1, 0, -1), (1, -1, 0, 0, 1)])
def test_generators_in_any_order(metric):
    """Beside a representation by Jordan and Wigner that shares no code: equal products up to their own maps."""
    alg = CliffordAlgebra(metric=metric)
    x, y = rand(alg), rand(alg, seed=1)
    z = alg.gp(x, y, method="matrix")
    wanted = torch.from_numpy(as_matrix(metric, x) @ as_matrix(metric, y))
    close(torch.from_numpy(as_matrix(metric, z)).abs(), wanted.abs())
    torch.testing.assert_close(torch.from_numpy(as_matrix(metric, z)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("signature", "shape"),
    [  # M2(R), M2(C), M4(R), M2(H), 2 M2(H), M4(C), M4(H), M8(C), M16(R), M16(R), C, H, 2 R
        ((2, 0), (1, 2, 2)), ((3, 0), (1, 4, 4)), ((3, 1), (1, 4, 4)), ((1, 3), (1, 8, 8)), ((5, 0), (2, 8, 8)),
        ((4, 1), (1, 8, 8)), ((6, 0), (1, 16, 16)), ((7, 0), (1, 16, 16)), ((8, 0), (1, 16, 16)), ((4, 4), (1, 16, 16)),
        ((0, 1), (1, 2, 2)), ((0, 2), (1, 4, 4)), ((1, 0), (2, 1, 1)),
    ],
)  # fmt: skip
def test_sizes_are_those_of_the_classification(signature, shape):
    alg = CliffordAlgebra(*signature)
    assert alg.matrix_rep().shape == shape
    assert len(frame(alg.metric).sign) == 4**alg.n // 2 ** frame(alg.metric).count


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (1, 1, 1), (0, 0, 2)])
def test_derivatives(signature):
    alg = CliffordAlgebra(*signature)
    x, y = rand(alg, 2).requires_grad_(), rand(alg, seed=1).requires_grad_()  # broadcast

    def product(x, y):
        return bilinear(alg.metric, "gp", x, y, "matrix")

    assert torch.autograd.gradcheck(product, (x, y), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(product, (x, y))


def test_auto_takes_matrices_for_many_generators():
    """Values and gradients beside the Cayley tensor, empty and strided rows, float32."""
    alg = CliffordAlgebra(4, 2, 1)
    table = dense_table(alg.metric, "gp")
    x, y = (rand(alg, 3, 4, seed=k).transpose(0, 1).requires_grad_() for k in range(2))
    found, wanted = alg.gp(x, y), torch.einsum("...i,ijk,...k->...j", x, table, y)
    close(found, wanted)
    g = rand(alg, 4, 3, seed=5)
    for a, b in zip(*(torch.autograd.grad(z, (x, y), g) for z in (found, wanted)), strict=True):
        close(a, b)
    assert alg.gp(x[:0], y[:0]).shape == (0, 3, 128)
    assert alg.gp(x.float(), y.float()).dtype == torch.float32
    torch.testing.assert_close(alg.gp(x.float(), y.float()), wanted.float(), rtol=0, atol=1e-3)


def test_misuse():
    alg = CliffordAlgebra(3)
    with pytest.raises(InvalidInput, match=r"from_matrix: expected \(..., 1, 4, 4\)"):
        alg.from_matrix(torch.zeros(4, 4))
    with pytest.raises(InvalidInput, match="8 blades"):
        alg.to_matrix(torch.zeros(4))
    with pytest.raises(InvalidInput, match="'matrix' serves the geometric product"):
        bilinear(alg.metric, "wedge", torch.zeros(8), torch.zeros(8), "matrix")
    with pytest.raises(InvalidInput, match="method 'matrx'"):
        alg.gp(torch.zeros(8), torch.zeros(8), method="matrx")
