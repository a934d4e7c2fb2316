"""An interrupted run, continued, is bit for bit the run that was not interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import geomlib.train.structures_job as structures_job
from geomlib import CheckpointError, InvalidInput
from geomlib.interop.checkpoint import load_tree
from geomlib.train.interrupt import StopRequest, TrainingInterrupted
from geomlib.train.keeper import LAST, RunKeeper
from geomlib.train.run import train
from tests.interop.test_checkpoint import identical
from tests.train.common import settings

TIMES = ("wall_s", "cpu_s")


def final_state(folder):
    """Everything in the last checkpoint but the clock."""
    tree = load_tree(folder / LAST)
    keeper = tree["callbacks"]["RunKeeper"]
    keeper.pop("spent")
    for row in [*keeper["history"], keeper["best"]]:
        for name in TIMES:
            row.pop(name)
    return tree


class Noisy(torch.nn.Module):
    """A model with dropout, to see whether the random stream continues."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.cutoff, self.max_z = inner, inner.cutoff, inner.max_z
        self.drop = torch.nn.Dropout(0.3)

    config = property(lambda self: self.inner.config)

    def set_reference(self, *args):
        self.inner.set_reference(*args)

    def forward(self, *args, **kwargs):
        out = self.inner(*args, **kwargs)
        return {**out, "forces": self.drop(out["forces"])}


class StopAt(StopRequest):
    """A signal that comes at the n-th look."""

    def __init__(self, n):
        self.n, self.seen = n, 0

    def listen(self):
        pass

    @property
    def signal(self):
        self.seen += 1
        return signal.SIGTERM if self.seen > self.n else None


def interrupted(monkeypatch, parsed, looks):
    """Run until the given number of looks at the request, then continue to the end."""
    with monkeypatch.context() as patch:
        make = RunKeeper.__init__

        def init(self, *args, **kwargs):
            make(self, *args, **{**kwargs, "request": StopAt(looks)})

        patch.setattr(RunKeeper, "__init__", init)
        with pytest.raises(TrainingInterrupted, match="--resume"):
            train(parsed)
    parsed.config.resume = True
    train(parsed)


# 28 training structures in batches of 4 are 7 steps; the last of an epoch is looked at after validation.
CASES = [("ema+dropout", n) for n in (0, 2, 5, 6, 7, 13, 16)] + [
    (v, n) for v in ("plain", "plateau") for n in (2, 6)
]


@pytest.mark.parametrize(("variant", "looks"), CASES, ids=[f"{v}-step{n + 1}" for v, n in CASES])
def test_resume_is_bitwise_exact(tmp_path, monkeypatch, looks, variant):
    options = {
        "plain": {},
        "ema+dropout": {"ema_decay": 0.9},
        "plateau": {"schedule": "plateau", "patience": 0, "lr": 0.05, "early_stop": 50},
    }[variant]
    if variant == "ema+dropout":
        make = structures_job.create_model
        monkeypatch.setattr(structures_job, "create_model", lambda *a, **k: Noisy(make(*a, **k)))
        monkeypatch.setattr("geomlib.train.keeper.save_model", lambda model, *a, **k: None)
        monkeypatch.setattr("geomlib.train.run._finish", lambda *a: None)
        monkeypatch.setattr("geomlib.train.fitting._same_data", lambda *a: None)
    train(settings(tmp_path / "straight", **options))
    interrupted(monkeypatch, settings(tmp_path / "cut", **options), looks)
    straight, cut = final_state(tmp_path / "straight"), final_state(tmp_path / "cut")
    assert straight["global_step"] == 28
    assert identical(cut["state_dict"], straight["state_dict"])
    assert identical(cut["optimizer_states"], straight["optimizer_states"])
    assert identical(cut["geomlib"], straight["geomlib"])
    assert identical(cut["callbacks"], straight["callbacks"])
    if variant == "plain":
        a, b = (load_tree_rows(tmp_path / n / "metrics.csv") for n in ("straight", "cut"))
        assert a == b
        one, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("straight", "cut"))
        assert strip(one) == strip(two)


def load_tree_rows(path):
    import csv

    with path.open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def strip(blob):
    """The tensors of a model file, without the header that tells times."""
    return blob[8 + int.from_bytes(blob[:8], "little") :]


def test_the_test_would_notice_lost_state(tmp_path, monkeypatch):
    """Without the random stream a dropout run differs: the comparison above can fail."""
    make = structures_job.create_model
    monkeypatch.setattr(structures_job, "create_model", lambda *a, **k: Noisy(make(*a, **k)))
    monkeypatch.setattr("geomlib.train.keeper.save_model", lambda model, *a, **k: None)
    monkeypatch.setattr("geomlib.train.run._finish", lambda *a: None)
    monkeypatch.setattr("geomlib.train.fitting._same_data", lambda *a: None)
    train(settings(tmp_path / "straight"))
    monkeypatch.setattr("geomlib.train.keeper.restore_random_state", lambda state: None)
    interrupted(monkeypatch, settings(tmp_path / "cut"), 2)
    straight, cut = final_state(tmp_path / "straight"), final_state(tmp_path / "cut")
    assert not identical(cut["state_dict"], straight["state_dict"])


