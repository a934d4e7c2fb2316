"""The product of a feature with itself beside e3nn's."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.interop import from_e3nn
from geomlib.layers import SphericalHarmonics, TensorSquare

o3 = pytest.importorskip("e3nn.o3")
IRREPS = "3x0e+1x0o+2x1o+1x2e"


@pytest.mark.parametrize("normalization", ["component", "norm", "none"])
@pytest.mark.parametrize("out", [None, "2x0e+2x1o+1x1e+2x2e"])
def test_the_same_as_e3nn(out, normalization):
    theirs = o3.TensorSquare(IRREPS, out, irrep_normalization=normalization)
    ours = TensorSquare(IRREPS, out, irrep_normalization=normalization)
    assert ours.weight_numel == theirs.weight_numel and str(ours.irreps_out) == str(theirs.irreps_out)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(7, theirs.irreps_in.dim)
    for layer in (ours, from_e3nn(theirs)):
        torch.testing.assert_close(layer(x), theirs(x), atol=1e-5, rtol=1e-5)
        assert torch.equal(layer.output_mask, theirs.output_mask)


def test_filtered_outputs_as_e3nn():
    theirs = o3.TensorSquare("2x1o+1x1e", filter_ir_out=[o3.Irrep("0e"), o3.Irrep("2e")])
    ours = TensorSquare("2x1o+1x1e", filter_ir_out="0e+2e")
    x = torch.randn(3, 9)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_outputs_have_unit_variance():
    layer = TensorSquare("2x0e+3x1o+2x2e").double()
    z = layer(torch.randn(40_000, layer.irreps_in.dim, dtype=torch.float64))
    for block, part in zip(layer.irreps_out, layer.irreps_out.slices(), strict=True):
        assert float(z[:, part].square().mean()) == pytest.approx(1.0, abs=0.15), block


def test_derivatives():
    layer = TensorSquare("2x0e+1x1o", "1x0e+1x1o").double()
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, x) and gradgradcheck(layer, x)


def test_misuse():
    with pytest.raises(InvalidInput, match="filter_ir_out"):
        TensorSquare("1o", "0e", filter_ir_out="0e")
    with pytest.raises(InvalidInput, match="irrep_normalization"):
        TensorSquare("1o", irrep_normalization="unit")
    with pytest.raises(InvalidInput):
        TensorSquare("2x1o")(torch.zeros(3, 5))
    assert TensorSquare("2x1o")(torch.zeros(0, 6)).shape == (0, 27 - 6)


def test_harmonics_convert():
    for theirs in (
        o3.SphericalHarmonics("0e+1o+2e", True, "component"),
        o3.SphericalHarmonics([1, 3], False, "norm"),
        o3.SphericalHarmonics([2], True, "integral"),
    ):
        x = torch.randn(5, 3)
        ours = from_e3nn(theirs)
        assert isinstance(ours, SphericalHarmonics)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
