from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.datasets import Split, read_split, split


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(0, 300), st.integers(0, 100), st.integers(0, 100), st.integers(0, 2**32 - 1))
def test_disjoint_complete_and_reproducible(n, train, val, seed):
    if train + val > n:
        with pytest.raises(InvalidInput, match="asked for"):
            split(n, train, val, seed=seed)
        return
    first, second = split(n, train, val, seed=seed), split(n, train, val, seed=seed)
    together = torch.cat([first.train, first.val, first.test])
    assert sorted(together.tolist()) == list(range(n))
    assert (len(first.train), len(first.val)) == (train, val)
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_the_permutation_is_pinned():
    # Published results name a seed: these numbers must never change.
    assert split(10, 5, 2, seed=0).train.tolist() == [2, 8, 4, 9, 1]
    assert split(10, 5, 2, seed=0).test.tolist() == [3, 0, 5]
    assert split(1200, 950, 50, 200, seed=1).train[:5].tolist() == [636, 683, 1033, 190, 1083]


def test_seeds_differ_and_the_global_state_is_untouched():
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert not torch.equal(split(50, 20, 10, seed=0).train, split(50, 20, 10, seed=1).train)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_fractions_rest_and_order():
    s = split(100, 0.8, 0.1, None)
    assert (len(s.train), len(s.val), len(s.test)) == (80, 10, 10)
    s = split(100, None, 10, 20, order="contiguous")
    assert s.train.tolist() == list(range(70))
    assert s.test.tolist() == list(range(80, 100))
    assert len(split(100, 10, 10, 10).train) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((10, 8, 8, 0), "16 structures asked for"),
        ((10, None, None, 1), "train and val are all None"),
        ((10, -1, 2), "train = -1"),
        ((10, 2.5, 2), "train = 2.5"),
        ((-1, 0, 0), "n = -1"),
        ((10, True, 1), "train = True"),
    ],
)
def test_bad_requests(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        split(*arguments)
    with pytest.raises(InvalidInput, match="order"):
        split(10, 1, 1, order="sorted")


def test_files(tmp_path):
    s = split(30, 20, 5, seed=3)
    s.save(tmp_path / "split.json")
    np.savez(
        tmp_path / "split.npz", train_idx=s.train.numpy(), val_idx=s.val.numpy(), test_idx=s.test.numpy()
    )
    np.savez(
        tmp_path / "other.npz", idx_train=s.train.numpy(), idx_val=s.val.numpy(), idx_test=s.test.numpy()
    )
    for name in ("split.json", "split.npz", "other.npz"):
        again = split(30, file=tmp_path / name)
        assert all(torch.equal(getattr(again, k), getattr(s, k)) for k in ("train", "val", "test"))
    (tmp_path / "train.csv").write_text("1\r\n2\r\n")
    (tmp_path / "test.csv").write_text("\ufeff3\n0\n")
    again = read_split({"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}, n=4)
    assert (again.train.tolist(), again.val.tolist(), again.test.tolist()) == ([1, 2], [], [3, 0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": [0, 1], "val": [1]}, "index 1 is in train and again in val"),
        ({"train": [0, 0]}, "disjoint"),
        ({"train": [-1]}, "negative"),
        ({"train": [30]}, "index 30, but there are 30"),
        ({"train": [0.5]}, "integers"),
        ({"training": [0]}, "expected train, val, test"),
        ([1, 2], "cannot be read"),
    ],
)
def test_damaged_files(tmp_path, content, words):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=words):
        split(30, file=path)


def test_damaged_text(tmp_path):
    path = tmp_path / "i.txt"
    path.write_text("0\n1\ntwo\n")
    with pytest.raises(InvalidInput, match=r"i\.txt:3: got 'two'"):
        read_split({"train": path})
    with pytest.raises(InvalidInput, match="no such file"):
        read_split(tmp_path / "none.json")


def test_published_split(shared):
    s = read_split(shared("data/molecules/schnetpack/rmd17_ethanol_split_painn1.npz"), n=100_000)
    assert (len(s.train), len(s.val), len(s.test)) == (900, 100, 99_000)


def test_repr():
    assert (
        repr(Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2, 3])))
        == "Split(train=1, val=1, test=2)"
    )
