"""Counts and limits as the specification tables them; certificates that pass, and fail where they must."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.products import MODES, ProductSpec
from geomlib.kernels.tensor_product import certificate
from geomlib.kernels.tensor_product.certificate import ProductError, check_product
from geomlib.kernels.tensor_product.cost import product_cost
from geomlib.layers import ChannelwiseTensorProduct, FullTensorProduct, TensorProduct

from .test_modes import spec_with

EDGES, NODES = 160_000, 3_000
FILTERS = "0e+1o+2e+3o"
NATURAL2, NATURAL3, ALL2, ALL3 = "0e+1o+2e", FILTERS, "0e+1o+2e+0o+1e+2o", "0e+1o+2e+3o+0o+1e+2o+3e"
#: Features, filters, outputs kept; kFLOP and bytes an edge, ms forward, backward and double backward at the limit.
TABLE = {
    "MACE-medium": ("128x0e+128x1o", FILTERS, NATURAL2, 19.6, 4456, 0.166, 0.322, 0.488),
    "MACE-medium, out 0..3": ("128x0e+128x1o", FILTERS, NATURAL3, 29.9, 5614, 0.209, 0.403, 0.624),
    "MACE-large": ("128x0e+128x1o+128x2e", FILTERS, NATURAL3, 66.5, 9544, 0.355, 0.685, 1.44),
    "MACE first layer": ("128x0e", FILTERS, NATURAL3, 8.2, 2283, 0.085, 0.164, 0.249),
    "NequIP l=2": ("64x0e+64x1o+64x2e+64x0o+64x1e+64x2o", "0e+1o+2e", ALL2, 46.6, 8300, 0.309, 0.599, 0.99),
    "NequIP l=3": ("64x0e+64x1o+64x2e+64x3o+64x0o+64x1e+64x2o+64x3e", FILTERS, ALL3, 181, 19131, 0.712, None, 3.98),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_limits(name):
    one, two, kept, kflop, size, *times = TABLE[name]
    spec = ChannelwiseTensorProduct(one, two, kept, shared_weights=False).spec
    cost = product_cost(spec, EDGES, NODES)
    assert cost.flops / EDGES / 1e3 == pytest.approx(kflop, rel=5e-3)
    assert cost.bytes / EDGES == pytest.approx(size, abs=1)
    for order, expected in zip(("forward", "backward", "double_backward"), times, strict=True):
        if expected is not None:
            found = 1e3 * product_cost(spec, EDGES, NODES, order=order).seconds()
            # The table counts the double backward kernel by kernel; nine contractions are within 3 % of it.
            assert found == pytest.approx(expected, rel=0.03 if order == "double_backward" else 0.01)


def test_counting_by_hand():
    dot = ProductSpec.from_instructions("4x1o", "1o", "4x0e", [(0, 0, 0, "uvu", True)])
    cost = product_cost(dot, 10)
    assert cost.flops == 10 * (4 * (2 * 3 + 2 * 1) + 2 * 3)
    assert cost.bytes == 10 * 4 * (12 + 3 + 4 + 4)
    assert product_cost(dot, 10, shared_weights=True).bytes == 10 * 4 * (12 + 3 + 4) + 16
    assert product_cost(dot, 10, dtype=torch.float64).bytes == 2 * cost.bytes
    full = ProductSpec.from_instructions("2x0e", "3x0e", "5x0e", [(0, 0, 0, "uvw", True)])
    assert product_cost(full, 1).flops == 6 * 4 + 2 * 3 + 2 * 6 * 5
    with pytest.raises(InvalidInput, match="order"):
        product_cost(dot, 1, order="sideways")
    with pytest.raises(InvalidInput, match="below zero"):
        product_cost(dot, -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_its_certificate(mode, dtype):
    for backend in ("torch", "cpu"):
        report = check_product(spec_with(mode, True), dtype=dtype, backend=backend)
        assert report.passed and report.raise_if_failed() is report


def test_a_wrong_product_fails(monkeypatch):
    spec = spec_with("uvu", True)
    right = certificate.product

    def scaled(spec, x, y, w, backend):
        return right(spec, x, y, w, backend) * (1 + 1e-4)

    def turned(spec, x, y, w, backend):
        return right(spec, x, y, w, backend) + x[:, :1]

    def cut(spec, x, y, w, backend):
        return right(spec, x, y.detach(), w, backend)

    for wrong, name in ((scaled, "value"), (turned, "value"), (cut, "gradient")):
        monkeypatch.setattr(certificate, "product", wrong)
        report = check_product(spec)
        assert not report.passed
        with pytest.raises(ProductError, match=name):
            report.raise_if_failed()
    bad = dataclasses.replace(report, value=float("nan"))
    assert not bad.passed


def test_layers():
    layer = ChannelwiseTensorProduct("8x0e+8x1o", "0e+1o", "0e+1o")
    assert layer.check().passed and layer.double().check().passed
    assert "cpu" in layer.explain() or "torch" in layer.explain()
    assert "torch" in FullTensorProduct("4x1o", "3x1o").explain()
    empty = TensorProduct("0x0e", "1o", "1o", [])
    assert empty(torch.zeros(3, 0), torch.zeros(3, 3)).shape == (3, 3)
    assert Irreps("0x0e").dim == 0 and empty.check().passed
