"""BiMap: orthonormal frames whatever the weights, exact gradients, nothing that weight decay can do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.layers import BiMap
from tests.layers.spd.oracles import spd


def test_single_matrices() -> None:
    layer, x = BiMap(6, 4).double(), spd(2, 5, 6)
    u, _, vt = torch.linalg.svd(layer.weight, full_matrices=False)
    w = layer.frame()
    torch.testing.assert_close(w, u @ vt, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(w @ w.mT, torch.eye(4, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    y = layer(x)
    torch.testing.assert_close(y, w @ x @ w.mT, rtol=1e-12, atol=1e-12)
    assert torch.equal(y, y.mT)
    inner, outer = torch.linalg.eigvalsh(y), torch.linalg.eigvalsh(x)
    assert bool((outer[..., :4] <= inner + 1e-12).all() and (inner <= outer[..., 2:] + 1e-12).all())


def test_channels_are_summed() -> None:
    layer, x = BiMap(5, 3, 2, 4).double(), spd(7, 2, 5)
    w = layer.frame()
    for o in range(4):
        want = sum(w[o, i] @ x[:, i] @ w[o, i].mT for i in range(2))
        torch.testing.assert_close(layer(x)[:, o], want, rtol=1e-12, atol=1e-12)
    one = BiMap(5, 3, 1, 1).double()
    with torch.no_grad():
        one.weight.copy_(layer.weight[:1, :1])
    torch.testing.assert_close(one(x[:, :1])[:, 0], w[0, 0] @ x[:, 0] @ w[0, 0].mT)


def test_derivatives() -> None:
    layer, x = BiMap(4, 2, 2, 2).double(), spd(2, 2, 4).requires_grad_()

    def f(x, w):
        return torch.func.functional_call(layer, {"weight": w}, (x,))

    assert torch.autograd.gradcheck(f, (x, layer.weight))
    assert torch.autograd.gradgradcheck(f, (x, layer.weight))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_frame_does_not_depend_on_the_length_of_the_weights(scale: float) -> None:
    layer, x = BiMap(6, 3).double(), spd(4, 6)
    want = layer(x)
    want.square().sum().backward()
    assert layer.weight.grad is not None
    weight = layer.weight.detach()
    along = float((layer.weight.grad * weight).sum())
    assert abs(along) < 1e-12 * float(layer.weight.grad.norm() * weight.norm())
    with torch.no_grad():
        layer.weight.mul_(scale)
    torch.testing.assert_close(layer(x), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
def test_weight_decay_alone_changes_nothing_but_the_length(optimiser: type) -> None:
    layer, x = BiMap(6, 3).double(), spd(4, 6)
    want, before = layer(x).detach(), float(layer.weight.detach().norm())
    step = optimiser(layer.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(50):
        step.zero_grad()
        (0.0 * layer(x).sum()).backward()
        step.step()
    assert float(layer.weight.detach().norm()) < 0.1 * before
    torch.testing.assert_close(layer(x), want, rtol=1e-10, atol=1e-10)


def test_training_with_decay_finds_the_leading_subspace() -> None:
    """The trace of W X W^T is largest on the top eigenvectors, and strong decay does not keep the layer from them."""
    x = spd(6, seed=3)
    layer = BiMap(6, 2).double()
    step = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(100):
        step.zero_grad()
        (-layer(x).diagonal(dim1=-2, dim2=-1).sum()).backward()
        step.step()
    best = torch.linalg.eigvalsh(x)[-2:].sum()
    torch.testing.assert_close(layer(x).trace(), best, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_nearly_dependent_rows(gap: float) -> None:
    layer = BiMap(6, 3).double()
    with torch.no_grad():
        layer.weight[2] = layer.weight[1] + gap * layer.weight[2]
    u, _, vt = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    w = layer.frame()
    torch.testing.assert_close(w @ w.mT, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-11)
    torch.testing.assert_close(w, u @ vt, rtol=0, atol=1e-15 / gap + 1e-12)
    w.sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.isfinite().all())


def test_first_frames_are_uniform() -> None:
    """Rows of a uniform frame have mean square 1/n in every coordinate."""
    w = torch.stack([BiMap(5, 2).frame() for _ in range(200)]).detach()
    torch.testing.assert_close(w.square().mean((0, 1)), torch.full((5,), 0.2), rtol=0.2, atol=0.0)
    assert abs(float(w.mean())) < 0.05


def test_empty_strided_and_narrow() -> None:
    layer = BiMap(6, 3)
    assert layer(torch.zeros(0, 6, 6)).shape == (0, 3, 3)
    x = spd(4, 6).float()
    spread = torch.stack([x, x], -1)[..., 0]
    torch.testing.assert_close(layer(spread), layer(x))
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    wide = nn.Module.double(BiMap(6, 3))
    wide.load_state_dict(layer.state_dict())
    torch.testing.assert_close(wide(x.double()).float(), layer(x), rtol=1e-5, atol=1e-5)


def test_what_it_refuses() -> None:
    with pytest.raises(InvalidInput, match="m = 4 is larger than n = 3"):
        BiMap(3, 4)
    with pytest.raises(InvalidInput, match="give both"):
        BiMap(3, 2, 4)
    with pytest.raises(InvalidInput, match="n = 0"):
        BiMap(0, 0)
    layer = BiMap(3, 2, 2, 1)
    with pytest.raises(InvalidInput, match=r"\(5, 3, 3, 3\), expected \(..., 2, 3, 3\)"):
        layer(torch.zeros(5, 3, 3, 3))
    with pytest.raises(InvalidInput, match="weights are torch"):
        layer(torch.zeros(5, 2, 3, 3, dtype=torch.float64))
    with torch.no_grad():
        layer.weight[0, 1, 1] = layer.weight[0, 1, 0]
    with pytest.raises(InvalidInput):
        layer(torch.eye(3).expand(2, 3, 3))
