"""A scheduler starts the same command again: it continues its own run, and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from geomlib import InvalidInput
from geomlib.interop.checkpoint import load_tree
from geomlib.train.interrupt import TrainingInterrupted
from geomlib.train.keeper import LAST, RunKeeper
from geomlib.train.restart import is_main
from geomlib.train.run import train
from tests.interop.test_checkpoint import identical
from tests.train.common import settings
from tests.train.test_resume import StopAt, final_state


def cut(monkeypatch, folder, **options):
    """Start a run that is interrupted after its third step."""
    with monkeypatch.context() as patch:
        make = RunKeeper.__init__
        patch.setattr(
            RunKeeper, "__init__", lambda self, *a, **k: make(self, *a, **{**k, "request": StopAt(2)})
        )
        with pytest.raises(TrainingInterrupted):
            train(settings(folder, **options))


@pytest.mark.parametrize("counter", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_command_continues_exactly(tmp_path, monkeypatch, capsys, counter, overwrite):
    """Also with --overwrite, which was meant for what lay there at the first start."""
    cut(monkeypatch, tmp_path / "cut", overwrite=overwrite)
    monkeypatch.setenv(counter, "1")
    train(settings(tmp_path / "cut", overwrite=overwrite))
    assert f"{counter}=1: continuing the run in {tmp_path / 'cut'}" in capsys.readouterr().out
    monkeypatch.delenv(counter)
    train(settings(tmp_path / "straight"))
    one, two = final_state(tmp_path / "cut"), final_state(tmp_path / "straight")
    assert identical(one["state_dict"], two["state_dict"])
    assert identical(one["callbacks"], two["callbacks"])


@pytest.mark.parametrize("count", [None, "0", ""])
def test_without_a_restart_the_folder_is_refused_with_the_hint(tmp_path, monkeypatch, count):
    cut(monkeypatch, tmp_path / "run")
    before = (tmp_path / "run" / LAST).read_bytes()
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    with pytest.raises(InvalidInput, match=f"--resume {tmp_path / 'run'}"):
        train(settings(tmp_path / "run"))
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_a_run_of_other_settings_is_left_alone(tmp_path, monkeypatch):
    cut(monkeypatch, tmp_path / "run")
    before = (tmp_path / "run" / LAST).read_bytes()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    changed = r"SLURM_RESTART_COUNT=2.*\(lr was 0.001, is 0.5; model.channels was 8, is 16\).*--resume"
    with pytest.raises(InvalidInput, match=changed):
        train(settings(tmp_path / "run", lr=0.5, overwrite=True, model={"channels": 16}))
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_a_run_without_a_checkpoint_starts_over(tmp_path, monkeypatch, capsys):
    cut(monkeypatch, tmp_path / "run")
    (tmp_path / "run" / LAST).unlink()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    result = train(settings(tmp_path / "run"))
    assert result.metrics["budget"]["steps"] == 28 and "starting over" in capsys.readouterr().out


def test_a_first_start_in_a_restarted_job_is_an_ordinary_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(settings(tmp_path / "run")).metrics["budget"]["steps"] == 28


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),  # Lightning's own launcher
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun on a second machine
        ({"SLURM_PROCID": "1"}, False),  # srun, where nothing else is set
        ({"SLURM_PROCID": "0", "RANK": "0", "LOCAL_RANK": "0"}, True),
    ],
)
def test_one_process_speaks(monkeypatch, variables, main):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main() == main


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals")
def test_a_job_under_slurm_is_warned_and_requeued(tmp_path):
    """The real command with SLURM's variables: the warning, then the same command again."""
    settings(tmp_path / "x")  # writes the data
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "geomlib.cli", "train", "tensornet", "--data", str(tmp_path / "springs.extxyz"),
        "--epochs", "30", "--batch_size", "4", "--val_size", "6", "--test_size", "6", "--no-plots",
        "--model.channels", "8", "--model.layers", "1", "--accelerator", "cpu", "--threads", "1", "--out", str(run),
    ]  # fmt: skip
    slurm = {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "x", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = os.environ | {f"SLURM_{k}": v for k, v in slurm.items()}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 120
    while not (run / "metrics.csv").exists():
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "--resume" in err and "Traceback" not in err + out, err
    assert 0 < load_tree(run / LAST, kind="training")["global_step"] < 30 * 7
    assert not list(run.glob("hpc_ckpt*")), "Lightning's own file would be preferred at every later start"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        env=environment | {"SLURM_RESTART_COUNT": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SLURM_RESTART_COUNT=1: continuing the run" in done.stdout
    assert load_tree(run / LAST, kind="training")["global_step"] == 30 * 7
