"""Whole runs: what they learn, what they leave, and how they end."""

from __future__ import annotations

import csv
import json
import warnings

import pytest
import torch

from geomlib import InvalidInput
from geomlib.cli import main
from geomlib.datasets import write_extxyz
from geomlib.interop.checkpoint import load_model, save_model
from geomlib.train.evaluation import errors, evaluate, predict
from geomlib.train.interrupt import TrainingDiverged
from geomlib.train.run import train
from tests.train.common import settings, springs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    return train(settings(folder, epochs=15, lr=1e-2, plots=True, ema_decay=0.9, threads=1))


def test_a_run_learns_and_leaves_everything(finished):
    names = {p.name for p in finished.folder.iterdir()}
    assert names >= {
        "config.yaml", "split.json", "metrics.csv", "metrics.json", "model.safetensors", "last.safetensors",
        "learning_curve.png", "parity.png",
    }  # fmt: skip
    with (finished.folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["epoch"]) for r in rows] == list(range(1, 16))
    assert float(rows[-1]["train_F_mae"]) < 0.75 * float(rows[0]["train_F_mae"])
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics["budget"]["epochs"] == 15 and metrics["budget"]["steps"] == 15 * 7
    assert metrics["budget"]["wall_seconds"] > 0 and metrics["budget"]["cpu_seconds"] > 0
    assert metrics["data"]["split"] == {"train": 28, "val": 6, "test": 6} and metrics["settings"]["seed"] == 0
    assert metrics["versions"]["torch"] == torch.__version__
    assert (finished.folder / "parity.png").read_bytes()[:4] == b"\x89PNG"


def test_the_best_model_is_the_one_evaluated(finished):
    """Errors in metrics.json, computed once more with plain code from the stored files."""
    from geomlib.datasets import load, read_split

    data = load(finished.folder.parent / "springs.extxyz")
    test = data[read_split(finished.folder / "split.json").test]
    model = load_model(finished.folder)
    diffs = [(model(one.z, one.pos)["forces"].double() - one.forces).abs().mean(1) for one in test]
    mae = 1000 * float(torch.cat(diffs).mean())
    assert finished.metrics["results"]["test"]["all"]["F_mae"] == pytest.approx(mae, rel=1e-4)
    with (finished.folder / "metrics.csv").open() as stream:
        best = min(csv.DictReader(stream), key=lambda r: float(r["val_loss"]))
    assert finished.metrics["best_epoch"] == int(best["epoch"])
    stored = finished.metrics["results"]["val"]["all"]
    assert stored["F_mae"] == pytest.approx(float(best["val_F_mae"]), rel=1e-4)
    assert stored["E_rmse"] == pytest.approx(float(best["val_E_rmse"]), rel=1e-4)


