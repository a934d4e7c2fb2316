"""HDM05: recipes by hand on a small file, parts that share no actor, damage, the real file where it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.hdm05 import clip_numbers, make_hdm05
from geomlib.datasets.hdm05_clips import PARTS, covariance, read_clips, subspace, window_covariances
from geomlib.datasets.tasks import load_task, make_task
from tests.datasets.skeleton_files import PARENT, skeleton_arrays, skeleton_file

REAL = "data/skeleton/hdm05_11class_joints30hz.npz"


@pytest.fixture
def small(tmp_path):
    return str(skeleton_file(tmp_path))


def rows(small, split, **options):
    """Return the relative coordinates of the clips in the order in which they are served."""
    served = make_hdm05(6 if split == "test" else 12, 4, "joints", split, path=small, **options)
    return [x[:t].numpy() for x, t in zip(served["joints"], served["frames"], strict=True)], served["label"]


def test_covariances_are_those_of_numpy(small):
    raw = skeleton_arrays()
    x, label = rows(small, "train")
    want = []
    for i in range(12):  # the first twelve clips are the training part
        clip = raw["joints"][raw["offsets"][i] : raw["offsets"][i + 1]].astype(float)
        want.append((clip - clip[:, :1]).reshape(len(clip), 93))
    order = [next(i for i, w in enumerate(want) if w.shape == y.shape and np.array_equal(w, y)) for y in x]
    assert sorted(order) == list(range(12)) and order != list(range(12))
    assert label.tolist() == (raw["label"][order] - 1).tolist()
    made = make_hdm05(12, 4, "covariance", "train", path=small, shrink=0.01)["cov"]
    for got, i in zip(made.numpy(), order, strict=True):
        c = np.cov(want[i].T)
        np.testing.assert_allclose(got, c + 0.01 * np.trace(c) / 93 * np.eye(93), rtol=1e-12, atol=1e-12)
    assert made.dtype == torch.float64 and float(torch.linalg.eigvalsh(made).min()) > 0


def test_windows_overlap_by_half_and_cover_the_clip():
    x = np.random.default_rng(0).normal(size=(21, 93)).cumsum(0)
    found = window_covariances(x, 6, shrink=1e-3)
    assert found.shape == (6, 5, 15, 15)
    joints = x.reshape(21, 31, 3)
    for k, start in enumerate((0, 3, 6, 9, 12, 15)):  # ceil(42 / 7) = 6 frames each
        for part, members in enumerate(PARTS):
            own = joints[:, list(members)].reshape(21, 15)
            floor = 1e-3 * np.trace(np.cov(own.T)) / 15 * np.eye(15)
            np.testing.assert_allclose(
                found[k, part], np.cov(own[start : start + 6].T) + floor, rtol=1e-12, atol=1e-12
            )
    still = x.copy()
    still[6:12] = still[6]  # at rest in the third window: small, not singular
    assert np.linalg.eigvalsh(window_covariances(still, 6)).min() > 0
    assert window_covariances(x[:2], 4).shape[0] == 4  # all windows are the two frames
    single = window_covariances(x, 1)[0, 2]
    np.testing.assert_allclose(single, covariance(joints[:, list(PARTS[2])].reshape(21, 15)), rtol=1e-12)


def test_subspaces_span_the_leading_directions():
    rng = np.random.default_rng(0)
    frame, _ = np.linalg.qr(rng.normal(size=(93, 3)))
    x = rng.normal(size=(30, 3)) * [9.0, 5.0, 2.0] @ frame.T
    u = subspace(x, 3)
    np.testing.assert_allclose(u @ u.T, frame @ frame.T, atol=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(3), atol=1e-12)
    assert (u[np.abs(u).argmax(0), range(3)] > 0).all()
    with pytest.raises(InvalidInput, match="rank=4"):
        subspace(x, 4)
    with pytest.raises(InvalidInput, match=r"rank=8.*5 frames"):
        subspace(rng.normal(size=(5, 93)), 8)


def test_parts_share_no_actor(small):
    clips = read_clips(small)
    part = {s: clip_numbers(clips, s, hold_out=True) for s in ("train", "val", "test")}
    assert {k: len(v) for k, v in part.items()} == {"train": 10, "val": 2, "test": 6}
    assert sorted(np.concatenate(list(part.values())).tolist()) == list(range(18))
    assert set(clips.motions.actor[part["test"]]) == {"y"}
    assert len(clip_numbers(clips, "train")) == 12 and not len(clip_numbers(clips, "val"))
    one = clip_numbers(clips, "train", actors="q")
    assert set(clips.motions.actor[one]) == {"q"} and len(one) == 6
    assert len(clip_numbers(clips, "train", actors=" p , q")) == 12
    assert len(clip_numbers(clips, "test", actors="q")) == 6
    sets = make_task("hdm05", sizes=(10, 2, 6), seed=3, hold_out=True, path=small)
    again = make_hdm05(2, 10, path=small, hold_out=True)  # 3 * 3 + 1: validation
    assert torch.equal(sets["val"].tensors["cov"], again["cov"])
    with pytest.raises(InvalidInput, match="13 clips of train were asked for, there are 12"):
        make_hdm05(13, 0, path=small)
    with pytest.raises(InvalidInput, match=r"'y' is not among the training actors p, q"):
        make_hdm05(3, 0, path=small, actors="y")
    with pytest.raises(InvalidInput, match=r"form='window'.*'windows'"):
        make_hdm05(3, 0, "window", path=small)
    with pytest.raises(InvalidInput, match="split='dev'"):
        make_hdm05(3, 0, split="dev", path=small)


def test_shots_are_drawn_by_action(tmp_path):
    raw = skeleton_arrays(clips_of_an_action=5)
    raw["label"] = np.tile(np.arange(1, 12), 5)[
        : len(raw["label"])
    ]  # all eleven, two or three of each in training
    clips = read_clips(skeleton_file(tmp_path, **raw))
    seen = [clip_numbers(clips, "train", shots=2, seed=s) for s in range(4)]
    for index in seen:
        assert np.bincount(clips.label[index]).tolist() == [2] * 11
        assert len(set(index.tolist())) == 22 and set(clips.motions.split[index]) == {"train"}
    assert len({tuple(sorted(i.tolist())) for i in seen}) > 1
    assert np.array_equal(seen[1], clip_numbers(clips, "train", shots=2, seed=1))
    with pytest.raises(InvalidInput, match=r"shots=3.*2 clips of action 8 \(sneak\)"):
        clip_numbers(clips, "train", shots=3)
    with pytest.raises(InvalidInput, match="shots=0"):
        clip_numbers(clips, "train", shots=0)


def test_covariances_out_of_bounds():
    for x in (np.zeros((1, 3)), np.zeros(3)):
        with pytest.raises(InvalidInput, match="two frames or more"):
            covariance(x)
    with pytest.raises(InvalidInput, match="shrink=-1"):
        covariance(np.random.default_rng(0).normal(size=(4, 3)), -1.0)
    for call in (lambda: covariance(np.ones((4, 3))), lambda: window_covariances(np.ones((4, 93)), 2)):
        with pytest.raises(InvalidInput, match="constant"):
            call()


def test_damaged_files_are_refused(tmp_path):
    raw = skeleton_arrays()
    label, joints, offsets = raw["label"].copy(), raw["joints"].copy(), raw["offsets"].copy()
    label[4] = 12
    joints[offsets[2] : offsets[3], 5] *= np.linspace(1, 1.1, offsets[3] - offsets[2])[:, None]
    nan = raw["joints"].copy()
    nan[7, 3, 1] = np.nan
    offsets[1] = 1
    cases = [
        ({"label": label}, "clip 4 has label 12, expected 1..11"),
        ({"label": raw["label"][:-1]}, r"shape \(17,\).*each of its 18 clips"),
        ({"label": raw["label"].astype(float)}, "`label` float64"),
        ({"drop": ("label",)}, "no `label`"),
        ({"joints": joints}, "change their lengths"),
        ({"joints": nan}, "not finite"),
        ({"offsets": offsets}, "clip 0 has one frame"),
        ({"offsets": raw["offsets"].astype(float)}, "do not fit together"),
        ({"split": np.array(["train", "test"] * 9)}, "actor p is in the training and in the test part"),
        ({"split": np.array(["train"] * 12 + ["dev"] * 6)}, "split 'dev'"),
        ({"joints": raw["joints"][:, :30], "parent": np.array(PARENT[:30]) + 1}, "30 joints"),
    ]
    for changes, match in cases:
        with pytest.raises(InvalidInput, match=match):
            read_clips(skeleton_file(tmp_path, **changes))
    with pytest.raises(InvalidInput, match="HDM05"):
        read_clips(tmp_path / "nowhere.npz")


def test_the_real_clips(shared):
    """Counts of the description, by actor and action, lengths, and what the tasks serve."""
    path = str(shared(REAL))
    clips = read_clips(path)
    frames = np.diff(clips.motions.offsets)
    assert len(clips) == 287 and frames.sum() == 17878 and (frames.min(), frames.max()) == (14, 226)
    assert np.bincount(clips.label).tolist() == [32, 27, 29, 36, 17, 29, 20, 16, 15, 52, 14]
    actors, counts = np.unique(clips.motions.actor, return_counts=True)
    assert dict(zip(actors.tolist(), counts.tolist(), strict=True)) == {
        "bd": 62,
        "bk": 65,
        "dg": 61,
        "mm": 44,
        "tr": 55,
    }
    bones = {(p, i) for i, p in enumerate(PARENT) if p >= 0}
    assert {(int(p), i) for i, p in enumerate(clips.motions.parent) if p >= 0} == bones
    sets = make_task("hdm05", path=path)
    assert {k: len(v) for k, v in sets.items()} == {"train": 188, "test": 99}
    cov = sets["test"].tensors["cov"]
    w = torch.linalg.eigvalsh(cov)
    shrink = 1e-3 / 1.001 * cov.diagonal(dim1=-2, dim2=-1).mean(-1)
    torch.testing.assert_close(w[:, 0], shrink, rtol=1e-9, atol=0)  # singular before it was added
    scores = load_task("hdm05").baselines(sets["train"].tensors, sets["test"].tensors)
    assert 0.1 < scores["majority class"] < 0.25 and 0.7 < scores["nearest covariance"] < 1
    assert len(make_task("hdm05_one", path=path)["train"]) == 62
    local = make_task("hdm05_windows", path=path, sizes=(8, 0, 2))["train"].tensors["cov"]
    assert local.shape == (8, 6, 5, 15, 15) and float(torch.linalg.eigvalsh(local).min()) > 0
    basis = make_task("hdm05_subspaces", path=path, rank=10)["test"].tensors["basis"]
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(10).double().expand(99, 10, 10), rtol=0, atol=1e-12
    )
    assert len(make_hdm05(33, 0, shots=3, path=path)["label"]) == 33
