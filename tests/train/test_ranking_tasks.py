"""Training on knowledge graphs: filtered ranks choose the best model; few candidates; a run that is continued."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from geomlib.cli import main
from geomlib.datasets import tasks
from geomlib.datasets.knowledge_graphs import knowledge_graph_task, read_knowledge_graph
from geomlib.datasets.ranking import filtered_ranks
from geomlib.datasets.tasks import load_task, make_task
from geomlib.train.config import TrainConfig
from geomlib.train.run import train
from geomlib.train.task_losses import SCORES, choosing_loss, scores_of, task_sums
from geomlib.train.task_presets import TASK_PRESETS
from geomlib.zoo import create_model
from tests.datasets.kg_files import grid_archive

MODEL = {"entities": 36, "relations": 10, "dim": 4, "op": "scaling", "init": 0.1}


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "cache"))
    path = grid_archive(tmp_path)
    monkeypatch.setitem(tasks._REGISTERED, "grid", knowledge_graph_task("grid", path))
    return path


def settings(folder, **options):
    base = {
        "epochs": 20,
        "batch_size": 16,
        "lr": 0.03,
        "warmup": 0,
        "threads": 1,
        "plots": False,
        "optimizer": "adam",
    }
    return TrainConfig(architecture="euclidean_kge", data="grid", out=str(folder), **{**base, **options})


def brute_mrr(model, graph, part):
    """Mean reciprocal rank by loops over facts and candidates."""
    known = {tuple(f) for facts in graph.facts.values() for f in facts.tolist()}
    total, count, R = 0.0, 0, len(graph.relations)
    for h, r, t in graph.facts[part].tolist():
        for head, relation, tail in ((h, r, t), (t, r + R, h)):
            scores = model(torch.tensor([head]), torch.tensor([relation]))[0].tolist()

            def true(e, head=head, relation=relation):
                return ((head, relation, e) if relation < R else (e, relation - R, head)) in known

            rank = 1.0
            for e, s in enumerate(scores):
                if e != tail and not true(e):
                    rank += 1.0 if s > scores[tail] else 0.5 if s == scores[tail] else 0.0
            total, count = total + 1 / rank, count + 1
    return total / count


@pytest.mark.parametrize("negatives", [0, 12])
def test_a_graph_is_completed(tmp_path, grid, negatives, capsys):
    """Neighbours and mirror images of a grid: what is reported is what loops find, and far above no training."""
    result = train(settings(tmp_path / "run", data_options={"negatives": negatives}, plots=True), MODEL)
    scores = result.metrics["results"]
    graph = read_knowledge_graph("grid", grid)
    for part in ("val", "test"):
        assert scores[part]["mrr"] == pytest.approx(brute_mrr(result.model.eval(), graph, part), rel=1e-9)
        assert scores[part]["samples"] == 2 * len(graph.facts[part])
    torch.manual_seed(0)
    assert scores["test"]["mrr"] > 2 * brute_mrr(create_model("euclidean_kge", **MODEL), graph, "test")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    mrr = [float(row["val_mrr"]) for row in rows]
    assert scores["val"]["mrr"] == pytest.approx(max(mrr), rel=1e-5)  # the best of validation is kept
    assert "train_mrr" not in rows[0] and float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert {"ranks.png", "learning_curve.png"} <= {p.name for p in (tmp_path / "run").iterdir()}
    out = capsys.readouterr().out
    assert "hits@10" in out and "nan" not in out
    assert main(["evaluate", str(tmp_path / "run"), "--split", "val"]) == 0
    written = json.loads((tmp_path / "run" / "evaluation_val.json").read_text())
    assert written["scores"] == pytest.approx(scores["val"]) and "mrr" in capsys.readouterr().out


def test_recorded_steps_are_the_plain_steps(tmp_path, grid):
    """Without a validation set all candidates are scored in recorded steps."""
    runs = [train(settings(tmp_path / str(c), epochs=3, val_size=0, compile=c), MODEL) for c in (True, False)]
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert [bool(r.metrics["budget"]["recordings"]) for r in runs] == [True, False]


def test_fewer_samples_are_filtered_by_all_facts(grid):
    task = load_task("grid")
    sets = make_task(task, sizes=(4, 4, 0))
    graph = read_knowledge_graph("grid", grid)
    served = task.serve(sets["val"], "val", {})
    assert served.known is graph.known and len(graph.known) == 2 * sum(len(f) for f in graph.facts.values())


def test_scores_of_a_batch():
    value = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    label = torch.tensor([[1, 0], [2, -1]])
    found = scores_of("ranking", task_sums("ranking", value, label)[1])
    assert found["mrr"] == pytest.approx((1 + 1 / 3) / 2) and found["hits@1"] == 0.5 and found["hits@3"] == 1
    assert choosing_loss("ranking", found) == pytest.approx(1 - found["mrr"])
    found = scores_of("ranking", task_sums("ranking", value, label[:, 0])[1])
    assert list(found) == ["cross_entropy"] and choosing_loss("ranking", found) == found["cross_entropy"]
    assert SCORES["ranking"] == ("cross_entropy", "mrr", "hits@1", "hits@3", "hits@10")
    assert filtered_ranks(value, label[:, 0], label[:, 1:]).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("task", ["umls", "nations", "fb15k_237", "wn18rr"])
def test_presets_fit(task, shared):
    shared("data/kg")
    for name, preset in TASK_PRESETS[task].items():
        sets = make_task(task, sizes=(3, 2, 0))
        model = create_model(name, **preset.get("model", {}))
        options = preset.get("data_options", {})
        batch = load_task(task).serve(sets["train"], "train", options)
        batch = batch.batch(torch.arange(3)) if options else sets["train"].tensors
        target = batch["tail"]
        found = model(**{k: v for k, v in batch.items() if k != "tail"})
        wanted = len(batch["candidates"]) if "candidates" in batch else model.config["entities"]
        assert found.shape == (3, wanted) and int(target.max()) < wanted
        assert len(model.entity) == model.config["entities"]