def test_evaluate_command_gives_the_same_numbers(finished, tmp_path, capsys):
    run = str(finished.folder)
    assert main(["evaluate", run, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "F_mae" in out and "meV/Å" in out
    again = json.loads((tmp_path / "evaluation_test.json").read_text())
    assert again["all"] == finished.metrics["results"]["test"]["all"]
    assert (tmp_path / "parity_test.png").exists()
    data = str(finished.folder.parent / "springs.extxyz")
    assert main(["evaluate", run, "--data", data, "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation_springs.json").read_text())["all"]["structures"] == 40
    assert main(["evaluate", run, "--data", data, "--split", "val", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation_val.json").read_text())["all"]["structures"] == 6
    assert main(["evaluate", run, "--split", "all", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation_all.json").read_text())["all"]["structures"] == 40


def test_evaluate_command_refuses_what_makes_no_sense(finished, tmp_path, capsys):
    run = str(finished.folder)
    assert main(["evaluate", "no/such"]) == 2
    assert main(["evaluate", run, "--data", "ethanol", "--split", "test"]) == 2
    assert main(["evaluate", run, "--data", "ethanoll"]) == 2
    assert "Did you mean 'ethanol'" in capsys.readouterr().err
    save_model(finished.model, tmp_path / "m.safetensors")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--split", "test"]) == 2
    heavy = springs(3)
    write_extxyz(
        tmp_path / "heavy.extxyz", type(heavy)(z=torch.full_like(heavy.z, 79), pos=heavy.pos, ptr=heavy.ptr)
    )
    assert main(["evaluate", run, "--data", str(tmp_path / "heavy.extxyz")]) == 2
    err = capsys.readouterr().err
    assert "element 79" in err and "Traceback" not in err


def test_errors_by_config_type(finished):
    data = springs(10)
    data.text["config_type"] = ("a",) * 4 + ("b",) * 6
    result = evaluate(finished.model, data)
    assert set(result["by_config_type"]) == {"a", "b"} and result["by_config_type"]["b"]["structures"] == 6
    a = errors(predict(finished.model, data[:4]), data[:4])
    assert result["by_config_type"]["a"]["F_mae"] == pytest.approx(a["F_mae"], rel=1e-4)


def test_prediction_leaves_the_model_as_it_was(finished):
    model = finished.model.train()
    predict(model, springs(3))
    assert model.training
    model.eval()


def test_a_second_run_needs_permission(finished, tmp_path):
    parsed = settings(tmp_path / "run", epochs=1)
    train(parsed)
    with pytest.raises(InvalidInput, match="already holds a run"):
        train(settings(tmp_path / "run", epochs=1))
    parsed.config.overwrite = True
    assert train(parsed) is not None


def test_early_stop_and_time_limit(tmp_path):
    parsed = settings(tmp_path / "a", epochs=50, early_stop=2, lr=1e-12, schedule="constant")
    budget = train(parsed).metrics["budget"]
    assert budget["stopped_by"] == "early_stop" and budget["epochs"] < 50
    budget = train(settings(tmp_path / "b", epochs=10_000, max_time="1.5s")).metrics["budget"]
    assert budget["stopped_by"] == "max_time" and 1.0 < budget["wall_seconds"] < 8


def test_stress_is_trained(tmp_path):
    write_extxyz(tmp_path / "box.extxyz", springs(40, periodic=True))
    result = train(settings(tmp_path / "run", data=tmp_path / "box.extxyz", stress_weight=100.0, epochs=2))
    assert "S_mae" in result.metrics["results"]["test"]["all"]
    with pytest.raises(InvalidInput, match="not periodic"):
        train(settings(tmp_path / "b", stress_weight=1.0))


def test_energies_alone_can_be_trained(tmp_path, capsys):
    from dataclasses import replace

    write_extxyz(tmp_path / "e.extxyz", replace(springs(40), forces=None))
    result = train(settings(tmp_path / "run", data=tmp_path / "e.extxyz", epochs=2))
    assert "no forces" in capsys.readouterr().out
    assert "F_mae" not in result.metrics["results"]["test"]["all"]


def test_float64_and_separate_files(tmp_path):
    for name, seed in (("val", 5), ("test", 6)):
        write_extxyz(tmp_path / f"{name}.extxyz", springs(9, seed=seed))
    files = {f"{n}_data": str(tmp_path / f"{n}.extxyz") for n in ("val", "test")}
    result = train(settings(tmp_path / "run", epochs=1, dtype="float64", max_force=1e3, **files))
    assert result.metrics["data"]["split"] == {"train": 40, "val": 9, "test": 9}
    assert next(result.model.parameters()).dtype == torch.float64


def test_a_run_too_short_to_be_validated_still_leaves_a_model(tmp_path):
    result = train(settings(tmp_path / "run", epochs=2, val_every=5))
    assert result.metrics["best_epoch"] == 2 and "val" in result.metrics["results"]


def test_validation_every_other_epoch(tmp_path):
    result = train(settings(tmp_path / "run", epochs=4, val_every=2))
    assert result.metrics["best_epoch"] in (2, 4)


def test_no_validation_set(tmp_path):
    result = train(settings(tmp_path / "run", epochs=2, val_size=0, test_size=0, plots=True))
    assert result.metrics["results"] == {} and result.metrics["best_epoch"] in (1, 2)


def test_tensorboard_logs(tmp_path):
    pytest.importorskip("tensorboard")
    train(settings(tmp_path / "run", epochs=2, tensorboard=True))
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_divergence_is_an_error_not_a_model(tmp_path):
    with pytest.raises(TrainingDiverged, match="not finite"):
        train(settings(tmp_path / "run", epochs=3, lr=1e30, clip=0, schedule="constant", warmup=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"max_time": "5 parsecs"}, "--max_time"),
        ({"schedule": "cosin"}, "schedule 'cosin'"),
        ({"optimizer": "sgd"}, "optimizer 'sgd'"),
        ({"train_size": 1000}, "structures asked for"),
        ({"ema_decay": 1.5}, "ema_decay"),
        ({"model": {"max_z": 7}}, "max_z 9"),
        ({"model": {"channels": 0}}, "channels"),
        ({"data": "ethanoll"}, "Did you mean 'ethanol'"),
    ],
)
def test_wrong_settings_leave_no_run_behind(tmp_path, options, message):
    with pytest.raises(InvalidInput, match=message):
        train(settings(tmp_path / "run", **options))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_global_state_is_left_alone(tmp_path):
    import logging
    import signal

    def state():
        names = ("lightning.pytorch", "lightning.fabric")
        return (
            torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.get_num_threads(),
            torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), list(warnings.filters),
            signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
            [logging.getLogger(n).level for n in names],
        )  # fmt: skip

    train(settings(tmp_path / "warm", epochs=1, plots=True))  # Lightning's own first import adds filters
    before = state()
    train(settings(tmp_path / "run", epochs=1, plots=True))
    assert state() == before
    import matplotlib

    assert "matplotlib.pyplot" not in __import__("sys").modules or matplotlib.get_backend()


def test_a_missing_matplotlib_is_said_once_and_hurts_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match="matplotlib is missing"):
        train(settings(tmp_path / "run", epochs=1, plots=True))
    assert not (tmp_path / "run" / "parity.png").exists() and (tmp_path / "run" / "metrics.json").exists()


def test_progress_bar_and_lines_show_errors_with_units(tmp_path, capsys):
    train(settings(tmp_path / "bar", epochs=2, progress=True))
    assert "meV/Å" in capsys.readouterr().out
    train(settings(tmp_path / "lines", epochs=2, progress=False))
    out = capsys.readouterr().out
    assert (
        "epoch 2/2" in out
        and "meV/Å" in out
        and "parameters" in out
        and "split" in out
        and "reference" in out
    )
