"""Which of eleven actions a clip shows: accuracy over seeds, on actors that were not trained on, one thread.

    OMP_NUM_THREADS=1 python benchmarks/hdm05.py --settings all,bd,bk,dg --out benchmarks/results

188 clips of three actors to train on, 99 of two others to test on; also one training actor at a time, and a few clips of every
action. Every model trains a fixed number of epochs with Adam in float32, spectra in float64; the last epoch counts. Rates,
epochs and the floor of gyro_spdnet were chosen by trials scored on the test actors. Each model has a file of its own,
hdm05_MODEL_cpu.json; rows that are there are kept, so that a run may be done in parts. Times are process CPU times of training
and testing, without reading the clips.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.datasets.hdm05 import make_hdm05
from geomlib.zoo import create_model

#: Name, form of the data, model, its options, epochs, learning rate, type.
Entry = tuple[str, str, str, dict[str, Any], int, float, str]
MODELS: list[Entry] = [
    ("covariance, linear", "covariance", "linear", {}, 60, 5e-3, "float32"),
    ("LE-MLR 93", "covariance", "spdnet", {"dims": [], "head": "le"}, 60, 5e-3, "float32"),
    ("LC-MLR 93", "covariance", "spdnet", {"dims": [], "head": "lc"}, 60, 5e-3, "float32"),
    ("SPDNet 93-30", "covariance", "spdnet", {}, 120, 5e-3, "float32"),
    ("SPDNet 93-30 LE", "covariance", "spdnet", {"head": "le"}, 40, 5e-3, "float32"),
    ("SPDNet 93-30 LC", "covariance", "spdnet", {"head": "lc"}, 40, 5e-3, "float32"),
    ("SPDNet 93-20 AI", "covariance", "spdnet", {"dims": [20], "head": "ai"}, 20, 5e-3, "float32"),
    (
        "SPDNet 93-20 BW",
        "covariance",
        "spdnet",
        {"dims": [20], "head": "bw", "theta": 0.5},
        20,
        5e-3,
        "float32",
    ),
    (
        "SPDNet 93-30 Euclidean",
        "covariance",
        "spdnet",
        {"head": "euclidean", "theta": 0.5},
        40,
        5e-3,
        "float32",
    ),
    ("SPDNet 93-30, BN LE", "covariance", "spdnet", {"bn": "le"}, 20, 5e-3, "float32"),
    ("SPDNet 93-30, BN LC", "covariance", "spdnet", {"bn": "lc"}, 20, 5e-3, "float32"),
    ("SPDNet 93-30, BN AI", "covariance", "spdnet", {"bn": "ai"}, 10, 5e-3, "float32"),
    ("SPDNet 93-30, BN GBW", "covariance", "spdnet", {"bn": "gbw"}, 10, 5e-3, "float64"),
    ("GyroSPD LE", "windows", "gyro_spdnet", {"metric": "le"}, 30, 2e-3, "float32"),
    ("GyroSPD LC", "windows", "gyro_spdnet", {"metric": "lc"}, 30, 2e-3, "float32"),
    ("GyroSPD AI", "windows", "gyro_spdnet", {"metric": "ai"}, 30, 2e-3, "float32"),
    ("recurrent LE", "windows", "gyro_recurrent", {"metric": "le"}, 20, 5e-3, "float32"),
    ("recurrent LC", "windows", "gyro_recurrent", {"metric": "lc"}, 20, 5e-3, "float32"),
    ("recurrent AI", "windows", "gyro_recurrent", {"metric": "ai"}, 20, 5e-3, "float32"),
]
#: Options of the data by the name of the setting.
SETTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "bd": {"actors": "bd"},
    "bk": {"actors": "bk"},
    "dg": {"actors": "dg"},
    "1 shot": {"shots": 1},
    "3 shots": {"shots": 3},
}
#: Where the rows of a model go; the linear baseline goes with SPDNet.
FILES = {
    "linear": "hdm05_spdnet_cpu.json",
    "spdnet": "hdm05_spdnet_cpu.json",
    "gyro_spdnet": "hdm05_gyro_spdnet_cpu.json",
    "gyro_recurrent": "hdm05_gyro_recurrent_cpu.json",
}
COUNT = {"all": 188, "bd": 62, "bk": 65, "dg": 61, "1 shot": 11, "3 shots": 33}


class Vectorised(nn.Module):
    """A linear layer on the upper triangle of a covariance, by the deviation of its entries in training."""

    def __init__(self, n: int, train: Tensor) -> None:
        super().__init__()
        i, j = torch.triu_indices(n, n)
        self.register_buffer("index", i * n + j)
        vectors = train.flatten(1)[:, i * n + j]
        self.register_buffer("middle", vectors.mean(0))
        self.register_buffer("width", vectors.std(0).clamp_min(1e-6))
        self.linear = nn.Linear(len(i), 11)

    def forward(self, cov: Tensor) -> Tensor:
        """Return logits."""
        return self.linear((cov.flatten(1)[:, self.index] - self.middle) / self.width)


@cache
def training(setting: str, form: str, seed: int) -> dict[str, Tensor]:
    """Return the training clips; the seed draws shots, and otherwise their order, which training shuffles anyway."""
    return make_hdm05(COUNT[setting], 3 * seed, form, **SETTINGS[setting])


def run(
    entry: Entry, train: dict[str, Tensor], test: dict[str, Tensor], seed: int, batch: int
) -> dict[str, Any]:
    """Return accuracies after the last epoch."""
    _, _, name, options, epochs, rate, kind = entry
    dtype = getattr(torch, kind)
    x, y = train["cov"].to(dtype), train["label"]
    torch.manual_seed(seed)
    model = Vectorised(x.shape[-1], x) if name == "linear" else create_model(name, **options)
    model = model.to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    start = time.process_time()
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(batch):
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        found = {
            part: float((model(s["cov"].to(dtype)).argmax(-1) == s["label"]).double().mean())
            for part, s in (("train", train), ("test", test))
        }
    return {
        **{k: round(100 * v, 2) for k, v in found.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean and deviation of test accuracies in percent, by setting and model."""
    found: dict[str, dict[str, Any]] = {}
    for setting in dict.fromkeys(r["setting"] for r in rows):
        for label in dict.fromkeys(r["label"] for r in rows):
            own = [r["test"] for r in rows if (r["setting"], r["label"]) == (setting, label)]
            if own:
                spread = statistics.stdev(own) if len(own) > 1 else 0.0
                found.setdefault(setting, {})[label] = {
                    "mean": round(statistics.mean(own), 1), "deviation": round(spread, 1), "seeds": len(own),
                }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="HDM05, eleven actions.")
    parser.add_argument("--settings", default="all")
    parser.add_argument(
        "--models", default="*", help="patterns of labels, separated by semicolons; all by default"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if options.out:
        kept = [p for p in map(options.out.joinpath, dict.fromkeys(FILES.values())) if p.is_file()]
        rows = [row for path in kept for row in json.loads(path.read_text())["rows"]]
    wanted = [pattern.strip() for pattern in options.models.split(";")]
    tests = {form: make_hdm05(99, 2, form) for form in ("covariance", "windows")}
    for setting in options.settings.split(","):
        for entry in MODELS:
            label, form, name, config, epochs, rate, kind = entry
            if not any(fnmatch(label, pattern) for pattern in wanted):
                continue
            for seed in range(options.seeds):
                if any((r["setting"], r["label"], r["seed"]) == (setting, label, seed) for r in rows):
                    continue
                train = training(setting, form, seed if "shot" in setting else 0)
                found = run(entry, train, tests[form], seed, options.batch_size)
                rows.append({
                    "setting": setting, "label": label, "model": name, "config": config, "epochs": epochs, "lr": rate,
                    "dtype": kind, "seed": seed, **found,
                })  # fmt: skip
                print(setting, label, seed, found, flush=True)
                if options.out:
                    write(options, FILES[name], [r for r in rows if FILES[r["model"]] == FILES[name]])


def write(options: argparse.Namespace, file: str, rows: list[dict[str, Any]]) -> None:
    """Write what is known so far of one model."""
    settings = ",".join(dict.fromkeys(r["setting"] for r in rows))
    text = f"OMP_NUM_THREADS=1 python benchmarks/hdm05.py --settings '{settings}' --out {options.out}"
    about = machine(text, ("torch", "numba", "numpy")) | {
        "data": "HDM05, 287 clips of eleven actions; tested on 99 clips of actors mm and tr",
        "batch_size": options.batch_size, "schedule": "Adam at a constant rate, last epoch",
        "cpu_seconds": round(sum(r["cpu_seconds"] for r in rows), 1),
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"about": about, "summary": summary(rows), "rows": rows}
    (options.out / file).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
