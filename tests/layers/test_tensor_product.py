"""Tensor-product layers beside e3nn's, and as a stranger would misuse them."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.interop import from_e3nn
from geomlib.layers import (
    ChannelwiseTensorProduct,
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    SphericalHarmonics,
    TensorProduct,
    TensorProductConv,
)

o3 = pytest.importorskip("e3nn.o3")
TWO = ("4x0e+3x1o+2x2e", "2x0e+1x1o")


def pairs():
    """Our constructor and theirs."""
    yield (
        FullyConnectedTensorProduct(*TWO, "3x0e+5x1o+1x1e+2x2e"),
        o3.FullyConnectedTensorProduct(*TWO, "3x0e+5x1o+1x1e+2x2e"),
    )
    yield (
        FullTensorProduct("2x0e+1x1o+1x2o", "1x1o+2x2e"),
        o3.FullTensorProduct("2x0e+1x1o+1x2o", "1x1o+2x2e"),
    )
    kept = (["0e", "1o", "2e"],)
    yield FullTensorProduct(*TWO, "0e+1o+2e"), o3.FullTensorProduct(*TWO, [o3.Irrep(i) for i in kept[0]])
    yield (
        ElementwiseTensorProduct("3x0e+2x1o", "2x1e+3x0o"),
        o3.ElementwiseTensorProduct("3x0e+2x1o", "2x1e+3x0o"),
    )


@pytest.mark.parametrize("k", range(4))
def test_the_same_as_e3nn_with_its_state(k):
    ours, theirs = list(pairs())[k]
    assert str(ours.irreps_out) == str(theirs.irreps_out) and ours.weight_numel == theirs.weight_numel
    ours.load_state_dict(theirs.state_dict())
    x, y = torch.randn(7, ours.irreps_in1.dim), torch.randn(7, ours.irreps_in2.dim)
    torch.testing.assert_close(ours(x, y), theirs(x, y), atol=1e-5, rtol=1e-5)
    assert torch.equal(ours.output_mask, theirs.output_mask)
    converted = from_e3nn(theirs)
    torch.testing.assert_close(converted(x, y), theirs(x, y), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.double()(x.double(), y.double()), theirs(x, y).double(), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("shared", [True, False])
def test_channelwise_products_with_weights_of_the_caller(shared):
    ours = ChannelwiseTensorProduct(
        "8x0e+8x1o", "0e+1o+2e", "0e+1o+2e", internal_weights=False, shared_weights=shared
    )
    rows = [(p.first, p.second, p.out, p.mode, p.weighted) for p in ours.spec.paths]
    theirs = o3.TensorProduct(
        str(ours.irreps_in1),
        str(ours.irreps_in2),
        str(ours.irreps_out),
        rows,
        internal_weights=False,
        shared_weights=shared,
    )
    x, y = torch.randn(2, 5, ours.irreps_in1.dim), torch.randn(2, 5, ours.irreps_in2.dim)
    w = torch.randn(ours.weight_numel) if shared else torch.randn(2, 5, ours.weight_numel)
    torch.testing.assert_close(ours(x, y, w), theirs(x, y, w), atol=1e-5, rtol=1e-5)
    with pytest.raises(InvalidInput, match="holds none"):
        ours(x, y)
    with pytest.raises(InvalidInput, match="weight: expected shape"):
        ours(x, y, w[..., 1:])


def test_a_convolution_is_a_sum_of_messages():
    product = ChannelwiseTensorProduct("8x0e+8x1o", "0e+1o", shared_weights=False)
    conv = TensorProductConv(product)
    x, edge_index = torch.randn(6, product.irreps_in1.dim), torch.randint(0, 6, (2, 20))
    y, w = SphericalHarmonics([0, 1])(torch.randn(20, 3)), torch.randn(20, product.weight_numel)
    messages = product(x[edge_index[0]], y, w)
    expected = torch.zeros(6, product.irreps_out.dim).index_add(0, edge_index[1], messages)
    torch.testing.assert_close(conv(x, y, edge_index, w), expected, atol=1e-5, rtol=1e-5)


def test_broadcasting_is_refused():
    product = FullTensorProduct("1o", "1o")
    with pytest.raises(InvalidInput, match="leading sizes"):
        product(torch.randn(5, 3), torch.randn(1, 3))
    assert product(torch.randn(0, 3), torch.randn(0, 3)).shape == (0, 9)
    assert product(torch.randn(3), torch.randn(3)).shape == (9,)


def test_misuse():
    with pytest.raises(InvalidInput, match="needs shared_weights"):
        TensorProduct("1o", "1o", "0e", [(0, 0, 0, "uuu", True)], internal_weights=True, shared_weights=False)
    with pytest.raises(InvalidInput, match="irreps"):
        ElementwiseTensorProduct("3x0e", "2x0e")
    with pytest.raises(InvalidInput, match="own weights"):
        layer = FullyConnectedTensorProduct("0e", "0e", "0e")
        layer(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1))
    with pytest.raises(InvalidInput, match=r"e3nn\.o3\.TensorProduct"):
        from_e3nn(torch.nn.Linear(2, 2))
    with pytest.raises(InvalidInput, match="normalization"):
        SphericalHarmonics(2, normalization="unit")


def test_without_paths_the_result_is_zero():
    layer = FullyConnectedTensorProduct("2x1o", "1o", "4x3o")
    assert layer.weight_numel == 0
    assert torch.equal(layer(torch.randn(3, 6), torch.randn(3, 3)), torch.zeros(3, 28))
