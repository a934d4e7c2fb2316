"""Training steps of SPD batch normalisation beside spd_learn, interleaved in one process, and what each of them promises.

    OMP_NUM_THREADS=1 nice python benchmarks/spd_batch_norm.py --out benchmarks/results/spd_batch_norm_cpu.json

Forward and backward of 32 matrices in float64, condition number 30. ``converged`` means the mean to round-off with its own
derivative, ``one step`` the published iteration of one step, as spd_learn's. Times are process CPU times, medians of rounds in
which all take their turn; ratios are medians of the ratios within a round. Errors are of the output: distance of its mean from
the bias point, and deviation of its variance from that asked.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symmetrize
from geomlib.bench.results import machine
from geomlib.layers import SPDBatchNorm
from geomlib.testing import random_spd


def contenders(n: int) -> dict[str, tuple[nn.Module, str]]:
    """Return layers by name with the metric whose mean and variance they promise."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for metric in ("le", "lc", "ai", "bw", "gbw"):
        if metric in ("le", "lc"):
            found[f"geomlib {metric}"] = (SPDBatchNorm(n, metric), metric)
            continue
        found[f"geomlib {metric}, one step"] = (SPDBatchNorm(n, metric, n_mean_steps=1), metric)
        found[f"geomlib {metric}, converged"] = (SPDBatchNorm(n, metric), metric)
    try:
        from spd_learn.modules import SPDBatchNormLie, SPDBatchNormMeanVar
    except ImportError:
        print("spd_learn is not installed: only our own times")
        return found
    for metric, theirs in (("le", "LEM"), ("lc", "LCM"), ("ai", "AIM")):
        found[f"spd_learn {metric}"] = (SPDBatchNormLie(n, metric=theirs), metric)
    found["spd_learn mean and variance"] = (SPDBatchNormMeanVar(n), "ai")
    return found


def step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a training step without optimiser."""

    def run() -> None:
        y = layer(x)
        torch.autograd.grad(
            y.square().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)], allow_unused=True
        )

    return run


def errors(layer: nn.Module, metric: str, x: Tensor) -> dict[str, float]:
    """Return how far mean and variance of the output are from the identity and one."""
    space, one = SPD(metric if metric != "gbw" else "bw"), torch.eye(x.shape[-1], dtype=x.dtype)
    y = layer(x).detach()
    mean = (
        space.unchart(space.chart(y).mean(0).tril() if metric == "lc" else symmetrize(space.chart(y).mean(0)))
        if space.flat
        else space.mean(y, order=0)
    )
    gap = float((mean - one).norm())
    return {"mean": gap, "variance": abs(float(space.sqdist(one.expand_as(y), y).mean()) - 1)}


def measured(n: int, rounds: int) -> dict[str, Any]:
    """Return times and ratios of one size."""
    x = random_spd(32, n, kappa=30.0, generator=torch.Generator().manual_seed(0)).requires_grad_()
    layers = {name: (layer.double().train(), metric) for name, (layer, metric) in contenders(n).items()}
    promised = {name: errors(layer, metric, x.detach()) for name, (layer, metric) in layers.items()}
    steps = {name: step(layer, x) for name, (layer, _) in layers.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for run in steps.values():
        run()  # compiles what there is to compile
    for _ in range(rounds):
        for name, run in steps.items():
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                run()
                best = min(best, time.process_time() - start)
            times[name].append(1e3 * best)
    rows: dict[str, Any] = {}
    for name, found in times.items():
        rows[name] = {
            "ms": round(statistics.median(found), 3),
            **{k: float(f"{v:.1e}") for k, v in promised[name].items()},
        }
        for peer in ("spd_learn ai",):
            if peer in times:
                ratio = statistics.median(a / b for a, b in zip(found, times[peer], strict=True))
                rows[name][f"over {peer}"] = round(ratio, 3)
        print(n, name, rows[name], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=json.loads, default=[12, 30])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {f"n = {n}": measured(n, options.rounds) for n in options.sizes}
    if options.out:
        asked = [a for a in sys.argv[1:] if a not in ("--out", str(options.out))]
        about = machine(f"OMP_NUM_THREADS=1 python benchmarks/spd_batch_norm.py {shlex.join(asked)}".strip())
        about |= {"batch": 32, "dtype": "float64", "kappa": 30, "rounds": options.rounds}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
