"""GyroGrNet: the formula by hand, frames of channels, training on subspaces that differ by a motion, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.algebra.manifolds.grassmann import Grassmann, block_exp, dominant_frame, projector
from geomlib.zoo.gyrogr_net import GyroGrNet


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(shape, generator=g, dtype=torch.float64))[0]


def test_the_formula():
    model, x = GyroGrNet(n=6, p=2, channels=4, classes=3, pool=2).double(), frames(5, 6, 2)
    with torch.no_grad():
        model.translate.weight.mul_(0.5)
    space, want = Grassmann(6, 2), torch.zeros(5, 3, dtype=torch.float64)
    points = block_exp(model.translate.weight)
    moved = [projector(space.add(points[c].expand(5, -1, -1), x)) for c in range(4)]
    for j in range(2):
        pooled = projector(dominant_frame((moved[2 * j] + moved[2 * j + 1]) / 2, 2))
        want += torch.einsum("kij,bij->bk", model.head.weight[:, j], pooled)
    torch.testing.assert_close(model(x), want + model.head.bias, rtol=1e-11, atol=1e-11)
    own = x[:, None].expand(-1, 4, -1, -1)
    torch.testing.assert_close(model(own), model(x), rtol=1e-11, atol=1e-11)
    r = frames(5, 2, 2, seed=1)
    torch.testing.assert_close(model(x @ r), model(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("norm", "head", "rate"), [("gyro", "proj", 2e-2), (None, "gyro", 1e-2)])
def test_it_learns_which_subspace_is_seen(norm, head, rate):
    """Three subspaces and noise: the network tells which."""
    centres = frames(3, 8, 2, seed=2)
    label = torch.arange(48) % 3
    x = torch.linalg.qr(centres[label] + 0.15 * torch.randn(48, 8, 2, dtype=torch.float64))[0].float()
    torch.manual_seed(0)
    model = GyroGrNet(n=8, p=2, channels=2, classes=3, pool=2, norm=norm, head=head)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(50 if head == "gyro" else 25):
        loss = torch.nn.functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((model.eval()(x).argmax(-1) == label).double().mean()) > 0.9


def test_data_on_the_cut_locus_of_the_identity():
    """Rows of zeros, as those of a joint at the origin, leave the first coordinates; training stays finite."""
    x = torch.cat([torch.zeros(6, 3, 2), frames(6, 5, 2).float()], 1)
    model = GyroGrNet(n=8, p=2, channels=2, classes=3, pool=1, norm="gyro", head="gyro")
    with torch.no_grad():
        model.translate.weight.zero_()
    model(x).square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_config_builds_the_same_model():
    model = GyroGrNet(n=5, p=2, channels=2, classes=3, pool=1, norm="gyro", head="gyro", mean_steps=1)
    again = create_model(**model.config)
    again.load_state_dict(model.state_dict())
    x = frames(4, 5, 2).float()
    assert torch.equal(model.eval()(x), again.eval()(x))


def test_misuse():
    for options, match in (
        ({"norm": "batch"}, "norm='batch'"),
        ({"head": "gyros"}, "head='gyros'.*Did you mean 'gyro'"),
        ({"channels": 6}, "do not divide into groups of pool=4"),
        ({"p": 93}, "0 < p < n"),
    ):
        with pytest.raises(InvalidInput, match=match):
            GyroGrNet(**options)
    model = GyroGrNet(n=5, p=2, channels=4)
    with pytest.raises(
        InvalidInput, match=r"`basis` has shape \(3, 5, 3\), expected \(B, 5, 2\) or \(B, 4, 5, 2\)"
    ):
        model(frames(3, 5, 3).float())
    with pytest.raises(InvalidInput, match="orthonormal"):
        model(2 * frames(3, 5, 2).float())
