"""Ten published folds of graph classification sets: accuracy of a network, mean and deviation over folds.

    OMP_NUM_THREADS=1 python benchmarks/tu.py MUTAG --out benchmarks/results/tu_mutag_cpu.json

Every fold trains on the whole training part for the same number of epochs; nothing is chosen by a validation set. Two numbers
are stated: that of the last epoch, which chooses nothing, and that of the epoch whose mean accuracy over the test folds is
best, as the literature of these sets does; the second looks at the test sets. Batches hold graphs of like size and at most
``--cells`` entries, so the largest proteins (620 nodes) are alone; no graph is left out. Budgets are process CPU time.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geomlib.bench.results import machine
from geomlib.datasets.tasks import Samples
from geomlib.datasets.tu import graph_arrays, read_tu
from geomlib.zoo import create_model
from geomlib.zoo.dense_graphs import DenseGraphs, size_batches


def hits(model: nn.Module, data: DenseGraphs, batches: list[Tensor]) -> int:
    """Return how many graphs are told right."""
    model.eval()
    found = 0
    with torch.no_grad():
        for index in batches:
            batch = data.batch(index)
            label = batch.pop("label")
            found += int((model(**batch).argmax(-1) == label).sum())
    model.train()
    return found


def fold(
    data: DenseGraphs, nodes: Tensor, train: Tensor, test: Tensor, options: argparse.Namespace, seed: int
) -> list[float]:
    """Return the accuracy on the test part after every epoch."""
    torch.manual_seed(seed)
    model = create_model(options.model, **options.config)
    optimizer = torch.optim.AdamW(
        model.parameters(), options.lr, weight_decay=options.weight_decay, fused=True
    )
    order = torch.Generator().manual_seed(seed)
    asked = [test[b] for b in size_batches(nodes[test], 64, options.cells)]
    curve: list[float] = []
    for epoch in range(options.epochs):
        parts = size_batches(nodes[train], options.batch_size, options.cells, order)
        for number, part in enumerate(parts):
            at = (epoch + number / len(parts)) / options.epochs
            for group in optimizer.param_groups:
                group["lr"] = (
                    options.lr * min(1.0, 10 * (epoch + (number + 1) / len(parts)) / options.epochs) * 0.5
                )
                group["lr"] *= 1 + math.cos(math.pi * at)
            batch = data.batch(train[part])
            label = batch.pop("label")
            # A batch cut short by `cells` counts by its number of graphs.
            loss = functional.cross_entropy(model(**batch), label, reduction="sum") / options.batch_size
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        curve.append(hits(model, data, asked) / len(test))
    return curve


def summary(curves: list[list[float]]) -> dict[str, Any]:
    """Return accuracies in percent: of the last epoch, and of the best epoch of all folds together."""
    a = 100 * np.array(curves)  # (folds, epochs)
    best = int(a.mean(0).argmax())
    rows = {"last epoch": a[:, -1], f"epoch of best mean accuracy ({best + 1})": a[:, best]}
    return {
        k: {
            "mean": round(float(v.mean()), 2),
            "deviation": round(float(v.std(ddof=1 if len(v) > 1 else 0)), 2),
        }
        for k, v in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Graph classification, ten folds.")
    parser.add_argument("set")
    parser.add_argument("--model", default="ppgn")
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--features", default="auto")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--cells", type=int, default=60000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=1e-4)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    graphs, folds = read_tu(options.set)
    tensors = graph_arrays(graphs, np.arange(len(graphs)), options.features)
    options.config = {
        "features": tensors["x"].shape[1],
        "classes": len(graphs.label_values),
        **options.config,
    }
    data = DenseGraphs(Samples(tensors).to(torch.float32))
    nodes = tensors["nodes"]
    curves: list[list[float]] = []
    start = time.process_time()
    for number, (train, test) in enumerate(folds[: options.folds]):
        curves.append(fold(data, nodes, torch.from_numpy(train), torch.from_numpy(test), options, number))
        spent = time.process_time() - start
        found = summary(curves)
        print(
            f"fold {number}: last {100 * curves[-1][-1]:.1f}, {spent:.0f} s of CPU time; so far {found}",
            flush=True,
        )
        if options.out:
            model = create_model(options.model, **options.config)
            asked = [a for a in sys.argv[1:] if a not in ("--out", str(options.out))]
            text = f"OMP_NUM_THREADS=1 python benchmarks/tu.py {shlex.join(asked)}"
            about = machine(text) | {
                "set": options.set, "folds": len(curves), "epochs": options.epochs, "batch_size": options.batch_size,
                "cells": options.cells, "lr": options.lr, "weight_decay": options.weight_decay, "model": model.config,
                "parameters": sum(p.numel() for p in model.parameters()), "cpu_seconds": round(spent, 1),
                "majority_percent": round(100 * float(np.bincount(graphs.labels).max()) / len(graphs), 2),
            }  # fmt: skip
            options.out.parent.mkdir(parents=True, exist_ok=True)
            result = {"about": about, "summary": found, "curves": [[round(v, 4) for v in c] for c in curves]}
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
