"""EEG of six people by covariances of several delays: tangent space with logistic regression, and nearest means.

    OMP_NUM_THREADS=1 nice python benchmarks/eeg.py --out benchmarks/results/eeg_mamem_cpu.json

For every subject of MAMEM-SSVEP-II the first 400 trials train and the last 100 test; nothing is chosen by them. Covariances of
order p hold p copies of the eight channels, each ``--lag`` samples later. Logistic regression is our own: the penalty is half
the square of the weights, the loss the sum of C times the cross-entropies, solved by L-BFGS in float64 to a gradient of 1e-7.
Features are logarithms at the log-Euclidean mean in the units of the covariances, as in pyriemann's tangent space of that
metric; ``chart`` takes matrix logarithms as they are.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from geomlib.algebra.manifolds.covariance import covariance
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.vech import vech
from geomlib.bench.results import machine
from geomlib.datasets.eeg_mamem import SUBJECTS, eeg_split, read_mamem


def logistic_regression(x: Tensor, label: Tensor, classes: int, C: float) -> tuple[Tensor, Tensor, float]:
    """Return weights (features, classes), intercepts (classes,) and the largest entry of the last gradient.

    Only the part of the weights in the span of the samples is not zero; its coordinates are scaled to curvatures near one.
    """
    _, s, vh = torch.linalg.svd(x, full_matrices=False)
    kept = s > 1e-12 * s[0]
    basis = vh[kept].mT / (1 + 0.2 * C * s[kept].square()).sqrt()  # (features, r)
    seen = x @ basis
    gram = basis.mT @ basis
    a = torch.zeros(seen.shape[1], classes, dtype=x.dtype, requires_grad=True)
    b = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [a, b], max_iter=3000, tolerance_grad=1e-7, tolerance_change=0, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        fit = torch.nn.functional.cross_entropy(seen @ a + b, label, reduction="sum")
        loss = C * fit + 0.5 * (a * (gram @ a)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    closure()
    last = max(float(t.grad.abs().max()) for t in (a, b) if t.grad is not None)
    return basis @ a.detach(), b.detach(), last


def correct(train: Tensor, test: Tensor, label: Tensor, truth: Tensor, C: float) -> tuple[int, float]:
    """Return how many of the test are told right by logistic regression, and its gradient at the end."""
    w, b, last = logistic_regression(train, label, 5, C)
    return int(((test @ w + b).argmax(-1) == truth).sum()), last


def nearest_mean(metric: str, train: Tensor, test: Tensor, label: Tensor, truth: Tensor) -> int:
    """Return how many of the test are nearest to the mean of their class."""
    space = SPD(metric, check=False)
    if space.flat:
        train, test = space.chart(train), space.chart(test)
        means = torch.stack([train[label == k].mean(0) for k in range(5)])
        far = space.chart_sqdist(test[:, None], means)
    else:
        means = torch.stack([space.mean(train[label == k], order=0) for k in range(5)])
        far = torch.stack([space.sqdist(m.expand_as(test), test) for m in means], -1)
    return int((far.argmin(-1) == truth).sum())


def row(x: Tensor, y: Tensor, order: int, options: argparse.Namespace) -> dict[str, float]:
    """Return accuracies in percent of one subject at one order."""
    c = covariance(x, options.shrink, order=order, lag=options.lag)
    parts = [torch.from_numpy(eeg_split(p, hold_out=False)) for p in ("train", "test")]
    (train, test), (label, truth) = ([t[i] for i in parts] for t in (c, y))
    space = SPD("le", check=False)
    mean = space.mean(train)
    features = [vech(space.log(mean, s)) for s in (train, test)]
    tangent, last = correct(*features, label, truth, options.C)
    chart, other = correct(vech(space.chart(train)), vech(space.chart(test)), label, truth, options.C)
    scale = 100 / len(truth)
    return {
        "tangent": tangent * scale,
        "chart": chart * scale,
        "nearest mean, le": nearest_mean("le", train, test, label, truth) * scale,
        "nearest mean, ai": nearest_mean("ai", train, test, label, truth) * scale,
        "largest gradient": float(f"{max(last, other):.1e}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=json.loads, default=[1, 4, 6, 8, 10])
    parser.add_argument("--lag", type=int, default=2)
    parser.add_argument("--shrink", type=float, default=1e-3)
    parser.add_argument("--C", type=float, default=0.1)
    parser.add_argument("--subjects", type=json.loads, default=list(SUBJECTS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    start = time.process_time()
    for subject in options.subjects:
        x, y = (torch.from_numpy(a) for a in read_mamem(subject))
        for order in options.orders:
            rows.setdefault(subject, {})[str(order)] = row(x, y, order, options)
            print(subject, order, rows[subject][str(order)], flush=True)
    spent = time.process_time() - start
    print(f"{spent:.0f} s of CPU time")
    if options.out:
        asked = [a for a in sys.argv[1:] if a not in ("--out", str(options.out))]
        about = machine(f"OMP_NUM_THREADS=1 python benchmarks/eeg.py {shlex.join(asked)}".strip()) | {
            "set": "MAMEM-SSVEP-II", "train": 400, "test": 100, "lag": options.lag, "shrink": options.shrink,
            "C": options.C, "cpu_seconds": round(spent, 1),
        }  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"about": about, "accuracy_percent": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
