"""The tensor-basis network beside three baselines on the neo-Hookean law, equal data, steps and CPU time of one thread.

    OMP_NUM_THREADS=1 python benchmarks/neo_hooke.py --seeds 0 1 2 --out benchmarks/results/neo_hooke_cpu.json

- ``eigenvalues``: a network (width 23) from the eigenvalues of C, in order, to those of S, in the axes of C;
- ``mlp``: a network (width 32) from the six components of C to those of S;
- ``mlp, rotated``: the same, every batch beside three copies of it in random axes: four times the data.

All have two hidden layers with SiLU and are trained alike: AdamW, one-cycle cosine, gradients clipped, the weights of the best
epoch of validation. The score is the mean square of the Frobenius norm of the error. It stops after a number of
steps or of CPU seconds, whichever comes first.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.datasets.tasks import make_task
from geomlib.zoo.tensor_basis import TensorBasisNN

SIZES = (20000, 4000, 4000)


def network(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Eigenvalues(nn.Module):
    """A function of the eigenvalues, in the axes of the matrix: equivariant, but not smooth where two of them meet."""

    def __init__(self, width: int = 23) -> None:
        super().__init__()
        self.net = network([3, width, width, 3])

    def forward(self, C: Tensor) -> Tensor:
        """Return the stress."""
        values, axes = torch.linalg.eigh(C)
        return (axes * self.net(values)[:, None, :]) @ axes.mT


class Components(nn.Module):
    """A function of the six components, which knows of no symmetry."""

    rows: Tensor
    columns: Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.net = network([6, width, width, 6])
        rows, columns = torch.triu_indices(3, 3)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    def forward(self, C: Tensor) -> Tensor:
        """Return the stress."""
        half = self.net(C[:, self.rows, self.columns])
        out = C.new_zeros(len(C), 3, 3)
        out[:, self.rows, self.columns] = half
        out[:, self.columns, self.rows] = half
        return out


def rotated(C: Tensor, S: Tensor, copies: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the samples and some copies of them in random axes."""
    q, _ = torch.linalg.qr(torch.randn(copies * len(C), 3, 3, generator=generator))
    turn = [q @ x.repeat(copies, 1, 1) @ q.mT for x in (C, S)]
    return torch.cat([C, turn[0]]), torch.cat([S, turn[1]])


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "tensor basis": (lambda: TensorBasisNN(width=32, logs=True), 0),
    "tensor basis, no logarithms": (lambda: TensorBasisNN(width=32), 0),
    "eigenvalues": (Eigenvalues, 0),
    "mlp": (Components, 0),
    "mlp, rotated": (Components, 3),
}


def frobenius(model: nn.Module, C: Tensor, S: Tensor) -> float:
    with torch.no_grad():
        return float((model(C=C) - S).square().sum((1, 2)).mean())


def train(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    make, copies = MODELS[name]
    sets = {k: s.to(torch.float32).tensors for k, s in make_task("neo_hooke", sizes=SIZES, seed=seed).items()}
    torch.manual_seed(seed)
    model, generator = make(), torch.Generator().manual_seed(seed)
    scale = float(sets["train"]["S"].square().mean().sqrt())
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: _rate(k, arguments.steps))
    best, kept, step, start = math.inf, copy.deepcopy(model.state_dict()), 0, time.process_time()
    order = torch.randperm(SIZES[0], generator=generator)
    for step in range(1, arguments.steps + 1):
        chosen = order[: arguments.batch]
        order = order[arguments.batch :]
        if len(order) < arguments.batch:
            order = torch.randperm(SIZES[0], generator=generator)
        C, S = sets["train"]["C"][chosen], sets["train"]["S"][chosen]
        if copies:
            C, S = rotated(C, S, copies, generator)
        loss = ((model(C=C) - S) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % arguments.every == 0 or step == arguments.steps:
            score = frobenius(model, **sets["val"])
            if score < best:
                best, kept = score, copy.deepcopy(model.state_dict())
            if time.process_time() - start > arguments.seconds:
                break
    model.load_state_dict(kept)
    trivial = (sets["test"]["S"] - sets["train"]["S"].mean(0)).square().sum((1, 2)).mean()
    errors = (model(C=sets["test"]["C"]) - sets["test"]["S"]).detach().square().sum((1, 2))
    return {
        "model": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()), "steps": step,
        "cpu seconds": round(time.process_time() - start, 1), "val": best, "test": float(errors.mean()),
        "median test": float(errors.median()), "trivial": float(trivial),
    }  # fmt: skip


def _rate(step: int, steps: int) -> float:
    """Return the factor of the learning rate: 100 steps up, a cosine down."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def main() -> None:
    parser = argparse.ArgumentParser(description="The neo-Hookean law: tensor basis and baselines.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seeds:
        for name in arguments.models:
            rows.append(train(name, seed, arguments))
            print("  ".join(f"{k}: {v}" for k, v in rows[-1].items()), flush=True)
    if arguments.out:
        seeds = " ".join(map(str, arguments.seeds))
        about = machine(f"OMP_NUM_THREADS=1 python benchmarks/neo_hooke.py --seeds {seeds}")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