def test_a_time_limit_can_be_lifted_and_the_run_continued_exactly(tmp_path, monkeypatch):
    train(settings(tmp_path / "straight"))
    parsed = settings(tmp_path / "cut")
    parsed.config.max_time = 1e-9
    result = train(parsed)
    assert result.metrics["budget"]["stopped_by"] == "max_time" and result.metrics["budget"]["steps"] == 1
    parsed.config.max_time, parsed.config.resume = None, True
    train(parsed)
    straight, cut = final_state(tmp_path / "straight"), final_state(tmp_path / "cut")
    assert identical(cut["state_dict"], straight["state_dict"])
    assert identical(cut["callbacks"]["RunKeeper"]["history"], straight["callbacks"]["RunKeeper"]["history"])


def test_resume_with_more_epochs_goes_on(tmp_path):
    parsed = settings(tmp_path / "run", schedule="constant")
    train(parsed)
    parsed.config.resume, parsed.config.epochs = True, 6
    result = train(parsed)
    assert result.metrics["budget"]["epochs"] == 6
    train(settings(tmp_path / "straight", schedule="constant", epochs=6))
    assert identical(
        final_state(tmp_path / "run")["state_dict"], final_state(tmp_path / "straight")["state_dict"]
    )


def test_resuming_a_finished_run_only_evaluates(tmp_path):
    parsed = settings(tmp_path / "run")
    first = train(parsed)
    parsed.config.resume = True
    again = train(parsed)
    assert again.metrics["results"] == first.metrics["results"]


def test_other_settings_are_refused_in_mid_epoch(tmp_path, monkeypatch):
    parsed = settings(tmp_path / "run")
    with pytest.raises(InvalidInput, match="batch_size was 4"):
        interrupted_with(monkeypatch, parsed, batch_size=5)


def interrupted_with(monkeypatch, parsed, **changes):
    with monkeypatch.context() as patch:
        make = RunKeeper.__init__
        patch.setattr(
            RunKeeper, "__init__", lambda self, *a, **k: make(self, *a, **{**k, "request": StopAt(2)})
        )
        with pytest.raises(TrainingInterrupted):
            train(parsed)
    parsed.config.resume = True
    for name, value in changes.items():
        setattr(parsed.config, name, value)
    train(parsed)


def test_a_failed_save_stops_the_run(tmp_path, monkeypatch):
    """Lightning's own save passes over a PermissionError; ours must not."""
    parsed = settings(tmp_path / "run", save_every=0.0)
    real = os.open

    def refuse(path, *args, **kwargs):
        if LAST in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(CheckpointError, match="could not be written"):
        train(parsed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_ends_the_command_cleanly_and_resume_is_exact(tmp_path, number):
    """The real command in a process of its own, with a real signal."""
    settings(tmp_path / "x")  # writes the data
    command = [
        sys.executable, "-m", "geomlib.cli", "train", "tensornet", "--data", str(tmp_path / "springs.extxyz"),
        "--epochs", "30", "--batch_size", "4", "--val_size", "6", "--test_size", "6", "--no-plots",
        "--model.channels", "8", "--model.layers", "1", "--ema_decay", "0.9", "--accelerator", "cpu",
        "--threads", "1",
    ]  # fmt: skip
    child = subprocess.Popen(
        [*command, "--out", str(tmp_path / "cut")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut" / "metrics.csv").exists():
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.02)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "--resume" in err and "Traceback" not in err + out, err
    kept = load_tree(tmp_path / "cut" / LAST, kind="training")
    assert 0 < kept["global_step"] < 30 * 7
    if number == signal.SIGINT:
        return  # what follows is the same
    for line in (["--resume", str(tmp_path / "cut")], None):
        words = (
            [sys.executable, "-m", "geomlib.cli", "train", *line]
            if line
            else [*command, "--out", str(tmp_path / "a")]
        )
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    a, cut = final_state(tmp_path / "a"), final_state(tmp_path / "cut")
    assert identical(cut["state_dict"], a["state_dict"]) and identical(cut["geomlib"], a["geomlib"])
    assert identical(cut["optimizer_states"], a["optimizer_states"])
    assert identical(cut["callbacks"], a["callbacks"])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_two_processes_continue_exactly(tmp_path):
    """Data-parallel training on two CPU processes, cut after one step and continued."""
    settings(tmp_path / "x")
    command = [
        sys.executable, "-m", "geomlib.cli", "train", "tensornet", "--data", str(tmp_path / "springs.extxyz"),
        "--epochs", "2", "--batch_size", "2", "--val_size", "6", "--test_size", "6", "--no-plots",
        "--model.channels", "8", "--model.layers", "1", "--accelerator", "cpu", "--devices", "2", "--threads", "1",
    ]  # fmt: skip

    def call(*words):
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    call(*command, "--out", str(tmp_path / "a"))
    call(*command, "--out", str(tmp_path / "b"), "--max_time", "0.000001")
    assert load_tree(tmp_path / "b" / LAST)["global_step"] == 1
    call(sys.executable, "-m", "geomlib.cli", "train", "--resume", str(tmp_path / "b"), "--max_time", "1h")
    a, b = final_state(tmp_path / "a"), final_state(tmp_path / "b")
    assert a["global_step"] == b["global_step"] == 14
    assert identical(a["state_dict"], b["state_dict"])
    assert identical(a["optimizer_states"], b["optimizer_states"])
