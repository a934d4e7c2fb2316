"""Layers alone: plain tensors in, errors that name the argument, exact constants."""

import pytest
import torch

from geomlib import InvalidInput
from geomlib.layers import BesselBasis, ExpNormalBasis, TensorEmbedding, TensorInteraction, radius_graph

D = torch.float64


@pytest.mark.parametrize(
    "basis", [ExpNormalBasis(8, 5.0), BesselBasis(8, 5.0), ExpNormalBasis(8, 5.0, "cosine")]
)
def test_basis_carries_its_derivative(basis):
    r = torch.tensor([1e-3, 0.05, 0.7, 2.0, 4.9, 5.0, 6.0], dtype=D, requires_grad=True)
    dual, _ = basis.with_slope(r.detach())
    value = basis(r)
    torch.testing.assert_close(dual[0], value)
    for k in range(8):
        (slope,) = torch.autograd.grad(value[:, k].sum(), r, retain_graph=True)
        torch.testing.assert_close(dual[1, :, k], slope, atol=1e-8, rtol=1e-8)
    assert (value[-2:] == 0).all()


def test_bessel_functions_at_zero_take_their_limit():
    value = BesselBasis(3, 5.0)(torch.zeros(1, dtype=D))
    k = torch.arange(1, 4, dtype=D)
    torch.testing.assert_close(value[0], (2 / 5.0) ** 0.5 * k * torch.pi / 5.0)


def test_constants_survive_a_cast():
    exact = ExpNormalBasis(8, 5.0).means
    assert torch.equal(ExpNormalBasis(8, 5.0).float().half().double().means, exact)
    assert exact.dtype == D


def test_radius_graph_against_distances():
    pos = torch.rand(20, 3, dtype=D) * 4
    batch = torch.arange(20) // 10
    edge_index, shift = radius_graph(pos, 2.0, batch)
    near = (torch.cdist(pos, pos) < 2.0) & (batch[:, None] == batch)
    near.fill_diagonal_(False)
    assert set(map(tuple, edge_index.T.tolist())) == set(map(tuple, near.nonzero().tolist()))
    assert (shift == 0).all()
    assert radius_graph(pos, 2.0, batch, loop=True)[0].shape[1] == edge_index.shape[1] + 20


def test_radius_graph_shifts_give_the_vectors():
    pos, cell = torch.rand(4, 3, dtype=D) * 9 - 3, 3.0 * torch.eye(3, dtype=D)
    edge_index, shift = radius_graph(pos, 2.5, cell=cell)
    vec = pos[edge_index[1]] - pos[edge_index[0]] + shift.double() @ cell
    assert (vec.norm(dim=1) < 2.5).all()
    back = {(int(t), int(s), *map(int, -v)) for (s, t), v in zip(edge_index.T, shift, strict=True)}
    assert back == {(int(s), int(t), *map(int, v)) for (s, t), v in zip(edge_index.T, shift, strict=True)}


def test_edge_vectors_carry_gradients_of_any_order():
    layer = TensorEmbedding(4, 6, 5.0, 10).double()
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    vec = torch.randn(4, 3, dtype=D, requires_grad=True)
    z = torch.tensor([1, 6, 8])
    function = lambda v: layer(z, edge_index, v).square().sum()  # noqa: E731
    assert torch.autograd.gradcheck(function, vec)
    assert torch.autograd.gradgradcheck(function, vec)


def test_errors_name_the_argument():
    layer = TensorInteraction(4, 6)
    edge_index, vec = torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 3)
    with pytest.raises(InvalidInput, match=r"x: expected shape \(N, 9, 4\)"):
        layer(torch.zeros(2, 9, 5), edge_index, vec)
    with pytest.raises(InvalidInput, match="edge_vec"):
        layer(torch.zeros(2, 9, 4), edge_index, vec[:1])
    with pytest.raises(InvalidInput, match="edge_index: node"):
        layer(torch.zeros(1, 9, 4), edge_index, vec)
    with pytest.raises(InvalidInput, match="apart"):
        layer(torch.zeros(2, 9, 4), edge_index, 0 * vec)
    with pytest.raises(InvalidInput, match="group"):
        TensorInteraction(4, 6, group="O3")
    with pytest.raises(InvalidInput, match="envelope"):
        ExpNormalBasis(8, 5.0, "smoth")
    with pytest.raises(InvalidInput, match="z: 99"):
        TensorEmbedding(4, max_z=10)(torch.tensor([99, 99]), edge_index, vec)


def test_the_wrong_end_of_an_edge_is_noticed():
    # Swapping source and target mirrors the antisymmetric part, which only an SO(3) model can see later on.
    torch.manual_seed(0)
    layer = TensorEmbedding(4, 6, 5.0, 10).double()
    edge_index, vec = torch.tensor([[0, 1], [1, 0]]), torch.randn(1, 3, dtype=D)
    vec = torch.cat([vec, -vec])
    z = torch.tensor([1, 8])
    right, wrong = layer(z, edge_index, vec), layer(z, edge_index, -vec)
    torch.testing.assert_close(right[:, [0, *range(4, 9)]], wrong[:, [0, *range(4, 9)]])
    torch.testing.assert_close(right[:, 1:4], -wrong[:, 1:4])
