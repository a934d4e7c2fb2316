"""`geomlib md` from the command line: files, messages, reproducibility."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import geomlib
from geomlib import CheckpointError, InvalidInput
from geomlib.interop import md_command, save_model


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    net = geomlib.create_model("tensornet", channels=8, layers=1, num_radial=8, max_z=10)
    save_model(net, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def water(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(
        "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n3\ncharge=1\nO 0 0 0\nH 0.98 0 0\nH -0.24 0.95 0\n"
    )
    return path


def run(model, water, out, *extra, models=()):
    words = [
        str(model),
        *map(str, models),
        "--structure",
        str(water),
        "--steps",
        "30",
        "--out",
        str(out),
        *extra,
    ]
    return md_command.main(words)


def test_a_run_writes_everything(model, water, tmp_path, capsys):
    out = tmp_path / "deep" / "md"
    assert run(model, water, out, "--replicas", "2", "--temperature", "100") == 0
    printed = capsys.readouterr().out
    assert "H2O, 3 atoms, 2 replica(s), 30 steps of 0.5 fs, nve, 100 K" in printed
    assert "energy.png" in printed and "drift" in printed
    table = np.genfromtxt(out / "md.csv", delimiter=",", names=True)
    assert table["step"].tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["replicas"]) == 2 and summary["formula"] == "H2O"
    assert (out / "energy.png").read_bytes()[:4] == b"\x89PNG" and (out / "energy.png").stat().st_size > 5000
    assert (out / "trajectory.extxyz").read_text().count("Properties") == 8


def test_the_folder_of_a_run_and_a_repeat_with_the_same_seed(model, water, tmp_path):
    for out, extra in (("a", ()), ("b", ()), ("c", ("--seed", "2")), ("d", ("--dtype", "float32"))):
        run(model.parent, water, tmp_path / out, "--no-plot", "--ensemble", "langevin", *extra)
    rows = {out: (tmp_path / out / "md.csv").read_text() for out in "abcd"}
    assert rows["a"] == rows["b"] and len(set(rows.values())) == 3
    assert not (tmp_path / "a" / "energy.png").exists()


def test_index_and_charge(model, water, tmp_path):
    run(model, water, tmp_path / "first", "--no-plot")
    run(model, water, tmp_path / "last", "--no-plot", "--index", "-1")
    run(model, water, tmp_path / "neutral", "--no-plot", "--index", "1", "--charge", "0")
    frames = {k: (tmp_path / k / "trajectory.extxyz").read_text() for k in ("first", "last", "neutral")}
    assert "charge=1.0" in frames["last"] and "charge" not in frames["neutral"]
    assert len({(tmp_path / k / "md.csv").read_text() for k in frames}) == 3


def test_ensemble_and_foreign_weights(model, data, water, tmp_path):
    foreign = data / "molecular" / "tensornet_o3_L1.safetensors"
    assert run(foreign, water, tmp_path / "foreign", "--no-plot") == 0
    words = [
        str(model),
        str(foreign),
        "--structure",
        str(water),
        "--steps",
        "5",
        "--out",
        str(tmp_path / "both"),
    ]
    assert md_command.main([*words, "--no-plot"]) == 0

    def first(name):
        return float((tmp_path / name / "md.csv").read_text().splitlines()[1].split(",")[3])

    run(model, water, tmp_path / "own", "--no-plot")
    assert first("both") == pytest.approx(0.5 * (first("own") + first("foreign")), abs=1e-12)


def test_an_earlier_run_is_kept_unless_told_otherwise(model, water, tmp_path):
    run(model, water, tmp_path / "md")
    before = (tmp_path / "md" / "md.csv").read_bytes()
    with pytest.raises(InvalidInput, match="--overwrite"):
        run(model, water, tmp_path / "md", "--seed", "5")
    assert (tmp_path / "md" / "md.csv").read_bytes() == before
    run(model, water, tmp_path / "md", "--seed", "5", "--overwrite", "--no-plot")
    assert (tmp_path / "md" / "md.csv").read_bytes() != before
    assert not (tmp_path / "md" / "energy.png").exists()  # the old plot does not belong to the new run


def test_errors_name_what_is_wrong(model, water, tmp_path):
    with pytest.raises(InvalidInput, match="--index 7"):
        run(model, water, tmp_path / "md", "--index", "7")
    with pytest.raises(InvalidInput):
        run(tmp_path / "absent.safetensors", water, tmp_path / "md")
    with pytest.raises(InvalidInput):
        run(model, tmp_path / "absent.xyz", tmp_path / "md")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        run(model, water, tmp_path / "file" / "md")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(model.read_bytes()[:-10])
    with pytest.raises(CheckpointError):
        run(broken, water, tmp_path / "md")
    gold = tmp_path / "gold.xyz"
    gold.write_text("1\n\nAu 0 0 0\n")
    with pytest.raises(InvalidInput, match="79"):
        run(model, gold, tmp_path / "gold")
    assert not any((tmp_path / "gold").iterdir())


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys, geomlib.interop.md_command as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules)"
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("False") and "--ensemble" in result.stdout
    assert time.perf_counter() - start < 5


def test_the_bar_counts_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with md_command._progress(3) as tick:
        for step in (1, 2, 3):
            tick(step)
    assert "3/3" in capsys.readouterr().err
