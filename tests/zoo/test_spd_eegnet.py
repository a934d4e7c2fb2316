"""SPDEEGNet: the formula by hand, normalisations, training, options and misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.datasets.tasks import make_task
from geomlib.zoo.spd_eegnet import NORMS, SPDEEGNet

SMALL = {"channels": 3, "classes": 2, "filters": 6, "signals": 5, "kernel": 5, "size": 4}


def trials(n: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return series of which one class has a rhythm that the other has not; their powers are equal."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    x = torch.randn(n, 3, 80, generator=g, dtype=torch.float64)
    t = torch.arange(80, dtype=torch.float64)
    phase = 6.28 * torch.rand(n, 1, 1, generator=g, dtype=torch.float64)
    period = torch.where(label == 1, 8.0, 3.0)[:, None, None]
    return x + 2 * torch.sin(6.283185 * t / period + phase), label


@pytest.mark.parametrize("bn", NORMS)
def test_learns_a_rhythm(bn: str) -> None:
    torch.manual_seed(0)
    model = create_model("spd_eegnet", bn=bn, **SMALL).double()
    x, label = trials(32)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), label)
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        optimizer.step()
    x, label = trials(40, seed=1)
    with torch.no_grad():
        assert float((model.train()(x).argmax(-1) == label).double().mean()) >= 0.9


def test_formula() -> None:
    torch.manual_seed(1)
    model = SPDEEGNet(bn="le", scale=2.0, **SMALL).double()
    x, _ = trials()
    model(x)
    model.eval()
    with torch.no_grad():
        z = torch.nn.functional.conv1d(
            model.mixed(torch.einsum("fc,bct->bft", model.mix.weight[..., 0], x / 2)),
            model.filter.weight, padding=2,
        )  # fmt: skip
        z = model.filtered(z)
        z = z - z.mean(-1, keepdim=True)
        s = z @ z.mT / z.shape[-1]
        s = s + 1e-3 * torch.eye(5) * s.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        w = model.congruence.frame()
        y = model.norm(w @ s @ w.mT)
        a, v = torch.linalg.eigh(y)
        log = v @ (a.clamp(min=1e-5).log()[..., None] * v.mT)
        i, j = torch.triu_indices(4, 4)
        vector = log[:, i, j] * torch.where(i == j, 1.0, 2.0**0.5)
        torch.testing.assert_close(model(x), model.head(vector))


def test_evaluation_takes_trials_one_by_one() -> None:
    model = SPDEEGNet(**SMALL).double()
    x, _ = trials()
    model(x)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([model(t[None]) for t in x]), model(x))
        again = create_model(**model.config).double().eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(x), model(x)) and "bn='gbw'" in repr(model)


def test_a_step_on_the_recordings(shared) -> None:
    sets = make_task("eeg_mamem", sizes=(30, 0, 10), path=str(shared("data/spd/mamem")))
    model = create_model("spd_eegnet", scale=7.0)
    batch = sets["train"].to(torch.float32).tensors
    loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["label"])
    loss.backward()
    assert 0.5 < float(loss.detach()) < 5 and sum(p.numel() for p in model.parameters()) == 69629


def test_misuse() -> None:
    model = SPDEEGNet(**SMALL)
    x = trials()[0].float()
    for call, match in (
        (lambda: SPDEEGNet(bn="airm"), "bn='airm'"),
        (lambda: SPDEEGNet(size=16), "size=16, signals=15"),
        (lambda: SPDEEGNet(scale=0.0), "scale=0.0"),
        (lambda: SPDEEGNet(filters=0), "filters = 0"),
        (lambda: model(x[:, :2]), r"shape \(12, 2, 80\)"),
        (lambda: model(x.double()), "float64"),
        (lambda: SPDEEGNet(**{**SMALL, "kernel": 5})(x[..., :1]), "1 samples in time"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()
