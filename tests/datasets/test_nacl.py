"""Environments in rock salt: geometry, statistics, determinism, trivial scores, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.nacl import NACL, NACL_BLANK, make_nacl, make_nacl_blank, neighbours_of_salt
from geomlib.datasets.tasks import load_task, make_task


def test_neighbours_are_those_of_rock_salt():
    """Six of the other kind at 1, twelve of the own at the square root of 2, eight of the other at that of 3."""
    where, other = neighbours_of_salt()
    squared = (where**2).sum(-1).astype(int)
    assert [int((squared == k).sum()) for k in (1, 2, 3)] == [6, 12, 8]
    np.testing.assert_array_equal(other, squared % 2)


def test_same_seed_same_samples():
    for make in (make_nacl, make_nacl_blank):
        one, two, other = make(20, 3), make(20, 3), make(20, 4)
        assert all(torch.equal(one[k], two[k]) for k in one)
        assert not torch.equal(one["pos"], other["pos"])


def test_without_noise_the_crystal_is_left():
    """Gram matrices do not depend on the rotation; those of squished crystals follow from the three factors."""
    data = make_nacl(200, 0, noise=0.0)
    where = torch.from_numpy(neighbours_of_salt()[0])
    gram = data["pos"] @ data["pos"].mT
    plain = data["label"] == 0
    torch.testing.assert_close(
        gram[plain], (where @ where.T).expand(int(plain.sum()), 26, 26), atol=1e-12, rtol=0
    )
    faces = where.abs().sum(-1) == 1
    squished = data["pos"][~plain]
    lengths = squished[:, faces].norm(dim=-1)  # the faces of one axis are equally far
    pairs = torch.stack([lengths[:, i] for i in range(6)], -1).sort(-1).values.unflatten(-1, (3, 2))
    torch.testing.assert_close(pairs[..., 0], pairs[..., 1])
    assert float((gram[~plain] - where @ where.T).abs().amax((1, 2)).min()) > 1e-3
    corners = where.abs().sum(-1) == 3
    torch.testing.assert_close(squished[:, corners].square().sum((1, 2)), 4 * lengths.square().sum(1))


def test_statistics():
    data = make_nacl(4000, 1)
    assert abs(float(data["label"].double().mean()) - 0.5) < 0.03
    plain = data["pos"][data["label"] == 0]
    where = torch.from_numpy(neighbours_of_salt()[0])
    radial = plain.norm(dim=-1) - where.norm(dim=-1)
    assert abs(float(radial.std()) / 0.05 - 1) < 0.05
    assert float(plain.mean((0, 1)).abs().max()) < 0.01  # rotated in all directions
    faces = where.abs().sum(-1) == 1
    squished = make_nacl(4000, 1, noise=0.0, rotate=False)
    factors = squished["pos"][squished["label"] == 1][:, faces].abs().amax(-1)
    assert abs(float(factors.std()) / 0.25 - 1) < 0.05 and abs(float(factors.mean()) - 1) < 0.02


def test_features_are_those_of_pairs():
    """Difference and sum of one-hot kinds; both centres, and the order of the neighbours holds."""
    x = make_nacl(50, 0)["x"]
    other = torch.from_numpy(neighbours_of_salt()[1])
    assert sorted(set(x[..., 0].flatten().tolist())) == [-1.0, 0.0, 1.0]
    assert torch.equal(x[..., :2].abs().sum(-1), 2.0 * other.expand(50, 26).double())
    assert torch.equal(x[..., 2:].sum(-1), torch.full((50, 26), 2.0, dtype=torch.float64))
    assert 5 < int((x[:, 0, 2] > x[:, 0, 3]).sum() + (x[:, 1, 2] > x[:, 1, 3]).sum()) < 95


def test_one_neighbour_is_missing():
    data = make_nacl_blank(300, 5, noise=0.0)
    total = data["pos"].sum(1) + data["missing"]
    assert float(total.abs().max()) < 1e-12
    lengths = data["missing"].square().sum(-1).round().long()
    assert sorted(set(lengths.tolist())) == [1, 2, 3]
    kinds = data["x"][..., 0].abs().sum(-1)
    assert set(kinds.tolist()) <= {13.0, 14.0}
    assert torch.equal(kinds == 13, lengths % 2 == 1)


def test_trivial_scores():
    sets = make_task("nacl", sizes=(512, 0, 2048))
    scores = load_task("nacl").baselines(sets["train"].tensors, sets["test"].tensors)
    assert abs(scores["majority class"] - 0.5) < 0.03
    assert 0.75 < scores["nearest mean of sorted distances"] < 0.9
    sets = make_task("nacl_blank", sizes=(64, 0, 2048))
    scores = load_task("nacl_blank").baselines(sets["train"].tensors, sets["test"].tensors)
    assert abs(scores["zero"] / ((6 + 24 + 24) / 26 / 3) - 1) < 0.05
    assert abs(scores["minus the sum of the others"] / (26 * 0.05**2) - 1) < 0.1
    assert NACL.loss == "cross_entropy" and NACL_BLANK.loss == "mse"


def test_misuse():
    with pytest.raises(InvalidInput, match="n=0"):
        make_nacl(0, 0)
    with pytest.raises(InvalidInput, match="noise=-1"):
        make_nacl_blank(1, 0, noise=-1)
    with pytest.raises(InvalidInput, match="squish=nan"):
        make_nacl(1, 0, squish=float("nan"))
