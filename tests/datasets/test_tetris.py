"""Tetris: rigid shapes that turn and drift at constant rates, seeded; scores of trivial predictors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.datasets.tasks import load_task, make_task
from geomlib.datasets.tetris import SHAPES, TETRIS, make_tetris


def frames(data):
    return torch.cat([data["pos"], data["future"]], 1).numpy()


def test_shapes_are_connected_unit_cubes_and_all_different():
    distances = np.linalg.norm(SHAPES[:, :, None] - SHAPES[:, None], axis=-1)
    assert ((np.abs(distances - 1) < 1e-12).sum((1, 2)) >= 6).all()  # three contacts at least
    assert distances[:, ~np.eye(4, dtype=bool)].min() == 1
    gram = [np.sort(np.round(d.ravel(), 6)).tolist() for d in distances]
    centred = SHAPES - SHAPES.mean(1, keepdims=True)
    hand = np.linalg.det(centred[:, 1:] - centred[:, :1])
    assert len({(*g, round(float(h), 6)) for g, h in zip(gram, hand, strict=True)}) == 8
    assert np.sort(np.round(hand, 9))[[0, -1]].tolist() == [-1, 1]  # a chiral pair


def test_the_motion_is_rigid_and_uniform():
    data = make_tetris(40, 5)
    x = frames(data)
    assert x.shape == (40, 8, 4, 3)
    shape = SHAPES[data["shape"].numpy()]
    want = np.linalg.norm(shape[:, :, None] - shape[:, None], axis=-1)
    assert np.abs(np.linalg.norm(x[:, :, :, None] - x[:, :, None], axis=-1) - want[:, None]).max() < 1e-12
    centre = x.mean(2, keepdims=True)
    assert np.abs(np.diff(centre, n=2, axis=1)).max() < 1e-12
    body = x - centre
    for b in body[shape[:, 3, 2] != 3]:  # a straight shape may turn about itself
        turns = [Rotation.align_vectors(b[t + 1], b[t])[0] for t in range(7)]
        vectors = np.array([r.as_rotvec() for r in turns])
        assert np.abs(vectors - vectors[0]).max() < 1e-6 and np.linalg.norm(vectors[0]) < 0.5 + 1e-9
    # Four frames determine the fifth: turning about a fixed axis while drifting is a linear recurrence.
    a, b, c, d, e = (x[:, t] for t in range(5))
    for n in range(40):
        second, mixed = (d - 2 * c + b)[n].ravel(), (e - 2 * d + 2 * c - 2 * b + a)[n].ravel()
        k = mixed @ second / max(second @ second, 1e-300)
        assert np.abs(mixed - k * second).max() < 1e-9
    assert data["future"].dtype == torch.float64 and data["shape"].dtype == torch.int64


def test_distributions():
    data = make_tetris(20000, 0, spread=2.0, speed=0.5)
    x = frames(data)
    assert abs(x[:, 0].mean(1).std() - 2) < 0.03
    assert abs(np.diff(x.mean(2), axis=1).std() - 0.5) < 0.01
    counts = np.bincount(data["shape"].numpy(), minlength=8)
    assert counts.min() > 2300 and counts.max() < 2700
    direction = x[:, 0] - x[:, 0].mean(1, keepdims=True)
    second = np.einsum("nki,nkj->ij", direction, direction) / np.square(direction).sum()
    assert np.abs(second - np.eye(3) / 3).max() < 0.01


def test_seeds_and_sizes():
    one, two, other = make_tetris(7, 1), make_tetris(7, 1), make_tetris(7, 2)
    assert all(torch.equal(one[k], two[k]) for k in one) and not torch.equal(one["pos"], other["pos"])
    assert make_tetris(0, 0)["pos"].shape == (0, 4, 4, 3)
    assert make_tetris(2, 0, frames_in=1, frames_out=2)["future"].shape == (2, 2, 4, 3)
    with pytest.raises(InvalidInput, match="frames_in=0"):
        make_tetris(1, 0, frames_in=0)
    with pytest.raises(InvalidInput, match="speed=-1"):
        make_tetris(1, 0, speed=-1)


def test_the_task_and_its_trivial_predictors():
    assert load_task("tetris") is TETRIS
    sets = make_task("tetris", sizes=(4, 4, 2000))
    test = sets["test"].tensors
    scores = TETRIS.baselines(sets["train"].tensors, test)
    assert 0.5 < scores["last frame"] < 0.7 and 0.05 < scores["constant velocity"] < 0.09
    still = make_tetris(50, 0, max_angle=0)
    assert TETRIS.baselines(still, still)["constant velocity"] < 1e-25
