"""Knowledge graphs: what is written is read, damage is named, nothing is extracted; the real graphs where they are."""

from __future__ import annotations

import io
import tarfile

import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.knowledge_graph_files import read_facts
from geomlib.datasets.knowledge_graphs import COUNTS, knowledge_graph_task, read_knowledge_graph
from geomlib.datasets.tasks import load_task, make_task
from tests.datasets.kg_files import archive, grid_archive, grid_facts, parts_of, text_of


def named(graph, part):
    return [
        (graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in graph.facts[part].tolist()
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("where", ["archive", "folder of archives", "folder of files"])
def test_what_is_written_is_read(tmp_path, end, where):
    path = grid_archive(tmp_path, end=end)
    parts = parts_of(grid_facts())
    if where == "folder of archives":
        path = tmp_path
    if where == "folder of files":
        path = tmp_path / "files"
        path.mkdir()
        for part, facts in parts.items():
            (path / f"{part}.txt").write_bytes(b"\xef\xbb\xbf" + text_of(facts, end))
    graph = read_knowledge_graph("grid", path)
    assert len(graph.entities) == 36 and graph.relations == ("diagonal", "far", "mirror", "right", "up")
    for part, ours in (("train", "train"), ("valid", "val"), ("test", "test")):
        assert named(graph, ours) == parts[part]
        q = graph.queries(ours)
        forward, back = (
            [tuple(x) for x in torch.stack([q["head"], q["relation"], q["tail"]], 1)[half].tolist()]
            for half in (slice(None, len(parts[part])), slice(len(parts[part]), None))
        )
        assert forward == [tuple(x) for x in graph.facts[ours].tolist()]
        assert back == [(t, r + 5, h) for h, r, t in forward]


def test_report_counts_what_is_odd(tmp_path):
    train = [("a", "r", "b"), ("a", "r", "b"), ("b", "r", "c")]
    valid = [("a", "r", "b"), ("a", "r", "new")]
    test = [("a", "other", "b"), ("a", "r", "new"), ("b", "r", "a")]
    members = {f"{p}.txt": text_of(f) for p, f in (("train", train), ("valid", valid), ("test", test))}
    found = read_knowledge_graph("odd", archive(tmp_path / "odd.tar.gz", members)).report()
    assert found == {
        "duplicates": 1, "val in train": 1, "test in train": 0, "test in val": 1, "val unseen": 1, "test unseen": 2,
    }  # fmt: skip


def test_a_changed_file_is_read_again(tmp_path):
    path = grid_archive(tmp_path)
    assert len(read_knowledge_graph("grid", path).entities) == 36
    grid_archive(tmp_path, side=4)
    assert len(read_knowledge_graph("grid", path).entities) == 16


GOOD = {f"{p}.txt": b"a\tr\tb\n" for p in ("train", "valid", "test")}
DAMAGE = {
    "two fields": ({**GOOD, "valid.txt": b"a\tr\tb\na\tr\n"}, r"valid.txt, line 2: 'a\\tr' has 2 fields"),
    "four fields": ({**GOOD, "test.txt": b"a\tr\tb\tc\n"}, "test.txt, line 1: .*4 fields"),
    "no name": ({**GOOD, "train.txt": b"a\t \tb\n"}, "train.txt, line 1"),
    "gap": ({**GOOD, "train.txt": b"a\tr\tb\n\nb\tr\tc\n"}, "train.txt, line 2: '' has 1 fields"),
    "empty": ({**GOOD, "test.txt": b"\n"}, "test.txt: no facts"),
    "not text": ({**GOOD, "train.txt": b"a\tr\tb\n\xff\tr\tb\n"}, "train.txt, line 2: not UTF-8"),
    "missing": ({k: v for k, v in GOOD.items() if k != "test.txt"}, "test.txt not found"),
    "escape": ({**GOOD, "../train.txt": b"a\tr\tb\n"}, r"'\.\./train.txt' leaves the archive"),
    "absolute": ({**GOOD, "/tmp/other": b"x"}, "leaves the archive"),
    "twice": ({**GOOD, "sub/train.txt": b"a\tr\tb\n"}, "train.txt is there twice"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(tmp_path, case):
    members, match = DAMAGE[case]
    with pytest.raises(InvalidInput, match=match):
        read_knowledge_graph("bad", archive(tmp_path / "bad.tar.gz", members))
    assert [p.name for p in tmp_path.iterdir()] == ["bad.tar.gz"]


def test_links_cut_files_and_other_files(tmp_path, monkeypatch):
    path = tmp_path / "bad.tar.gz"
    secret = tmp_path / "secret"
    secret.write_text("a\tr\tb\n")
    with tarfile.open(path, "w:gz") as out:
        link = tarfile.TarInfo("train.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        out.addfile(link)
        for name in ("valid.txt", "test.txt"):
            info = tarfile.TarInfo(name)
            info.size = 6
            out.addfile(info, io.BytesIO(b"a\tr\tb\n"))
    with pytest.raises(InvalidInput, match=r"train.txt is no plain file"):
        read_knowledge_graph("bad", path)
    whole = grid_archive(tmp_path).read_bytes()
    for content in (whole[: len(whole) // 2], b"not an archive", b""):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="cannot be read as a tar archive"):
            read_knowledge_graph("bad", path)
    with pytest.raises(InvalidInput, match=r"'uml' is unknown.*Did you mean 'umls'"):
        read_knowledge_graph("uml")
    with pytest.raises(InvalidInput, match=r"facts of train.*umls has \(5216"):
        read_knowledge_graph("umls", grid_archive(tmp_path, "other"))
    with pytest.raises(InvalidInput, match=r"umls.tar.gz is not there.*ConvE"):
        read_knowledge_graph("umls", tmp_path)
    monkeypatch.setenv("GEOMLIB_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="ConvE"):
        read_knowledge_graph("umls")
    with pytest.raises(InvalidInput, match=r"part 'vall'.*Did you mean 'val'"):
        read_knowledge_graph("grid", tmp_path / "grid.tar.gz").queries("vall")


def test_a_huge_archive_is_not_unpacked(tmp_path, monkeypatch):
    from geomlib.datasets import knowledge_graph_files

    monkeypatch.setattr(knowledge_graph_files, "_LARGEST", 1000)
    with pytest.raises(InvalidInput, match="it is not read"):
        read_knowledge_graph("grid", grid_archive(tmp_path))


def test_a_graph_of_ones_own_is_a_task(tmp_path):
    path = grid_archive(tmp_path)
    task = knowledge_graph_task("grid", path)
    graph = read_knowledge_graph("grid", path)
    assert task.sizes == tuple(2 * len(f) for f in graph.facts.values())
    sets = make_task(task)
    for part, samples in sets.items():
        q = graph.queries(part)
        rows = [sorted(zip(*(x[k].tolist() for k in q), strict=True)) for x in (q, samples.tensors)]
        assert rows[0] == rows[1]
    other = make_task(task, seed=1)["train"].tensors
    assert not torch.equal(other["head"], sets["train"].tensors["head"])
    assert torch.equal(make_task(task)["train"].tensors["head"], sets["train"].tensors["head"])
    with pytest.raises(InvalidInput, match="queries of val were asked for, there are"):
        make_task(task, sizes=(5, 10**6, 0))
    served = task.serve(sets["train"], "train", {"negatives": 5})
    batch = served.batch(torch.arange(8))
    assert torch.equal(batch["candidates"][batch["tail"]], sets["train"].tensors["tail"][:8])
    assert task.serve(sets["train"], "train", {}) is sets["train"]
    batch = task.serve(sets["test"], "test", {"negatives": 5}).batch(torch.arange(4))
    assert torch.equal(batch["tail"][:, 0], sets["test"].tensors["tail"][:4]) and "candidates" not in batch


def test_negatives_are_the_same_for_the_same_batch(tmp_path):
    task = knowledge_graph_task("grid", grid_archive(tmp_path))
    served = task.serve(make_task(task)["train"], "train", {"negatives": 20})
    one, two, other = (
        served.batch(torch.arange(4)),
        served.batch(torch.arange(4)),
        served.batch(torch.arange(1, 5)),
    )
    assert torch.equal(one["candidates"], two["candidates"])
    assert one["candidates"].tolist() != other["candidates"].tolist()
    assert one["candidates"].tolist() == sorted(set(one["candidates"].tolist()))
    drawn = torch.cat([served.batch(torch.tensor([k]))["candidates"] for k in range(60)])
    assert len(drawn.unique()) == 36  # every entity is drawn sometimes
    with pytest.raises(InvalidInput, match=r"negatives=37: expected 1\.\.36"):
        task.serve(make_task(task)["train"], "train", {"negatives": 37})
    for bad in (-1, 2.5, "few"):
        with pytest.raises(InvalidInput, match=r"negatives=.*expected a whole number"):
            task.serve(make_task(task)["train"], "train", {"negatives": bad})


def test_wrong_lines():
    with pytest.raises(InvalidInput, match=r"f\.txt: no facts"):
        read_facts(b"", "f.txt")
    assert read_facts(b"a\tb c\td\r\ne\tf\tg", "f") == [("a", "b c", "d"), ("e", "f", "g")]


UNSEEN = {"FB15k-237": (9, 28), "WN18RR": (210, 210), "nations": (0, 0), "umls": (0, 0)}


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_graphs(shared, name):
    """Published counts, no fact twice; counted from the bytes of the files, too; ends of lines are no part of names."""
    path = shared(f"data/kg/{name}.tar.gz")
    graph = read_knowledge_graph(name, path)
    counts = (*(len(f) for f in graph.facts.values()), len(graph.entities), len(graph.relations))
    assert counts == COUNTS[name]
    with tarfile.open(path) as files:
        lines = {p: files.extractfile(f"{p}.txt").read().split() for p in ("train", "valid", "test")}
    assert [len(x) for x in lines.values()] == [3 * n for n in COUNTS[name][:3]]
    words = {w for x in lines.values() for w in x[::3] + x[2::3]}
    assert {w.decode() for w in words} == set(graph.entities)
    assert not any(e != e.strip() for e in (*graph.entities, *graph.relations))
    report = graph.report()
    assert (report["val unseen"], report["test unseen"]) == UNSEEN[name]
    assert not any(report[k] for k in ("duplicates", "val in train", "test in train", "test in val"))
    task = load_task({"FB15k-237": "fb15k_237"}.get(name, name.lower()))
    assert task.sizes == tuple(2 * n for n in COUNTS[name][:3])
