"""A training step of SPDNet beside spd_learn's, of the same shape and at the same weights, one thread, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/spdnet.py --out benchmarks/results/spdnet_cpu.json

A step: BiMap 93 -> 30, ReEig, LogEig, a linear layer to eleven classes, cross-entropy, backward, Adam; batch 32. Before
anything is timed the two are given the same frame and the same linear layer and must give the same logits. Ours decomposes
the 30 x 30 matrices once, in float64 whatever the type, since rectifier and logarithm are one spectral function; theirs twice,
in the type of the input. Times are process CPU times; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, ratios
from geomlib.zoo.spdnet import SPDNet

N, M, CLASSES, BATCH = 93, 30, 11, 32


def matrices(dtype: torch.dtype, generator: torch.Generator) -> Tensor:  # (BATCH, N, N)
    """Return covariances of 60 frames, shrunk as those of HDM05 are."""
    a = torch.randn(BATCH, N, 60, generator=generator, dtype=torch.float64)
    c = a @ a.mT / 60
    mean = c.diagonal(dim1=-2, dim2=-1).mean(-1)
    return (c + 1e-3 * mean[:, None, None] * torch.eye(N, dtype=torch.float64)).to(dtype)


def pair(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Return our model and theirs, with the same frame and the same linear layer."""
    from spd_learn.models import SPDNet as Theirs

    torch.manual_seed(0)
    ours = SPDNet(N, (M,), CLASSES)
    theirs = Theirs(input_type="cov", n_chans=N, subspacedim=M, n_outputs=CLASSES, upper=True)
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    with torch.no_grad():
        theirs.bimap.weight = ours.maps[0].frame().mT[None].contiguous()
        theirs.classifier.load_state_dict(ours.head.state_dict())
    return ours, theirs


def disagreement(ours: nn.Module, theirs: nn.Module, x: Tensor) -> tuple[float, float]:
    """Return the relative differences of logits and of gradients with respect to the input."""
    found: list[tuple[Tensor, Tensor]] = []
    for model in (ours, theirs):
        leaf = x.clone().requires_grad_()
        out = model(leaf)
        (grad,) = torch.autograd.grad(out.square().sum(), leaf)
        found.append((out.detach(), (grad + grad.mT) / 2))
    (a, ga), (b, gb) = found
    return float((a - b).norm() / a.norm()), float((ga - gb).norm() / ga.norm())


def step(model: nn.Module, x: Tensor, label: Tensor) -> Callable[[], None]:
    """Return a training step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> None:
        loss = nn.functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="SPDNet beside spd_learn's.")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(0)
        x = matrices(dtype, generator)
        label = torch.randint(CLASSES, (BATCH,), generator=generator)
        ours, theirs = pair(dtype)
        logits, gradients = disagreement(ours, theirs, x)
        limit = 1e-3 if dtype == torch.float32 else 1e-10
        if not max(logits, gradients) < limit:
            raise SystemExit(f"{dtype}: they differ by {logits:.1e} (logits), {gradients:.1e} (gradients)")
        times = interleaved(
            {"geomlib": step(ours, x, label), "spd_learn": step(theirs, x, label)}, options.rounds
        )
        rows.append({
            "dtype": str(dtype).removeprefix("torch."),
            "milliseconds": {k: round(1e3 * statistics.median(v), 2) for k, v in times.items()},
            "least_milliseconds": {k: round(1e3 * min(v), 2) for k, v in times.items()},
            "times_slower": round(ratios(times, "geomlib")["spd_learn"], 2),
            "difference": {"logits": float(f"{logits:.1e}"), "input gradients": float(f"{gradients:.1e}")},
        })  # fmt: skip
        print(rows[-1], flush=True)
    if options.out:
        text = "OMP_NUM_THREADS=1 python benchmarks/spdnet.py"
        about = machine(text, ("torch", "numba", "numpy", "spd_learn")) | {
            "shape": f"{N} -> {M}, batch {BATCH}, {CLASSES} classes; step: forward, backward, Adam"
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
