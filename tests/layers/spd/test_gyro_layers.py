"""GyroTranslate, GyroScale and SPDResidual: the algebra they are made of, and what they do not change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.algebra.manifolds.spd import SPD
from geomlib.layers import GyroScale, GyroTranslate, SPDResidual
from tests.layers.spd.oracles import spd

METRICS = ["ai", "le", "lc"]


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return layer.double()


@pytest.mark.parametrize("metric", METRICS)
def test_translation_is_gyro_addition(metric: str) -> None:
    space, x = SPD(metric), spd(5, 4)
    layer = GyroTranslate(4, metric).double()
    torch.testing.assert_close(layer(x), x, rtol=1e-12, atol=1e-12)
    p = shaken(layer).point()
    torch.testing.assert_close(layer(x), space.add(p, x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(space.gnorm(p), layer.weight.norm(), rtol=1e-11, atol=1e-11)
    # Left translations are isometries.
    torch.testing.assert_close(space.dist(layer(x[:-1]), layer(x[1:])), space.dist(x[:-1], x[1:]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("t", [0.7, -1.0, 0.0])
def test_equal_factors_are_gyro_multiples(metric: str, t: float) -> None:
    space, x = SPD(metric), spd(5, 4)
    layer = GyroScale(4, metric).double()
    torch.testing.assert_close(layer(x), x, rtol=1e-12, atol=1e-12)
    nn.init.constant_(layer.weight, t)
    torch.testing.assert_close(layer(x), space.scale(x, t), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("metric", METRICS)
def test_every_entry_of_the_tangent_has_its_factor(metric: str) -> None:
    layer, x = shaken(GyroScale(3, metric)), spd(5, 3)
    torch.testing.assert_close(SPD(metric).log0(layer(x)), layer.factors() * SPD(metric).log0(x))
    torch.testing.assert_close(layer.factors(), layer.factors().mT)


@pytest.mark.parametrize("make", [GyroTranslate, GyroScale])
@pytest.mark.parametrize("metric", METRICS)
def test_channels_derivatives_and_batches(make: type, metric: str) -> None:
    layer = shaken(make(2, metric, channels=2))
    x = torch.stack([spd(2, 2), 2.0 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2)]).requires_grad_()
    y = layer(x)
    for c in range(2):
        one = make(2, metric).double()
        with torch.no_grad():
            one.weight.copy_(layer.weight[c])
        torch.testing.assert_close(one(x[:, c]), y[:, c], rtol=1e-12, atol=1e-12)

    def f(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(f, (x, layer.weight))
    assert torch.autograd.gradgradcheck(f, (x, layer.weight))
    torch.testing.assert_close(torch.func.vmap(layer)(x), y)
    assert layer(x[:0]).shape == (0, 2, 2, 2)
    torch.testing.assert_close(layer.float()(x.float()).double(), y, rtol=1e-5, atol=1e-5)


class Mixing(nn.Module):
    """A field that does not commute with X."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(n, n))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.weight @ h)


@pytest.mark.parametrize("metric", ["ai", "le"])
@pytest.mark.parametrize("own", [False, True])
def test_a_residual_block_follows_the_geodesic(metric: str, own: bool) -> None:
    """It is the exponential at X of the transported field, and the sum of X with the point of the field."""
    block = SPDResidual(3, metric, Mixing(3) if own else None).double()
    x, space = spd(5, 3), SPD(metric)
    if not own:
        torch.testing.assert_close(block(x), x, rtol=1e-12, atol=1e-12)
    shaken(block)
    u = block.field(SPD("le").chart(x))
    u = (u + u.mT) / 2
    one = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    want = space.exp(x, space.transport(one, x, u))
    assert float((want - x).detach().abs().max()) > 0.1
    torch.testing.assert_close(block(x), want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(block(x), space.add(x, space.exp0(u)), rtol=1e-9, atol=1e-9)
    assert block.symmetry.group == ("S_n" if own else "O(3)*S_n")


def test_fields_of_spectra_commute_with_rotations_and_reach_every_function() -> None:
    """With degree n - 1 a field can take any value that is a function of the matrix: here its sine."""
    block = shaken(SPDResidual(3, degree=2))
    x, q = spd(4, 3), torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    torch.testing.assert_close(block(q @ x @ q.mT), q @ block(x) @ q.mT, rtol=1e-11, atol=1e-11)
    w, v = torch.linalg.eigh(x[0])
    target = v @ SPD("le").unchart(torch.sin(2.0 * w).diag_embed()) @ v.mT
    step = torch.optim.Adam(block.parameters(), lr=0.02)
    for _ in range(150):
        step.zero_grad()
        loss = (block(x[0]) - target).square().sum()
        loss.backward()
        step.step()
    assert float(loss.detach()) < 1e-3


def test_derivatives_of_the_residual_block() -> None:
    x = torch.stack([spd(2), torch.eye(2, dtype=torch.float64)]).requires_grad_()
    for metric, field in (("le", None), ("ai", Mixing(2))):
        block = shaken(SPDResidual(2, metric, field, hidden=3))
        assert torch.autograd.gradcheck(block, x)
        assert torch.autograd.gradgradcheck(block, x)
        torch.testing.assert_close(torch.func.vmap(block)(x), block(x))


def test_what_they_refuse() -> None:
    with pytest.raises(InvalidInput, match="'bw', expected one of 'ai', 'le', 'lc'"):
        GyroTranslate(3, "bw")
    with pytest.raises(InvalidInput, match="in_chart=True needs a flat metric"):
        GyroScale(3, "ai", in_chart=True)
    with pytest.raises(InvalidInput, match="channels = 0"):
        GyroScale(3, channels=0)
    with pytest.raises(InvalidInput, match="'lc', expected one of 'le', 'ai'"):
        SPDResidual(3, "lc")
    with pytest.raises(InvalidInput, match="must keep the shape"):
        SPDResidual(3, field=nn.Flatten())(torch.eye(3).expand(2, 3, 3))
    bad = spd(4, 3)
    bad[2, 0, 0] = -1.0
    for layer in (
        *[GyroTranslate(3, m) for m in METRICS],
        *[GyroScale(3, m) for m in METRICS],
        SPDResidual(3),
    ):
        with pytest.raises(InvalidInput, match=r"2.* of `x` is not positive definite"):
            layer.double()(bad)
        with pytest.raises(InvalidInput, match="weights are"):
            layer.double()(bad.float())
