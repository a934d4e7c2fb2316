"""Layers on tensors of several orders: sums, products, gates, norms, functions of entries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib.algebra.diagrams import dim_hom, tensor_group
from geomlib.errors import InvalidInput
from geomlib.layers import (
    EquivariantLinear,
    EquivariantTensorLayer,
    GatedTensor,
    NormTensor,
    PointwiseTensor,
    TensorProductLayer,
)
from tests.layers.diagrams.common import doubled


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_a_layer_of_several_orders_is_the_sum_of_its_pairs() -> None:
    layer = doubled(EquivariantTensorLayer("S_n", {0: 2, 1: 3, 2: 1}, {1: 2, 2: 4}))
    x = {0: normal(3, 2), 1: normal(3, 3, 5), 2: normal(3, 1, 5, 5)}
    y = layer(x)
    for l, c_out in ((1, 2), (2, 4)):
        total = torch.zeros(3, c_out, *[5] * l, dtype=torch.float64)
        for k, c_in in ((0, 2), (1, 3), (2, 1)):
            one = EquivariantLinear("S_n", k, l, c_in, c_out, bias=k == 0).double()
            one.load_state_dict(layer.pairs[f"{k}_{l}"].state_dict())
            total += one(x[k], n=5)
        torch.testing.assert_close(y[l], total)
    weights = sum(p.numel() for name, p in layer.named_parameters() if name.endswith("weight"))
    assert weights == sum(
        dim_hom("S_5", k, l) * a * b for k, a in ((0, 2), (1, 3), (2, 1)) for l, b in ((1, 2), (2, 4))
    )
    assert sum(p.numel() for name, p in layer.named_parameters() if name.endswith("bias")) == 1 * 2 + 2 * 4


def test_orders_that_do_not_meet_are_left_out() -> None:
    layer = EquivariantTensorLayer("O(3)", {0: 1, 1: 1, 2: 1}, {0: 1, 1: 1})
    assert sorted(layer.pairs) == ["0_0", "1_1", "2_0"]
    with pytest.raises(InvalidInput, match="leads from the orders"):
        EquivariantTensorLayer("O(3)", {1: 1}, {2: 1})
    y = layer({0: torch.randn(2, 1), 1: torch.randn(2, 1, 3), 2: torch.randn(2, 1, 3, 3)})
    assert {k: tuple(v.shape) for k, v in y.items()} == {0: (2, 1), 1: (2, 1, 3)}


def test_the_size_of_outputs_does_not_grow_with_the_number_of_orders() -> None:
    one, many = ({k: 64 for k in range(m)} for m in (1, 3))
    for channels in (one, many):
        layer = EquivariantTensorLayer("O(4)", channels, {0: 256})
        y = layer({k: torch.randn(16, c, *[4] * k) for k, c in channels.items()})[0]
        assert 0.4 < float(y.detach().std()) < 2.5


def test_padded_features_are_the_unpadded_ones() -> None:
    layer = doubled(EquivariantTensorLayer("S_n", {0: 1, 1: 2, 2: 1}, {0: 2, 1: 1, 2: 1}))
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    x = {0: normal(2, 1), 1: normal(2, 2, 5), 2: normal(2, 1, 5, 5)}
    y = layer(x, mask)
    alone = layer({0: x[0][:1], 1: x[1][:1, :, :3], 2: x[2][:1, :, :3, :3]})
    torch.testing.assert_close(y[0][:1], alone[0])
    torch.testing.assert_close(y[2][:1, :, :3, :3], alone[2])
    assert not y[1][0, :, 3:].any() and not y[2][0, :, 3:].any()


@pytest.mark.parametrize(
    ("text", "k1", "k2", "l"),
    [("S_n", 1, 1, 2), ("S_n", 2, 1, 1), ("S_3", 2, 2, 1), ("A_3", 1, 1, 1), ("B(2)", 2, 1, 1), ("O(3)", 2, 1, 1),
     ("O(2)", 2, 2, 2), ("SO(3)", 1, 1, 1), ("Sp(4)", 1, 1, 0), ("Sp(4,block)", 2, 2, 2), ("O(1,3)", 2, 2, 0),
     ("S_n", 0, 2, 1), ("O(3)", 0, 0, 2), ("O(3)", 1, 0, 1)],
)  # fmt: skip
@pytest.mark.parametrize("normalization", ["mean", "unit"])
def test_a_product_is_the_linear_map_of_the_outer_product(
    text: str, k1: int, k2: int, l: int, normalization: str
) -> None:
    layer = doubled(TensorProductLayer(text, k1, k2, l, 2, 3, normalization=normalization))
    n = layer.group.n or 4
    x, y = normal(5, 2, *[n] * k1), normal(5, 2, *[n] * k2)
    outer = x.reshape(5, 2, *x.shape[2:], *[1] * k2) * y.reshape(5, 2, *[1] * k1, *y.shape[2:])
    torch.testing.assert_close(layer(x, y, n=n), layer.linear(outer, n=n), rtol=1e-11, atol=1e-11)
    if text == "S_n":
        mask = torch.arange(n) < torch.tensor([1, 2, 3, 4, 4])[:, None]
        torch.testing.assert_close(layer(x, y, mask), layer.linear(outer, mask), rtol=1e-11, atol=1e-11)


def test_matrix_products_and_derivatives() -> None:
    layer = TensorProductLayer("O(3)", 2, 2, 2, 1, 1, bias=False, normalization="sum").double()
    layer.linear.set_diagram_weights([["E", [[0, 2], [1, 5], [3, 4]]]], torch.ones(1, 1, 1))
    x, y = normal(4, 1, 3, 3), normal(4, 1, 3, 3)
    torch.testing.assert_close(layer(x, y), x @ y)
    small = doubled(TensorProductLayer("Sp(2)", 1, 1, 2, 1, 1))
    pair = [normal(2, 1, 2).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(small, pair) and torch.autograd.gradgradcheck(small, pair)


def test_no_outer_product_is_written() -> None:
    """Contractions of two matrices to a scalar: 64 channels of 40^4 entries would be 1.3 GB a sample."""
    layer = TensorProductLayer("S_n", 2, 2, 0, 64, 2)
    y = layer(torch.randn(1, 64, 40, 40), torch.randn(1, 64, 40, 40))
    assert y.shape == (1, 2) and bool(torch.isfinite(y).all())


def test_products_that_do_not_fit() -> None:
    layer = TensorProductLayer("S_n", 1, 1, 1, 2, 1)
    for call, says in (
        (lambda: layer(torch.randn(2, 2, 4), torch.randn(3, 2, 4)), "batch"),
        (lambda: layer(torch.randn(2, 2, 4), torch.randn(2, 2, 5)), "length"),
        (lambda: layer(torch.randn(2, 2, 4), torch.randn(2, 1, 4)), "expected"),
        (lambda: TensorProductLayer("S_n", -1, 1, 1, 2, 1), "k1"),
        (lambda: TensorProductLayer("O(3)", 1, 1, 1, 2, 1), "parity"),
        (lambda: TensorProductLayer("S_n", 1, 1, 1, 2, 1, symmetric=(True, True)), "not symmetric"),
    ):
        with pytest.raises(InvalidInput, match=says):
            call()


def test_gates() -> None:
    layer = GatedTensor("O(1,3)", {0: 2, 1: 3, 2: 1}, torch.relu, torch.tanh)
    x = {0: normal(5, 6), 1: normal(5, 3, 4), 2: normal(5, 1, 4, 4)}
    y = layer(x)
    assert layer.in_channels == {0: 6, 1: 3, 2: 1}
    torch.testing.assert_close(y[0], x[0][:, :2].relu())
    torch.testing.assert_close(y[1], x[1] * x[0][:, 2:5, None].tanh())
    torch.testing.assert_close(y[2], x[2] * x[0][:, 5:, None, None].tanh())
    assert list(GatedTensor("O(3)", {1: 2})({0: torch.randn(1, 2), 1: torch.randn(1, 2, 3)})) == [1]
    with pytest.raises(InvalidInput, match="no order above 0"):
        GatedTensor("O(3)", {0: 2})
    with pytest.raises(InvalidInput, match=r"one tensor for each of the orders \[0, 1, 2\]"):
        layer({0: x[0]})
    with pytest.raises(InvalidInput, match="batch"):
        layer({**x, 0: x[0][:2]})


@pytest.mark.parametrize("text", ["S_4", "O(3)", "SO(3)", "O(1,3)", "Sp(4)", "Sp(4,block)", "B(3)"])
def test_norms(text: str) -> None:
    group = tensor_group(text)
    n, form = group.size, group.forms()[1]
    u, v = normal(2, 3, n), normal(2, 3, n, n)
    want = torch.einsum("bcij,ik,jl,bdkl->bcd", v, form, form, v)
    first, second = torch.triu_indices(3, 3)
    pairs = NormTensor(text, 2, pairs=True)(v)
    torch.testing.assert_close(pairs, want[:, first, second])
    squares = NormTensor(text, 2, squared=True)(v)
    torch.testing.assert_close(squares, want.diagonal(dim1=1, dim2=2))
    if group.kind in ("Sp", "Lorentz"):
        with pytest.raises(InvalidInput, match="squared=True"):
            NormTensor(text, 2, squared=False)
    else:
        torch.testing.assert_close(NormTensor(text, 2)(v), squares.sqrt())
    if group.kind == "Sp":
        with pytest.raises(InvalidInput, match="pairs=True"):
            NormTensor(text, 1)
        brackets = torch.einsum("bci,ij,bdj->bcd", u, form, u)
        first, second = torch.triu_indices(3, 3, 1)
        torch.testing.assert_close(NormTensor(text, 1, pairs=True)(u), brackets[:, first, second])


def test_norms_of_nothing_and_of_everything() -> None:
    x = torch.zeros(1, 2, 3, requires_grad=True)
    y = NormTensor("O(3)", 1)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert not y.any() and not slope.any()
    assert torch.isfinite(NormTensor("O(3)", 1)(torch.full((1, 1, 3), 1e30))).all()
    assert NormTensor("O(3)", 1)(torch.zeros(0, 2, 3)).shape == (0, 2)
    with pytest.raises(InvalidInput, match="order = 0"):
        NormTensor("O(3)", 0)


def test_functions_of_entries() -> None:
    x = normal(2, 3, 4, 4)
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    y = PointwiseTensor("S_n", torch.cos, order=2)(x, mask)
    torch.testing.assert_close(y[1], x[1].cos())
    assert not y[0, :, 3].any() and not y[0, :, :, 3].any()
    torch.testing.assert_close(PointwiseTensor("B(4)", torch.tanh, 2)(x), x.tanh())
    for text in ("O(3)", "SO(3)", "Sp(4)", "O(1,3)"):
        with pytest.raises(
            InvalidInput, match=r"pointwise relu is not .*-equivariant. Use GatedTensor or NormTensor"
        ):
            PointwiseTensor(text)
    with pytest.raises(InvalidInput, match="relu is not odd"):
        PointwiseTensor("B(3)")
    with pytest.raises(InvalidInput, match="order = 0"):
        PointwiseTensor("S_n", order=0)


@pytest.mark.slow
def test_everything_compiles_whole() -> None:
    x, v = normal(3, 2, 4, 4), normal(3, 2, 4)
    mask = torch.arange(4) < torch.tensor([2, 3, 4])[:, None]
    for layer, given in (
        (EquivariantLinear("S_n", 2, 1, 2, 3), (x, mask)),
        (EquivariantLinear("A_4", 1, 1, 2, 3, basis="orthonormal"), (v,)),
        (EquivariantTensorLayer("O(4)", {0: 2, 1: 2}, {0: 1, 1: 2}), ({0: v[..., 0], 1: v},)),
        (TensorProductLayer("S_n", 1, 1, 1, 2, 3), (v, v, mask)),
        (TensorProductLayer("Sp(4)", 2, 1, 1, 2, 3), (x, v)),
        (GatedTensor("O(4)", {1: 2}), ({0: v[..., 0], 1: v},)),
        (NormTensor("Sp(4)", 1, pairs=True), (v,)),
        (PointwiseTensor("S_n"), (v, mask)),
    ):
        torch.compiler.reset()
        compiled = torch.compile(layer.double(), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), layer(*given), rtol=1e-11, atol=1e-11)
