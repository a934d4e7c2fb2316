"""Rollouts of the double spring pendulum over 30 units of time, from a run of `geomlib train`.

    geomlib train hamiltonian_tensor_net --data double_spring_pendulum --out runs/pendulum
    OMP_NUM_THREADS=1 python benchmarks/pendulum.py runs/pendulum --out benchmarks/results/pendulum_cpu.json

The error is the geometric mean over time of |a - b| / (|a| + |b|), over 100 runs that training did not see, from their start;
deviations are those of the mean over runs. The published numbers are beside it: networks of invariants 0.007, equivariant
perceptrons O(2) 0.012, SO(2) 0.015, D6 0.013, a perceptron 0.028, each of which learned an energy too.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from geomlib.bench.results import machine
from geomlib.datasets.double_spring_pendulum import make_double_spring_pendulum, rollout_error
from geomlib.interop.checkpoint import load_model

RUNS, FRAMES = 100, 151


def main() -> None:
    parser = argparse.ArgumentParser(description="Rollouts of a learned energy.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.folder)
    told = json.loads((arguments.folder / "metrics.json").read_text())
    true = make_double_spring_pendulum(RUNS, seed=1_000_000, points=FRAMES, start=0)
    with torch.no_grad():
        found = model(true["state"].float(), true["gravity"].float(), points=FRAMES).double()
    errors = torch.stack(
        [rollout_error(a.flatten(1), b.flatten(1)) for a, b in zip(found, true["later"], strict=True)]
    )
    row = {
        "rollout_error": float(f"{errors.mean():.3g}"), "deviation_of_mean": float(f"{errors.std() / math.sqrt(RUNS):.1g}"),
        "median": float(f"{errors.median():.3g}"), "test_mse": told["results"]["test"]["mse"], "budget": told["budget"],
        "weights": told["parameters"],
    }  # fmt: skip
    print(row)
    if arguments.out:
        about = machine(
            "geomlib train hamiltonian_tensor_net --data double_spring_pendulum; python benchmarks/pendulum.py"
        )
        arguments.out.write_text(json.dumps({"about": about, "rows": [row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
