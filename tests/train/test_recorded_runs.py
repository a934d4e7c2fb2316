"""Whole runs with and without recorded steps."""

from __future__ import annotations

import json

import pytest
import torch

from geomlib.train.run import train
from tests.train.common import settings


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"clip": 0.1, "stress_weight": 0.0}])
def test_a_run_is_the_same_with_recorded_steps(tmp_path, options):
    results = {}
    for compile in (True, False):
        out = train(settings(tmp_path / str(compile), dtype="float64", compile=compile, **options))
        results[compile] = out.metrics
        assert (out.metrics["budget"]["recordings"] > 0) == compile
    for part in ("val", "test"):
        a, b = (results[c]["results"][part]["all"] for c in (True, False))
        for name, value in a.items():
            assert value == pytest.approx(b[name], rel=1e-6), name


def test_the_price_of_recordings_is_told(tmp_path, capsys):
    train(settings(tmp_path / "run"))
    assert "were recorded in" in capsys.readouterr().out
    budget = json.loads((tmp_path / "run" / "metrics.json").read_text())["budget"]
    assert 0 < budget["recordings"] < 4 * 7 and budget["recording_seconds"] > 0


def test_large_batches_are_not_recorded(tmp_path, monkeypatch):
    from geomlib.train.captured import CapturedLoss

    monkeypatch.setattr(CapturedLoss, "serves", lambda self, batch: batch.z.shape[0] < 2)
    out = train(settings(tmp_path / "run", epochs=1))
    assert out.metrics["budget"]["recordings"] == 0
    assert all(bool(torch.isfinite(p).all()) for p in out.model.parameters())
