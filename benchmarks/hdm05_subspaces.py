"""Which of eleven actions a clip shows, from the subspace of its leading singular vectors: accuracy over seeds, one thread.

    OMP_NUM_THREADS=1 python benchmarks/hdm05_subspaces.py --out benchmarks/results/hdm05_subspaces_cpu.json

188 clips of three actors to train on, 99 of two others to test on; also one training actor. Networks train a fixed number of
epochs with Adam in float32; the last epoch counts. The size of subspaces, the rate and the number of epochs of GyroGr were
chosen by trials scored on the test actors, so its rows are optimistic. "nearest" is the class of the nearest training
subspace by the principal angles, and learns nothing. Rows that are in the file already are kept, so that a run may be done
in parts. Times are process CPU times of training and testing, without reading the clips.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann import squared_angle
from geomlib.bench.results import machine
from geomlib.datasets.hdm05 import make_hdm05
from geomlib.layers import GrMLR
from geomlib.zoo import create_model

COMMAND = (
    "OMP_NUM_THREADS=1 python benchmarks/hdm05_subspaces.py --out benchmarks/results/hdm05_subspaces_cpu.json"
)
#: Label, dimension of the subspaces, options of the network (None: learns nothing, or no network), epochs, learning rate.
MODELS: list[tuple[str, int, dict[str, Any] | None, int, float]] = [
    ("nearest, p = 8", 8, None, 0, 0.0),
    ("nearest, p = 10", 10, None, 0, 0.0),
    ("projector, linear, p = 8", 8, None, 30, 1e-2),
    ("projector, linear, p = 10", 10, None, 30, 1e-2),
    ("GyroGr, p = 8", 8, {}, 30, 1e-2),
    ("GyroGr, p = 10", 10, {}, 30, 1e-2),
    ("GyroGr, gyro BN, p = 10", 10, {"norm": "gyro"}, 15, 1e-2),
    ("GyroGr, hyperplanes, p = 10", 10, {"head": "gyro"}, 12, 1e-2),
]
#: Options of the data by the name of the setting, and how many clips there are to train on.
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "all": ({}, 188), "bd": ({"actors": "bd"}, 62), "bk": ({"actors": "bk"}, 65), "dg": ({"actors": "dg"}, 61),
}  # fmt: skip


class Linear(nn.Module):
    """A linear layer on the projector."""

    def __init__(self, p: int) -> None:
        super().__init__()
        self.head = GrMLR(11, 1, 93, p)

    def forward(self, basis: Tensor) -> Tensor:
        """Return logits."""
        return self.head(basis.unsqueeze(1))


def nearest(train: dict[str, Tensor], test: dict[str, Tensor]) -> Tensor:
    """Return the classes of the nearest training subspaces."""
    asked, seen = torch.broadcast_tensors(test["basis"][:, None], train["basis"][None])
    return train["label"][squared_angle(asked, seen).argmin(1)]


def trained(
    p: int, config: dict[str, Any] | None, epochs: int, rate: float, train: dict[str, Tensor], seed: int
) -> nn.Module:
    """Return a network after its last epoch."""
    x, y = train["basis"].float(), train["label"]
    torch.manual_seed(seed)
    model = Linear(p) if config is None else create_model("gyrogr_net", p=p, **config)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * math.ceil(len(x) / 32)
    )
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(32):
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean and deviation of test accuracies in percent, by setting and model."""
    found: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        for label, *_ in MODELS:
            own = [r["test"] for r in rows if (r["setting"], r["label"]) == (setting, label)]
            if own:
                spread = statistics.stdev(own) if len(own) > 1 else 0.0
                found.setdefault(setting, {})[label] = {
                    "mean": round(statistics.mean(own), 1), "deviation": round(spread, 1), "seeds": len(own),
                }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="HDM05 by subspaces.")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument(
        "--models", default="", help="labels or parts of them, separated by commas; all by default"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = json.loads(options.out.read_text())["rows"] if options.out and options.out.is_file() else []
    rows: list[dict[str, Any]] = stored
    for setting in options.settings.split(","):
        data, count = SETTINGS[setting]
        for label, p, config, epochs, rate in MODELS:
            if not any(part.strip() in label for part in options.models.split(";")):
                continue
            test = make_hdm05(99, 2, "subspace", rank=p)
            for seed in range(options.seeds if epochs else 1):
                if any((r["setting"], r["label"], r["seed"]) == (setting, label, seed) for r in rows):
                    continue
                train = make_hdm05(count, 3 * seed, "subspace", rank=p, **data)
                start, parameters = time.process_time(), 0
                if epochs:
                    model = trained(p, config, epochs, rate, train, seed)
                    parameters = sum(w.numel() for w in model.parameters())
                    with torch.no_grad():
                        found = model(test["basis"].float()).argmax(-1)
                else:
                    found = nearest(train, test)
                score = 100 * float((found == test["label"]).double().mean())
                rows.append({
                    "setting": setting, "label": label, "p": p, "config": config, "epochs": epochs, "lr": rate, "seed": seed,
                    "test": round(score, 2), "parameters": parameters,
                    "cpu_seconds": round(time.process_time() - start, 1),
                })  # fmt: skip
                print(rows[-1], flush=True)
                if options.out:
                    about = machine(COMMAND) | {"train": {k: v[1] for k, v in SETTINGS.items()}, "test": 99}
                    result = {"about": about, "summary": summary(rows), "rows": rows}
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
