"""Completion of knowledge graphs: filtered ranks of embeddings by SPD matrices, subspaces and points, trained alike.

    OMP_NUM_THREADS=1 python benchmarks/knowledge_graphs.py --out benchmarks/results/knowledge_graphs_cpu.json

Every run is `geomlib train MODEL --data GRAPH` with the settings of its row; rows that the file has are not run again. Scores
are of the test facts in both directions, all known facts left out, equal scores at their mean rank; the weights are those of
the best validation. Budgets are process CPU time. ``--speed`` measures an epoch of both metrics on UMLS instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from geomlib.bench.results import machine
from geomlib.datasets.knowledge_graphs import read_knowledge_graph
from geomlib.datasets.ranking import filtered_ranks, rank_scores
from geomlib.datasets.tasks import load_task, make_task
from geomlib.train.config import TrainConfig
from geomlib.train.run import train
from geomlib.zoo import create_model

NAMES = {"umls": "umls", "nations": "nations", "wn18rr": "WN18RR", "fb15k_237": "FB15k-237"}
LEARNING: dict[str, Any] = {"lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256}
BUDGETS: dict[str, dict[str, Any]] = {
    "umls": {"epochs": 40, "batch_size": 128},
    "nations": {"epochs": 60, "batch_size": 128},
    "wn18rr": {"epochs": 20, "batch_size": 512, "val_every": 5, "data_options": {"negatives": 1024}},
    "fb15k_237": {"epochs": 10, "batch_size": 512, "val_every": 5, "data_options": {"negatives": 1024}},
}
SMALL: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("log-Euclidean, scaling", "spd_kge", {"n": 5}, {}),
    ("log-Euclidean, rotation", "spd_kge", {"n": 5, "op": "rotation"}, {}),
    ("log-Cholesky, rotation", "spd_kge", {"n": 5, "metric": "lc", "op": "rotation"}, {}),
    ("Euclidean, translation", "euclidean_kge", {"dim": 15}, {}),
    ("Euclidean, rotation", "euclidean_kge", {"dim": 16, "op": "rotation"}, {}),
]
PAIRS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("affine-invariant, scaling", "spd_kge", {"n": 4, "metric": "ai"}, {"epochs": 12}),
    ("log-Euclidean, scaling, n = 4", "spd_kge", {"n": 4}, {"epochs": 12}),
    ("subspaces Gr(7, 2)", "grassmann_kge", {}, {"epochs": 12}),
]
LARGE: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("log-Euclidean, scaling", "spd_kge", {"n": 10}, {}),
    ("Euclidean, translation", "euclidean_kge", {"dim": 55}, {}),
    ("log-Euclidean, rotation", "spd_kge", {"n": 10, "op": "rotation"}, {}),
    ("Euclidean, rotation", "euclidean_kge", {"dim": 56, "op": "rotation"}, {}),
]
RUNS = {
    "umls": [(run, range(3)) for run in SMALL] + [(run, range(1)) for run in PAIRS],
    "nations": [(run, range(3)) for run in SMALL],
    "wn18rr": [(run, range(1)) for run in LARGE],
    "fb15k_237": [(run, range(1)) for run in LARGE],
}


def trivial(graph: str) -> dict[str, Any]:
    """Return the scores of tails by how often their relation has them in training, and of a scorer that says nothing."""
    data = read_knowledge_graph(NAMES[graph])
    entities, ways = len(data.entities), 2 * len(data.relations)
    seen, asked = data.queries("train"), data.queries("test")
    count = torch.zeros(ways * entities).scatter_add_(
        0, seen["relation"] * entities + seen["tail"], torch.ones(len(seen["tail"]))
    )
    found: dict[str, list[torch.Tensor]] = {"tails by frequency": [], "constant": []}
    for part in torch.arange(len(asked["head"])).split(256):
        h, r, t = (asked[k][part] for k in ("head", "relation", "tail"))
        others = data.known.others(h, r, t)
        scores = count.view(ways, entities)[r]
        found["tails by frequency"].append(filtered_ranks(scores, t, others))
        found["constant"].append(filtered_ranks(0 * scores, t, others))
    return {name: rounded(rank_scores(torch.cat(ranks))) for name, ranks in found.items()}


def rounded(scores: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in scores.items() if k != "samples"}


def options_of(graph: str, model: str, options: dict[str, Any]) -> dict[str, Any]:
    data = read_knowledge_graph(NAMES[graph])
    return {"entities": len(data.entities), "relations": 2 * len(data.relations), **options}


def run_row(graph: str, run: tuple[str, str, dict[str, Any], dict[str, Any]], seed: int) -> dict[str, Any]:
    """Train once and return the row."""
    label, model, options, budget = run
    settings = {**LEARNING, **BUDGETS[graph], **budget}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            architecture=model, data=graph, out=f"{folder}/run", seed=seed, threads=1, plots=False, progress=False,
            accelerator="cpu", **settings,
        )  # fmt: skip
        metrics = train(config, options_of(graph, model, options)).metrics
    return {
        "graph": graph, "label": label, "seed": seed, "model": {"name": model, **options}, "parameters": metrics["parameters"],
        "settings": settings, "cpu_seconds": metrics["budget"]["cpu_seconds"],
        "val": rounded(metrics["results"]["val"]), "test": rounded(metrics["results"]["test"]), "commit": metrics["commit"],
    }  # fmt: skip


def epoch_seconds(metric: str, n: int, batches: int, batch_size: int = 512) -> float:
    """Return the CPU time of an epoch of UMLS, from the median of some steps; without checks, as `geomlib train` runs."""
    torch.manual_seed(0)
    model = create_model("spd_kge", n=n, metric=metric)
    model.validate = False  # type: ignore[assignment]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
    samples = make_task("umls")["train"]
    times: list[float] = []
    for k in range(batches + 2):
        batch = samples.batch(torch.arange(batch_size) + k * batch_size)
        start = time.process_time()
        target = batch.pop("tail")
        loss = torch.nn.functional.cross_entropy(model(**batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.process_time() - start)
    return sorted(times[2:])[batches // 2] * len(samples) / batch_size


def speed() -> dict[str, Any]:
    """Return the times of an epoch of both metrics, in turn."""
    rows: list[dict[str, Any]] = []
    for n in (4, 5, 10):
        found: dict[str, list[float]] = {"le": [], "ai": []}
        for _ in range(5):
            for metric, times in found.items():
                times.append(epoch_seconds(metric, n, 4 if metric == "ai" else 16))
        le, ai = (sorted(found[m])[2] for m in ("le", "ai"))
        row = {"n": n, "log-Euclidean": round(le, 4), "affine-invariant": round(ai, 3)}
        rows.append({**row, "times": round(ai / le, 1)})
    what = "CPU seconds of an epoch of UMLS, 10,432 queries of 135 candidates, batch 512; median of five, in turn"
    return {"what": what, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="Completion of knowledge graphs.")
    parser.add_argument("graphs", nargs="*", default=list(RUNS))
    parser.add_argument("--labels", nargs="*", help="only these rows")
    parser.add_argument("--speed", action="store_true", help="measure an epoch of both metrics")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    command = "OMP_NUM_THREADS=1 python benchmarks/knowledge_graphs.py"
    result: dict[str, Any] = {"about": machine(command), "trivial": {}, "rows": [], "speed": {}}
    if options.out and options.out.is_file():
        result = json.loads(options.out.read_text())

    def keep() -> None:
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")

    if options.speed:
        result["speed"] = {**speed(), "commit": machine(command)["commit"]}
        print(result["speed"])
        return keep()
    for graph in options.graphs:
        load_task(graph)
        if graph not in result["trivial"]:
            result["trivial"][graph] = trivial(graph)
        for run, seeds in RUNS[graph]:
            done = {row["seed"] for row in result["rows"] if (row["graph"], row["label"]) == (graph, run[0])}
            for seed in seeds:
                if seed not in done and (not options.labels or run[0] in options.labels):
                    result["rows"].append(row := run_row(graph, run, seed))
                    print(
                        {k: row[k] for k in ("graph", "label", "seed", "parameters", "cpu_seconds", "test")},
                        flush=True,
                    )
                    keep()
    keep()


if __name__ == "__main__":
    main()
