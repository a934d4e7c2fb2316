"""End-to-end networks on the EEG of six people, with and without a normalisation of the SPD matrices.

    OMP_NUM_THREADS=1 nice python benchmarks/eeg_net.py --out benchmarks/results/eeg_net_cpu.json

The first 300 trials of a subject train, the next 100 choose the epoch, the last 100 test. Two numbers are stated: the test
accuracy of the epoch that is best in validation (the first of equals), and that of the last epoch, which chooses nothing.
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

import torch
from torch import Tensor
from torch.nn import functional

from geomlib.bench.results import machine
from geomlib.datasets.eeg_mamem import SUBJECTS
from geomlib.datasets.tasks import make_task
from geomlib.layers import SPDBatchNorm
from geomlib.zoo import create_model


def accuracy(model: torch.nn.Module, x: Tensor, label: Tensor) -> float:
    """Return the share that is told right, in percent."""
    model.eval()
    with torch.no_grad():
        found = float((model(x).argmax(-1) == label).double().mean())
    model.train()
    return round(100 * found, 1)


def trained(subject: str, bn: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return accuracies of one network."""
    torch.manual_seed(options.seed)
    sets = {k: s.to(torch.float32).tensors for k, s in make_task("eeg_mamem", subject=subject).items()}
    scale = float(sets["train"]["x"].std())
    model = create_model("spd_eegnet", bn=bn, scale=scale)
    optimizer = torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.weight_decay)
    x, label = sets["train"]["x"], sets["train"]["label"]
    steps = len(x) // options.batch_size
    curve: list[tuple[float, float]] = []
    start = time.process_time()
    for epoch in range(options.epochs):
        order = torch.randperm(len(x))
        for k in range(steps):
            at = (epoch + k / steps) / options.epochs
            for group in optimizer.param_groups:
                group["lr"] = options.lr * min(1.0, 20 * (at + 0.005)) * 0.5 * (1 + math.cos(math.pi * at))
            part = order[k * options.batch_size : (k + 1) * options.batch_size]
            loss = functional.cross_entropy(model(x[part]), label[part])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        curve.append((accuracy(model, **_of(sets["val"])), accuracy(model, **_of(sets["test"]))))
    best = max(range(len(curve)), key=lambda k: (curve[k][0], -k))
    capped = sum(int(m.capped) for m in model.modules() if isinstance(m, SPDBatchNorm))
    return {
        "best of validation": curve[best][1], "last epoch": curve[-1][1], "validation": curve[best][0], "epoch": best + 1,
        "train": accuracy(model, x, label), "capped": capped, "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def _of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"x": tensors["x"], "label": tensors["label"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subjects", type=json.loads, default=list(SUBJECTS))
    parser.add_argument("--norms", type=json.loads, default=["none", "le", "gbw"])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch_size", type=int, default=30)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight_decay", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, Any]] = {bn: {} for bn in options.norms}
    for subject in options.subjects:
        for bn in options.norms:
            rows[bn][subject] = trained(subject, bn, options)
            print(bn, subject, rows[bn][subject], flush=True)
        if options.out:
            _write(rows, options)


def _write(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    asked = [a for a in sys.argv[1:] if a not in ("--out", str(options.out))]
    spent = sum(found["cpu_seconds"] for by in rows.values() for found in by.values())
    mean = {
        bn: {
            k: round(sum(r[k] for r in by.values()) / len(by), 2)
            for k in ("best of validation", "last epoch")
        }
        for bn, by in rows.items()
    }
    about = machine(f"OMP_NUM_THREADS=1 python benchmarks/eeg_net.py {shlex.join(asked)}".strip()) | {
        "set": "MAMEM-SSVEP-II, 300/100/100 trials", "epochs": options.epochs, "batch_size": options.batch_size,
        "lr": options.lr, "weight_decay": options.weight_decay, "seed": options.seed, "cpu_seconds": round(spent, 1),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"about": about, "mean_percent": mean, "accuracy_percent": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
