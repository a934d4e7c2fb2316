"""Hidden sparse vectors: MomentNet beside the spectral method, one thread.

    OMP_NUM_THREADS=1 python benchmarks/sparse_vector.py --out benchmarks/results/sparse_vector_cpu.json

For every prior of the sparse vector and every covariance of the noise a network trains as `geomlib train moment_net --data
sparse_vector` does, on 5000 samples with 500 more to choose its weights; the score is the squared overlap of the top
eigenvector with the hidden direction, the mean over 2000 others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from geomlib.bench.results import machine
from geomlib.datasets.sparse_vector import (
    NOISES,
    PRIORS,
    make_sparse_vector,
    recovery_score,
    spectral_matrix,
)
from geomlib.train.config import TrainConfig
from geomlib.train.run import train
from geomlib.train.task_presets import TASK_PRESETS

TEST = 2000


def run(prior: str, noise: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one network and return both scores."""
    preset = dict(TASK_PRESETS["sparse_vector"]["moment_net"])
    options = preset.pop("model")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data="sparse_vector", architecture="moment_net", out=f"{folder}/run", seed=seed, threads=1, plots=False,
            val_size=500, test_size=0, data_options={"prior": prior, "noise": noise}, **{**preset, "steps": steps},
        )  # fmt: skip
        result = train(config, options)
    if result is None:
        raise SystemExit("only the first process has a result")
    test = make_sparse_vector(TEST, seed=1_000_000 + seed, prior=prior, noise=noise)
    model = result.model.eval()
    with torch.no_grad():
        found = model(test["vectors"].float()).double()
    score = float(recovery_score(found, test["u"]).mean())
    spectral = float(recovery_score(spectral_matrix(test["vectors"]), test["u"]).mean())
    return {
        "prior": prior, "noise": noise, "seed": seed, "moment_net": round(score, 3), "spectral": round(spectral, 3),
        "test": TEST, "steps": result.metrics["budget"]["steps"],
        "cpu_seconds": result.metrics["budget"]["cpu_seconds"], "weights": result.metrics["parameters"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Hidden sparse vectors.")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--noises", nargs="+", default=list(NOISES), choices=NOISES)
    parser.add_argument("--steps", type=int, default=TASK_PRESETS["sparse_vector"]["moment_net"]["steps"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for noise, prior in itertools.product(arguments.noises, arguments.priors):
        rows.append(run(prior, noise, arguments.seed, arguments.steps))
        print(rows[-1], flush=True)
        if arguments.out:
            about = machine(" ".join(["OMP_NUM_THREADS=1 python benchmarks/sparse_vector.py", *sys.argv[1:]]))
            arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
