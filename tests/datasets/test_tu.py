"""TU sets: a small set written here, its damaged forms, folds and features by hand; the real sets where they are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.tasks import load_task, make_task
from geomlib.datasets.tu import graph_arrays, make_tu, read_tu, tu_split
from geomlib.datasets.tu_format import read_folds, read_graphs
from tests.datasets.tu_files import small_set, written

REAL = "data/graphs/tu_dgcnn"


def test_what_is_written_is_read(tmp_path):
    path, found, labels = small_set(tmp_path)
    graphs, folds = read_tu("TINY", path)
    assert len(graphs) == 40 and graphs.tag_values.tolist() == [3, 5, 9]
    assert graphs.label_values.tolist() == [-1, 4] and graphs.labels.tolist() == [int(y == 4) for y in labels]
    for features in ("tags", "degree", "both"):
        made = graph_arrays(graphs, np.arange(40), features)
        for g, (adjacency, tags) in enumerate(found):
            n = len(tags)
            assert int(made["nodes"][g]) == n
            own = made["edges"][g][:, made["edges"][g, 0] >= 0].numpy()
            dense = np.zeros((n, n), dtype=int)
            np.add.at(dense, tuple(own), 1)
            np.testing.assert_array_equal(dense, adjacency)
            want = []
            if features != "degree":
                want += [[float(t == v) for t in tags] for v in (3, 5, 9)]
            if features != "tags":
                d = adjacency.sum(0)
                want += [d / max(n - 1, 1), np.log(1 + d)]
            np.testing.assert_allclose(made["x"][g, :, :n].numpy(), np.array(want), atol=1e-15)
            assert not made["x"][g, :, n:].any()
    assert len(folds) == 10 and all(len(train) == 37 and len(test) == 3 for train, test in folds)


def test_splits_of_a_fold(tmp_path):
    path, _, _ = small_set(tmp_path)
    _, folds = read_tu("TINY", path)
    for fold in (0, 7):
        parts = {s: set(tu_split(folds, fold, s).tolist()) for s in ("train", "val", "test")}
        assert {k: len(v) for k, v in parts.items()} == {"train": 34, "val": 3, "test": 3}
        assert parts["test"] == set(folds[fold][1].tolist())
        assert parts["train"] | parts["val"] == set(folds[fold][0].tolist())
        assert set(tu_split(folds, fold, "train", hold_out=False).tolist()) == set(folds[fold][0].tolist())
    one, two = (make_tu(20, 0, "TINY", 3, path=str(path)) for _ in range(2))
    other = make_tu(20, 3, "TINY", 3, path=str(path))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["x"], other["x"])
    test = make_tu(3, 2, "TINY", 3, path=str(path))  # seed 2 is that of the test set
    graphs, _ = read_tu("TINY", path)
    assert sorted(test["nodes"].tolist()) == sorted(graphs.sizes[folds[3][1]].tolist())
    with pytest.raises(InvalidInput, match="35 graphs of train were asked for, fold 3 has 34"):
        make_tu(35, 0, "TINY", 3, path=str(path))
    with pytest.raises(InvalidInput, match="fold=10"):
        make_tu(3, 0, "TINY", 10, path=str(path))
    with pytest.raises(InvalidInput, match=r"features='tag'.*'tags'"):
        make_tu(3, 0, "TINY", features="tag", path=str(path))
    with pytest.raises(InvalidInput, match="fold 0 has 0"):
        make_tu(1, 1, "TINY", hold_out=False, path=str(path))


def test_one_tag_means_degrees(tmp_path):
    path, _, _ = small_set(tmp_path, tags=(4,))
    assert make_tu(4, 0, "TINY", path=str(path))["x"].shape[1] == 2
    assert make_tu(4, 0, "TINY", features="both", path=str(path))["x"].shape[1] == 3


DAMAGE = {
    "no count": ("x\n", "line 1: 'x' is not a list of whole numbers"),
    "two counts": ("2 2\n", "line 1: .*one number"),
    "empty": ("", "line 1: the file ends here"),
    "graph header": ("1\n2 0 1\n", "line 2: .*'nodes class' of graph 0"),
    "no nodes": ("1\n0 1\n", "line 2: .*at least 1"),
    "cut": ("1\n2 0\n0 1 1\n", "line 4: the file ends here; expected 'tag m j1 ... jm' of node 1 of graph 0"),
    "miscounted": ("1\n2 0\n0 2 1\n0 1 0\n", "line 3: .*announces other than 1"),
    "real attribute": ("1\n1 0\n0 0 0.25\n", "line 3: .*real attributes are not read"),
    "no such neighbour": ("1\n2 0\n0 1 2\n0 1 0\n", "line 3: neighbour 2 does not exist"),
    "itself": ("1\n2 0\n0 2 0 1\n0 1 0\n", "line 3: a node that is its own neighbour"),
    "twice": ("1\n2 0\n0 2 1 1\n0 1 0\n", "line 3: .*listed twice"),
    "one way": ("1\n2 0\n0 1 1\n0 0\n", r"line 3: node 0 lists 1, but node 1 \(line 4\) does not"),
    "left over": ("1\n1 0\n0 0\n\n1 0\n", "line 5: '1 0' after the last graph"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_by_line(tmp_path, case):
    text, match = DAMAGE[case]
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(InvalidInput, match=match):
        read_graphs(tmp_path / "bad.txt")


def test_binary_absent_and_folds(tmp_path, monkeypatch):
    (tmp_path / "bad.txt").write_bytes(b"1\n1 \xff\n")
    with pytest.raises(InvalidInput, match="plain text"):
        read_graphs(tmp_path / "bad.txt")
    path, _, _ = small_set(tmp_path)
    with pytest.raises(InvalidInput, match=r"only TINY.*github.*Did you mean 'TINY'"):
        read_tu("TINI", path)
    monkeypatch.setenv("GEOMLIB_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="pytorch_DGCNN") as caught:
        read_tu("MUTAG")
    assert "GEOMLIB_SHARED" in str(caught.value) and "nowhere" in str(caught.value)
    folder = path / "TINY/10fold_idx"
    whole = (folder / "test_idx-4.txt").read_text()
    inside = (folder / "train_idx-4.txt").read_text().split()[0]
    for text, match in (
        ("0\n40\n", "test_idx-4.txt, line 2: '40'.*0..39"),
        ("1\n\n1\n", "line 3: graph 1 again, after line 1"),
        ("-1\n", "line 1: '-1'"),
        ("", "no numbers"),
        (whole + f"{inside}\n", rf"graphs \[{inside}\] are in train_idx-4.txt too"),
    ):
        (folder / "test_idx-4.txt").write_text(text)
        with pytest.raises(InvalidInput, match=match):
            read_folds(folder, 40)
    (folder / "test_idx-4.txt").unlink()
    with pytest.raises(InvalidInput, match=r"test_idx-4.txt: cannot be read"):
        read_folds(folder, 40)


def test_trivial_scores(tmp_path):
    """A set whose classes differ in size is told by counts; the majority is what it is."""
    rng = np.random.default_rng(1)
    lines, labels = ["60"], rng.random(60) < 0.7
    for y in labels:
        n = 9 if y else 3
        lines += written(np.ones((n, n), int) - np.eye(n, dtype=int), [0] * n, int(y))
    place = tmp_path / "SIZES"
    (place / "10fold_idx").mkdir(parents=True)
    (place / "SIZES.txt").write_text("\n".join(lines))
    for k in range(10):
        for part, keep in (("train", np.arange(60) % 10 != k), ("test", np.arange(60) % 10 == k)):
            (place / f"10fold_idx/{part}_idx-{k + 1}.txt").write_text(
                "\n".join(map(str, np.flatnonzero(keep)))
            )
    train, test = make_tu(49, 0, "SIZES", path=str(tmp_path)), make_tu(6, 2, "SIZES", path=str(tmp_path))
    found = load_task("mutag").baselines(train, test)
    assert found == {"majority class": pytest.approx(float(labels[::10].mean())), "nearest by counts": 1.0}


COUNTS = {
    "MUTAG": ("mutag", 188, 17.93, 28, 2, 7, 180),
    "ENZYMES": ("enzymes", 600, 32.63, 126, 6, 3, 600),
    "PROTEINS": ("proteins", 1113, 39.06, 620, 2, 3, 1110),
    "IMDBBINARY": ("imdb_b", 1000, 19.77, 136, 2, 1, 1000),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_sets(shared, name):
    """Counts of the description; the tasks take whole folds; MUTAG's classes 0 and 2 are numbered through."""
    task, count, mean, largest, classes, tags, tested = COUNTS[name]
    path = shared(REAL)
    graphs, folds = read_tu(name, path)
    assert len(graphs) == count and graphs.sizes.mean() == pytest.approx(mean, abs=0.005)
    assert graphs.sizes.max() == largest and len(graphs.tag_values) == tags
    assert sorted(set(graphs.labels.tolist())) == list(range(classes)) and len(graphs.label_values) == classes
    assert len({int(g) for _, test in folds for g in test}) == tested
    sizes = load_task(task).sizes
    for train, test in folds:
        assert sizes == (len(train) - len(train) // 10, len(train) // 10, len(test))
    sets = make_task(task, fold=9, path=str(path))
    assert [len(s) for s in sets.values()] == list(sizes)
    tensors = sets["test"].tensors
    assert tensors["x"].shape[1] == (2 if tags == 1 else tags) and tensors["x"].shape[2] == largest
    if tags > 1:
        assert torch.equal(tensors["x"].sum((1, 2)), tensors["nodes"].double())
    scores = load_task(task).baselines(sets["train"].tensors, tensors)
    assert all(1 / classes - 0.2 < v < 1 for v in scores.values())
