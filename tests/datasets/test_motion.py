"""Motion sequences: windows and bones by hand on a small file, the real file where it is there, misuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.motion import MOTION, make_motion, motion_file, read_motions, rigid_pairs
from geomlib.datasets.tasks import make_task

REAL = "data/skeleton/hdm05_11class_joints30hz.npz"
PARENT = [0, 1, 2, 1]


def skeletons(folder: Path, **changes) -> Path:
    """Six sequences of 20 frames: a root, two bones in a row, and one more from the root; bones turn about the z axis."""
    parts = []
    for i in range(6):
        t = np.arange(20) * 0.1 + i
        root = np.stack([t, np.sin(t), 0 * t], -1)
        one = root + (2.0 + i % 2) * np.stack([np.cos(t), np.sin(t), 0 * t], -1)
        two = one + 1.5 * np.stack([np.cos(3 * t), np.sin(3 * t), 0 * t], -1)
        three = root + np.array([1.0, 2.0, 0.5])  # at rest relative to the root
        parts.append(np.stack([root, one, two, three], 1))
    arrays = {
        "joints": np.concatenate(parts).astype(np.float32),
        "offsets": np.arange(0, 121, 20),
        "actor": np.array(["a", "b", "a", "b", "a", "c"]),
        "split": np.array(["train"] * 5 + ["test"]),
        "parent": np.array(PARENT),
    }
    np.savez(folder / "motion.npz", **{**arrays, **changes})
    return folder / "motion.npz"


def test_windows_and_splits(tmp_path):
    path = skeletons(tmp_path)
    joints = np.load(path)["joints"].astype(float) / 10
    seen = {}
    for split, sequences in {"train": (0, 1, 2, 3), "val": (4,), "test": (5,)}.items():
        count = 14 * len(sequences)  # frames 1..14 of each have one before and five after
        found = make_motion(count, 7, split, horizon=5, path=str(path))
        rows = {}
        for s in sequences:
            for t in range(20 * s + 1, 20 * s + 15):
                rows[joints[t].tobytes()] = t
        times = [rows[x.numpy().tobytes()] for x in found["pos"]]
        assert sorted(times) == sorted(rows.values())
        seen[split] = times
        np.testing.assert_array_equal(found["later"].numpy(), joints[[t + 5 for t in times]])
        np.testing.assert_allclose(
            found["vel"].numpy(), 5 * (joints[times] - joints[[t - 1 for t in times]]), atol=1e-13
        )
    assert seen["train"] != sorted(seen["train"])  # drawn, not read off in order
    with pytest.raises(InvalidInput, match="57 samples of train were asked for, there are 56"):
        make_motion(57, 0, "train", horizon=5, path=str(path))
    sets = make_task(MOTION, sizes=(8, 3, 4), seed=5, horizon=5, path=str(path))
    for number, (name, size) in enumerate({"train": 8, "val": 3, "test": 4}.items()):
        again = make_motion(size, 15 + number, name, horizon=5, path=str(path))
        assert all(torch.equal(sets[name].tensors[k], v) for k, v in again.items())


def test_bones_are_the_pairs_that_keep_their_distance(tmp_path):
    """Lengths differ between actors, so constancy is asked of each alone; at rest is rigid, moving apart is not."""
    motions = read_motions(skeletons(tmp_path))
    assert rigid_pairs(motions).tolist() == [[0, 1], [0, 3], [1, 2]]
    free = np.load(skeletons(tmp_path))["joints"]
    free[:, 2] += np.linspace(0, 1, len(free))[:, None]
    with pytest.raises(InvalidInput, match=r"bones \[\(1, 2\)\] change"):
        rigid_pairs(read_motions(skeletons(tmp_path, joints=free)))


def test_baselines(tmp_path):
    path = str(skeletons(tmp_path))
    train, test = (make_motion(12, seed, split, 5, path) for seed, split in ((0, "train"), (1, "test")))
    found = MOTION.baselines(train, test)
    step, vel = (test["later"] - test["pos"]).numpy(), test["vel"].numpy()
    assert found["static"] == pytest.approx(np.mean(step**2))
    assert found["constant velocity"] == pytest.approx(np.mean((step - vel) ** 2))
    a = np.linalg.lstsq(
        train["vel"].numpy().reshape(-1, 1), (train["later"] - train["pos"]).numpy().ravel(), rcond=None
    )[0][0]
    assert found["linear"] == pytest.approx(np.mean((step - a * vel) ** 2))


def test_absent_and_damaged_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_SHARED", str(tmp_path))
    with pytest.raises(InvalidInput, match="HDM05") as caught:
        motion_file()
    assert "GEOMLIB_SHARED" in str(caught.value) and str(tmp_path) in str(caught.value)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_motions(tmp_path / "bad.npz")
    np.savez(tmp_path / "few.npz", joints=np.zeros((3, 4, 3)))
    with pytest.raises(InvalidInput, match="offsets"):
        read_motions(tmp_path / "few.npz")
    whole = np.load(skeletons(tmp_path))["joints"]
    whole[3, 2, 1] = np.nan
    for changes in ({"joints": whole}, {"offsets": np.arange(0, 101, 20)}, {"actor": np.array(["a"])}):
        with pytest.raises(InvalidInput, match="do not fit together"):
            read_motions(skeletons(tmp_path, **changes))
    with pytest.raises(InvalidInput, match="split='dev'"):
        make_motion(3, 0, "dev")
    with pytest.raises(InvalidInput, match="n=0"):
        make_motion(0, 0)


def test_the_real_sequences(shared):
    """Counts of the description, 30 bones and 8 rigid pairs beyond them, actors apart, and the scores to beat."""
    path = str(shared(REAL))
    motions = read_motions(path)
    assert len(motions.offsets) == 288 and motions.joints.shape == (17878, 31, 3)
    pairs = {tuple(p) for p in rigid_pairs(motions).tolist()}
    bones = {(min(i, p), max(i, p)) for i, p in enumerate(motions.parent.tolist()) if p >= 0}
    assert len(bones) == 30 and bones < pairs and len(pairs) == 38
    assert set(motions.actor[motions.split == "train"]) == {"bd", "bk", "dg"}
    assert set(motions.actor[motions.split == "test"]) == {"mm", "tr"}
    train, test = make_motion(2048, 0, path=path), make_motion(2048, 2, path=path)
    found = MOTION.baselines(train, test)
    assert 2.0 < found["static"] < 2.3 and 1.7 < found["linear"] < 2.0 < 4 < found["constant velocity"] < 6
    relative = train["pos"] - train["pos"].mean(1, keepdim=True)
    assert 1.0 < float(relative.std()) < 1.4
