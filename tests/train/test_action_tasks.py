"""Training on clips of skeletons: a small file from end to end, presets on the real one, and what SPDNet reaches there."""

from __future__ import annotations

import pytest

from geomlib.datasets.tasks import make_task
from geomlib.train.config import TrainConfig
from geomlib.train.run import train
from geomlib.train.task_presets import TASK_PRESETS
from geomlib.zoo import create_model
from tests.datasets.skeleton_files import skeleton_file

REAL = "data/skeleton/hdm05_11class_joints30hz.npz"


def test_clips_are_trained_on(tmp_path):
    config = TrainConfig(
        architecture="spdnet", data="hdm05", data_options={"path": str(skeleton_file(tmp_path))}, epochs=8, batch_size=6,
        lr=1e-2, train_size=12, val_size=0, test_size=6, out=str(tmp_path / "run"), threads=1, plots=False, compile=False,
    )  # fmt: skip
    scores = train(config, {"dims": [12]}).metrics["results"]
    assert scores["test"]["samples"] == 6 and scores["test"]["accuracy"] >= 0.5
    assert scores["trivial"]["majority class"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("task", ["hdm05", "hdm05_windows"])
def test_presets_fit(task, shared):
    path = str(shared(REAL))
    for name, preset in TASK_PRESETS[task].items():
        batch = make_task(task, sizes=(3, 0, 0), path=path)["train"].tensors
        assert create_model(name, **preset.get("model", {}))(batch["cov"].float()).shape == (3, 11)


@pytest.mark.slow
def test_spdnet_tells_actions_of_actors_it_has_not_seen(tmp_path, shared):
    """The preset over three seeds, 15 s of CPU time: at least 99 of a hundred."""
    path = str(shared(REAL))
    preset = {k: v for k, v in TASK_PRESETS["hdm05"]["spdnet"].items() if k != "model"}
    found = []
    for seed in range(3):
        config = TrainConfig(
            architecture="spdnet", data="hdm05", data_options={"path": path}, seed=seed, out=str(tmp_path / str(seed)),
            threads=1, plots=False, **preset,
        )  # fmt: skip
        found.append(train(config, {}).metrics["results"]["test"]["accuracy"])
    assert sum(found) / 3 >= 0.99 and min(found) >= 0.97
