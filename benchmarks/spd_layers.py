"""What layers on SPD matrices cost: metrics beside each other, charts, and frames of BiMap.

    OMP_NUM_THREADS=1 python benchmarks/spd_layers.py --out benchmarks/results/spd_layers_cpu.json

Every number is the CPU time of one step, forward and backward with gradients of inputs and weights, the least of several
rounds in which all rivals take turns:

- ``mlr``: logits of B matrices for K classes under five metrics, beside LogEig and ``nn.Linear``, and the same by spd_learn;
- ``fc``: fully connected layers n -> m;
- ``conv``: convolutions of short sequences;
- ``stack``: three fully connected layers and logits, inside one chart and out of it after every layer;
- ``frame``: W with orthonormal rows from free weights: polar factor (ours), and the parametrisations of torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from geomlib.bench.results import machine
from geomlib.layers import SPDFC, SPDMLR, BiMap, LogEig, SPDConv

Step = Callable[[], Any]


def covariances(*shape: int) -> Tensor:
    """Return covariances of 3 n samples (*lead, n, n) from (*lead, n)."""
    x = torch.randn(*shape, 3 * shape[-1], generator=torch.Generator().manual_seed(0))
    return x @ x.mT / x.shape[-1]


def step_of(module: nn.Module, x: Tensor) -> Step:
    """Return one step: value and all gradients."""
    x = x.clone().requires_grad_()
    with torch.no_grad():
        cotangent = torch.randn(module(x).shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)

    def step() -> None:
        for p in (x, *module.parameters()):
            p.grad = None
        module(x).backward(cotangent)

    return step


def measure(rivals: dict[str, Step], seconds: float) -> dict[str, float]:
    """Return milliseconds of CPU time by name; rivals take turns until the time is over, at least five rounds."""
    for step in rivals.values():
        step()
    best = dict.fromkeys(rivals, math.inf)
    start, rounds = time.process_time(), 0
    while rounds < 5 or time.process_time() - start < seconds:
        for name, step in rivals.items():
            t = time.process_time()
            step()
            best[name] = min(best[name], 1e3 * (time.process_time() - t))
        rounds += 1
    return {name: round(value, 3) for name, value in best.items()}


def mlr(n: int, classes: int, batch: int) -> dict[str, Step]:
    """Return logits under every metric, and of linear layers on logarithms."""
    x = covariances(batch, n)
    torch.manual_seed(0)
    rivals: dict[str, nn.Module] = {
        "LogEig + Linear": nn.Sequential(LogEig(n, vector=True), nn.Linear(n * (n + 1) // 2, classes))
    }
    if importlib.util.find_spec("spd_learn"):
        from spd_learn.modules import LogEig as TheirLogEig

        rivals["spd_learn LogEig + Linear"] = nn.Sequential(
            TheirLogEig(upper=True), nn.Linear(n * (n + 1) // 2, classes)
        )
    for metric in ("le", "lc", "euclidean", "ai", "bw"):
        rivals[f"SPDMLR {metric}"] = SPDMLR(n, classes, metric, theta=0.5 if metric == "euclidean" else 1.0)
    return {name: step_of(module, x) for name, module in rivals.items()}


def fc(n: int, m: int, batch: int) -> dict[str, Step]:
    """Return fully connected layers under every metric."""
    x = covariances(batch, n)
    torch.manual_seed(0)
    return {f"SPDFC {metric}": step_of(SPDFC(n, m, metric), x) for metric in ("le", "lc", "ai", "bw")}


def conv(n: int, m: int, batch: int, steps: int) -> dict[str, Step]:
    """Return convolutions of two channels to two, three steps of time wide."""
    x = covariances(batch, 2, steps, n)
    torch.manual_seed(0)
    return {f"SPDConv {metric}": step_of(SPDConv(n, m, 2, 2, 3, metric), x) for metric in ("le", "lc", "ai")}


def stack(n: int, batch: int, metric: str) -> dict[str, Step]:
    """Return three layers and logits in one chart, and leaving it after every layer."""
    x = covariances(batch, n)

    def made(charts: bool) -> nn.Sequential:
        torch.manual_seed(0)
        layers = [SPDFC(n, n, metric, in_chart=charts and k > 0, out_chart=charts) for k in range(3)]
        return nn.Sequential(*layers, SPDMLR(n, 10, metric, in_chart=charts))

    return {"one chart": step_of(made(True), x), "matrices between layers": step_of(made(False), x)}


class _Frame(nn.Module):
    """The frame of a BiMap, as a function of its weights alone."""

    def __init__(self, make: Callable[[], nn.Module], frame: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.inner, self.frame = make(), frame

    def forward(self, x: Tensor) -> Tensor:
        return self.frame(self.inner) * x


def frame(n: int, m: int) -> dict[str, Step]:
    """Return frames from free weights."""
    torch.manual_seed(0)
    one = torch.ones(1)
    rivals = {"polar (BiMap)": _Frame(lambda: BiMap(n, m), lambda layer: layer.frame())}
    for kind in ("cayley", "householder", "matrix_exp"):

        def make(kind: str = kind) -> nn.Module:
            return parametrizations.orthogonal(nn.Linear(n, m, bias=False), orthogonal_map=kind)

        rivals[f"torch {kind}"] = _Frame(make, lambda layer: layer.weight)
    return {name: step_of(module, one) for name, module in rivals.items()}


def main() -> None:
    """Measure everything and print a row for each."""
    parser = argparse.ArgumentParser(description="Layers on SPD matrices: time of a step.")
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU time of one table")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables: dict[str, Callable[[], dict[str, Step]]] = {
        "mlr n=20 K=11 B=30": lambda: mlr(20, 11, 30),
        "mlr n=30 K=11 B=30": lambda: mlr(30, 11, 30),
        "mlr n=30 K=117 B=30": lambda: mlr(30, 117, 30),
        "fc 20 -> 8 B=30": lambda: fc(20, 8, 30),
        "conv 8 -> 4 B=8 T=10": lambda: conv(8, 4, 8, 10),
        "stack le n=16 B=30": lambda: stack(16, 30, "le"),
        "stack lc n=16 B=30": lambda: stack(16, 30, "lc"),
        "frame 93 -> 30": lambda: frame(93, 30),
        "frame 30 -> 20": lambda: frame(30, 20),
    }
    rows = []
    for name, make in tables.items():
        found = measure(make(), arguments.seconds)
        rows.append({"table": name, "ms": found})
        print(name, found, flush=True)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/spd_layers.py")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
