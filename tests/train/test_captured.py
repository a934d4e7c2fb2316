"""The recorded training step: same loss, same gradients, no new recordings once the sizes are known."""

from __future__ import annotations

import pytest
import torch

from geomlib import create_model
from geomlib.train.batching import Packer
from geomlib.train.captured import CapturedLoss
from geomlib.train.loader import EpochLoader
from geomlib.train.losses import LossWeights, training_loss
from tests.train.common import springs


@pytest.fixture
def net():
    torch.manual_seed(0)
    return (
        create_model("tensornet", channels=8, layers=1, num_radial=6, cutoff=4.0, max_z=10).double().train()
    )


@pytest.fixture(scope="module")
def loader():
    return EpochLoader(Packer(springs(40), 4.0, dtype=torch.float64), batch_size=4, shuffle=True)


def gradients(net, loss):
    net.zero_grad()
    loss.backward()
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize(
    "weights", [LossWeights(), LossWeights(1.0, 0.0), LossWeights(0.1, 1.0, per_atom=True)]
)
def test_loss_errors_and_gradients(net, loader, weights):
    replayed = CapturedLoss(net, weights)
    for batch in loader:
        out = net(**batch.inputs(), forces=bool(weights.forces))
        loss, sums = training_loss(out, batch, weights)
        found, found_sums = replayed(batch)
        torch.testing.assert_close(found, loss, rtol=1e-11, atol=0)
        used = slice(None) if weights.forces else slice(0, 4)
        torch.testing.assert_close(found_sums[used], sums[used], rtol=1e-11, atol=1e-13)
        assert found_sums[10] == batch.num_graphs
        expected = gradients(net, loss)
        for a, b in zip(expected, gradients(net, 1.0 * found), strict=True):
            if a is None or b is None:
                assert a is None or float(a.abs().max()) == 0.0
            else:
                torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.01 * torch.randn_like(p))


def test_no_recordings_once_the_sizes_are_known(net, loader):
    replayed = CapturedLoss(net, LossWeights())
    for batch in loader:
        replayed(batch)
    known = replayed.replay.recordings
    assert known <= len(loader)
    for batch in loader:
        replayed(batch)
    assert replayed.replay.recordings == known


def test_the_loss_can_be_scaled_and_evaluated_without_a_graph(net, loader):
    replayed = CapturedLoss(net, LossWeights())
    batch = next(iter(loader))
    once = gradients(net, replayed(batch)[0])
    for a, b in zip(once, gradients(net, 0.25 * replayed(batch)[0]), strict=True):
        torch.testing.assert_close(b, 0.25 * a)
    net.eval()
    with torch.no_grad():
        loss, sums = replayed(batch)
    assert not loss.requires_grad
    out = net(**batch.inputs())
    torch.testing.assert_close(sums, training_loss(out, batch, LossWeights())[1], rtol=1e-10, atol=1e-13)


def test_who_is_served(net):
    assert CapturedLoss.refusal(net, "cpu") is None
    assert "cuda" in str(CapturedLoss.refusal(net, "cuda"))
    assert "Linear" in str(CapturedLoss.refusal(torch.nn.Linear(1, 1), "cpu"))
