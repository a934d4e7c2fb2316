"""Singular matrices, condition numbers of 1e8 in float32, overflow: a typed error or the right finite numbers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.layers import (
    SPDFC,
    SPDMLR,
    BiMap,
    GyroScale,
    GyroTranslate,
    LogEig,
    ReEig,
    SPDConv,
    SPDResidual,
)
from tests.layers.spd.oracles import spd

TAKE_POSITIVE = {
    "LogEig": lambda: LogEig(3),
    "SPDResidual": lambda: SPDResidual(3),
    "SPDConv": lambda: SPDConv(3, 2, 1, 1, 1),
    **{f"SPDMLR {m}": partial(SPDMLR, 3, 2, m) for m in ("le", "ai", "lc", "bw", "euclidean")},
    **{f"SPDFC {m}": partial(SPDFC, 3, 2, m) for m in ("le", "ai", "lc", "bw")},
    **{f"GyroScale {m}": partial(GyroScale, 3, m) for m in ("ai", "le", "lc")},
    **{f"GyroTranslate {m}": partial(GyroTranslate, 3, m) for m in ("ai", "le", "lc")},
}


@pytest.mark.parametrize("name", TAKE_POSITIVE)
def test_singular_and_missing_numbers_are_refused(name: str) -> None:
    layer = TAKE_POSITIVE[name]()
    v = torch.tensor([[1.0, 2.0], [3.0, -1.0], [2.0, 2.0]])  # products are exact, so the rank is
    x = spd(4, 1, 1, 3).float()
    assert bool(layer(x).isfinite().all())
    singular = (v @ v.mT).expand(4, 1, 1, 3, 3)
    for spoiled in (singular, 0.0 * singular, x.where(x < x.max(), torch.nan), torch.inf * x):
        with pytest.raises(InvalidInput, match="of `x`"):
            layer(spoiled)


@pytest.mark.parametrize("name", TAKE_POSITIVE)
def test_condition_of_1e8_in_float32(name: str) -> None:
    """Matrices that float32 holds exactly: the numbers are those of float64, and derivatives are finite."""
    layer = TAKE_POSITIVE[name]()
    x = torch.diag(torch.tensor([1.0, 1e-4, 1e-8])).repeat(2, 1, 1, 1, 1).requires_grad_()
    y = layer(x)
    z = nn.Module.double(layer)(x.detach().double())
    torch.testing.assert_close(y, z.float(), rtol=2e-4, atol=1e-6 * float(z.detach().abs().max()))
    y.float().square().sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_floors_make_singular_matrices_usable() -> None:
    """A covariance of fewer samples than channels passes through the floor with finite derivatives."""
    v = torch.randn(4, 6, 2)
    x = (v @ v.mT).requires_grad_()
    net = nn.Sequential(BiMap(6, 5), ReEig(5, 1e-3, relative=True), LogEig(5))
    y = net(x)
    y.sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all()) and bool(y.isfinite().all())


def test_overflow_is_refused() -> None:
    translate, fc = GyroTranslate(3, "ai"), SPDFC(3, 2, "le")
    for layer in (translate, fc):
        with torch.no_grad():
            layer.weight.fill_(1e4)
        with pytest.raises(InvalidInput, match="overflow"):
            layer(2.0 * torch.eye(3))


def test_layers_at_the_identity() -> None:
    """Where all eigenvalues are equal and all logarithms vanish, derivatives are finite and not all zero."""
    for make in (*TAKE_POSITIVE.values(), lambda: SPDResidual(3, "ai"), lambda: ReEig(3, 0.5)):
        x = torch.eye(3).repeat(2, 1, 1, 1, 1).requires_grad_()
        make()(x).sum().backward()
        assert x.grad is not None and bool(x.grad.isfinite().all()) and bool(x.grad.any())
