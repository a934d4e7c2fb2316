"""Compact Cartesian tensors against plain 3x3 matrices."""

import pytest
import torch

from geomlib.algebra import cartesian

D = torch.float64


def test_basis_is_orthonormal_and_split_by_symmetry():
    basis = cartesian.orthonormal_basis()
    torch.testing.assert_close(
        torch.einsum("kij,lij->kl", basis, basis), torch.eye(9, dtype=D), atol=1e-15, rtol=0
    )
    swapped = basis.transpose(1, 2)
    assert torch.equal(swapped[1:4], -basis[1:4])
    assert torch.equal(swapped[4:], basis[4:])
    assert basis[1:].diagonal(dim1=1, dim2=2).sum(-1).abs().max() < 1e-15


def test_compose_inverts_decompose():
    matrices = torch.randn(4, 5, 3, 3, dtype=D)
    x = cartesian.decompose(matrices)
    torch.testing.assert_close(cartesian.compose(x), matrices)
    oracle = torch.einsum("kij,ncij->nkc", cartesian.orthonormal_basis(), matrices)
    torch.testing.assert_close(x, oracle)


def test_parts_sum_to_the_matrix_and_their_norms_to_its_norm():
    matrices = torch.randn(4, 5, 3, 3, dtype=D)
    scalar, antisymmetric, symmetric = cartesian.parts(matrices)
    total = scalar[..., None, None] * torch.eye(3, dtype=D) + antisymmetric + symmetric
    torch.testing.assert_close(total, matrices)
    norms = cartesian.part_norms2(cartesian.decompose(matrices))
    expected = [3 * scalar**2, cartesian.norm2(antisymmetric), cartesian.norm2(symmetric)]
    torch.testing.assert_close(norms, torch.stack(expected, 1))
    torch.testing.assert_close(norms.sum(1), cartesian.norm2(matrices))


def test_cross_matrix_is_the_cross_product():
    v, w = torch.randn(2, 7, 3, dtype=D)
    torch.testing.assert_close((cartesian.cross_matrix(v) @ w[..., None])[..., 0], torch.linalg.cross(v, w))


def test_directions_are_the_three_tensors_of_a_bond():
    u = torch.nn.functional.normalize(torch.randn(7, 3, dtype=D), dim=-1)
    matrices = cartesian.compose(cartesian.directions(u)[..., None])[:, 0]
    eye = torch.eye(3, dtype=D)
    expected = eye + cartesian.cross_matrix(u) + u[:, :, None] * u[:, None, :] - eye / 3
    torch.testing.assert_close(matrices, expected)


@pytest.mark.parametrize("improper", [False, True])
def test_rows_transform_as_0e_1o_2e_when_the_antisymmetric_part_is_polar(improper):
    o3 = pytest.importorskip("e3nn.o3")
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=D))
    q = q * torch.linalg.det(q) * (-1 if improper else 1)
    u = torch.nn.functional.normalize(torch.randn(7, 3, dtype=D), dim=-1)
    default = torch.get_default_dtype()
    torch.set_default_dtype(D)
    try:
        matrix = o3.Irreps("0e+1o+2e").D_from_matrix(q)
    finally:
        torch.set_default_dtype(default)
    rotated = cartesian.directions(u @ q.T)
    torch.testing.assert_close(rotated, cartesian.directions(u) @ matrix.T, atol=1e-7, rtol=0)
