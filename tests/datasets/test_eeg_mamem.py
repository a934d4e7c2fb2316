"""EEG trials: what damaged files say, splits, the real recordings and trivial scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.eeg_mamem import SUBJECTS, eeg_split, make_eeg_mamem, read_mamem
from geomlib.datasets.tasks import load_task, make_task

io = pytest.importorskip("scipy.io")
REAL = "data/spd/mamem"
LABELS = np.repeat(np.arange(5), (100, 100, 120, 100, 80))


def write(folder: Path, **changed) -> Path:
    """Write a file with the right shapes; `changed` replaces arrays, None leaves one out."""
    rng = np.random.default_rng(0)
    y = rng.permutation(LABELS)
    x = rng.normal(size=(500, 8, 125)) * (1 + y[:, None, None])
    arrays = {"x_test": x, "y_test": y[:, None].astype(np.uint8)} | changed
    io.savemat(folder / "U001.mat", {k: v for k, v in arrays.items() if v is not None})
    return folder


def test_round_trip_and_split(tmp_path: Path) -> None:
    path = write(tmp_path)
    x, y = read_mamem("U001", path)
    assert x.shape == (500, 8, 125) and x.dtype == np.float64 and y.dtype == np.int64
    x[0] = 0  # a copy: what is kept is not touched
    assert read_mamem("U001", path)[0][0].any()
    parts = [eeg_split(p) for p in ("train", "val", "test")]
    assert [len(p) for p in parts] == [300, 100, 100] and np.array_equal(
        np.concatenate(parts), np.arange(500)
    )
    assert np.array_equal(eeg_split("train", hold_out=False), np.arange(400))
    assert len(eeg_split("val", hold_out=False)) == 0
    found = make_eeg_mamem(100, 2, path=str(path))
    order = found["x"][:, 0, 0].numpy()
    want = read_mamem("U001", path)[0][400:]
    want = want - want.mean(-1, keepdims=True)
    np.testing.assert_allclose(np.sort(order), np.sort(want[:, 0, 0]))
    assert not np.array_equal(order, want[:, 0, 0])
    assert torch.equal(found["x"], make_eeg_mamem(100, 2, path=str(path))["x"])
    assert float(found["x"].mean(-1).abs().max()) < 1e-13
    raw = make_eeg_mamem(3, 0, split="test", center=False, path=str(path))
    assert float(raw["x"].mean(-1).abs().max()) > 1e-3
    scores = load_task("eeg_mamem").baselines(make_eeg_mamem(300, 0, path=str(path)), found)
    assert scores["nearest mean of powers"] > 0.9 > 0.5 > scores["majority class"]


def test_damage(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(500, 8, 125))
    nan, still = x.copy(), x.copy()
    nan[7, 1, 2], still[3, 5] = np.nan, 1.0
    swapped = LABELS.copy()
    swapped[0] = 4
    for changed, match in (
        ({"x_test": None}, "no `x_test`, only .*y_test"),
        ({"x_test": x[:, :, :100]}, r"x_test is float64 of shape \(500, 8, 100\)"),
        ({"x_test": x.astype(complex)}, "complex128"),
        ({"y_test": LABELS[None]}, r"y_test is .* of shape \(1, 500\)"),
        ({"y_test": swapped[:, None]}, r"classes 0\.\.4 have \(99, 100, 120, 100, 81\)"),
        ({"x_test": nan}, "trial 7 holds values that are not finite"),
        ({"x_test": still}, "channel 5 of trial 3 is constant"),
    ):
        with pytest.raises(InvalidInput, match=match):
            read_mamem("U001", write(tmp_path, **changed))


def test_bytes(tmp_path: Path) -> None:
    """Files that are cut or changed are refused, or read as what they hold; nothing else is raised."""
    path = write(tmp_path) / "U001.mat"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[: int(k)] for k in rng.integers(1, 4000, 4)] + [
        whole[: len(whole) // 2],
        b"",
        b"x" * 4000,
    ]
    for k in rng.integers(0, 400, 12):
        damaged.append(whole[:k] + bytes([whole[k] ^ 0x41]) + whole[k + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            read_mamem("U001", tmp_path)
        except InvalidInput as error:
            refused += "U001.mat" in str(error)
    assert refused >= 7


def test_misuse(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GEOMLIB_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="not ours to ship"):
        read_mamem("U001")
    path = write(tmp_path)
    for call, match in (
        (lambda: read_mamem("U01", path), "subject='U01'.*Did you mean"),
        (lambda: read_mamem("U002", path), r"U002.mat is not there"),
        (lambda: eeg_split("tests"), "split='tests'"),
        (lambda: make_eeg_mamem(301, 0, path=str(path)), "301 trials of train were asked for, there are 300"),
        (lambda: make_eeg_mamem(1, 1, hold_out=False, path=str(path)), "there are 0"),
        (lambda: make_eeg_mamem(0, 0, path=str(path)), "n=0"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_real_recordings(shared, subject: str) -> None:
    path = shared(REAL)
    x, y = read_mamem(subject, path)
    assert np.bincount(y).tolist() == [100, 100, 120, 100, 80]
    assert 1 < np.median(x.std(-1)) < 60  # microvolts
    sets = make_task("eeg_mamem", subject=subject, path=str(path))
    assert [len(s) for s in sets.values()] == [300, 100, 100]
    scores = load_task("eeg_mamem").baselines(sets["train"].tensors, sets["test"].tensors)
    assert scores["majority class"] <= 0.25 and scores["nearest mean of powers"] < 0.6
