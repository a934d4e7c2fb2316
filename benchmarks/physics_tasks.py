"""The problems of equivariant perceptrons: our tensor network beside three perceptrons, at the same CPU time, one thread.

    OMP_NUM_THREADS=1 python benchmarks/physics_tasks.py --out benchmarks/results/physics_tasks_cpu.json

Every model trains with AdamW on batches of 200, its learning rate following a cosine of the CPU time that is spent, and is
chosen on 1000 samples; errors are mean squares on 5000 others. `mlp` sees the numbers as they are, `mlp augmented` turned by
a random element of the group for every sample, `gram mlp` their scalar products alone, with the tensors v_i v_j and the unit
as outputs for matrices. All perceptrons have three hidden layers of width 384. Runs that the file has are not repeated.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.groups import metric, parse_group, symplectic_form
from geomlib.bench.results import machine
from geomlib.datasets.tasks import Samples, load_task, make_task
from geomlib.train.recorded_step import RecordedStep
from geomlib.train.task_presets import TASK_PRESETS
from geomlib.zoo import create_model

#: Group, seconds of CPU time for a run, and the learning rate of the perceptrons.
TASKS: dict[str, tuple[str, float]] = {
    "o5_synthetic": ("O(5)", 12.0),
    "inertia": ("O(3)", 60.0),
    "particle_interaction": ("O(1,3)", 12.0),
    "gaussian_states": ("Sp(4)", 12.0),
    "poisson_brackets": ("Sp(4)", 6.0),
    "path_signature": ("O(3)", 25.0),
}
MODELS = ("geomlib", "mlp", "mlp augmented", "gram mlp")
BATCH, RATE, WIDTH, BANK = 200, 3e-3, 384, 500


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, WIDTH, WIDTH, WIDTH]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


class Flat(nn.Module):
    """A perceptron of all numbers of a sample."""

    def __init__(self, sample: dict[str, Tensor], target: Tensor) -> None:
        super().__init__()
        self.shape = target.shape[1:]
        self.net = mlp(sum(v[0].numel() for v in sample.values()), target[0].numel())

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the predictions."""
        flat = torch.cat([v.flatten(1) for v in inputs.values()], 1)
        return self.net(flat).view(-1, *self.shape)


class Gram(nn.Module):
    """A perceptron of invariants: scalar products of vectors, traces of powers of matrices."""

    def __init__(self, sample: dict[str, Tensor], target: Tensor, form: Tensor) -> None:
        super().__init__()
        self.form, self.order = form, target.dim() - 1
        n = self.invariants(sample).shape[1]
        count = sample["vectors"].shape[1] if "vectors" in sample else 0
        self.rows, self.columns = torch.triu_indices(count, count)
        outputs = len(self.rows) + 1 if self.order == 2 else math.prod(target.shape[1:])
        self.net = mlp(n, outputs)

    def invariants(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return scalars, scalar products of vectors, and traces of the second and fourth power of a matrix."""
        found = [inputs["scalars"]] if "scalars" in inputs else []
        if "vectors" in inputs:
            v = inputs["vectors"]
            rows, columns = torch.triu_indices(v.shape[1], v.shape[1])
            found.append((v @ self.form @ v.mT)[:, rows, columns])
        if "matrices" in inputs:
            m = inputs["matrices"][:, 0] @ self.form
            square = m @ m
            found += [s.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) for s in (square, square @ square)]
        return torch.cat(found, 1)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the predictions."""
        found = self.net(self.invariants(inputs))
        if self.order < 2:
            return found[:, 0]
        v = inputs["vectors"]
        outer = v[:, self.rows, :, None] * v[:, self.columns, None, :]
        outer = (outer + outer.mT) / 2
        eye = torch.eye(v.shape[-1])
        return (found[:, :-1, None, None] * outer).sum(1) + found[:, -1, None, None] * eye


def acted(g: Tensor, x: Tensor, order: int) -> Tensor:  # (B, n, n), (B, ..., n, ..., n)
    """Return g on the last `order` axes of x."""
    for axis in range(x.dim() - order, x.dim()):
        moved = x.movedim(axis, -1)
        x = (moved.flatten(1, -2) @ g.mT).view(moved.shape).movedim(-1, axis)
    return x


def bank(group: str, seed: int) -> Tensor:
    """Return random elements of every component of a group."""
    found, generator = parse_group(group), torch.Generator().manual_seed(seed)
    names = found.components()
    return torch.stack([found.sample(names[k % len(names)], generator).linear for k in range(BANK)]).float()


def build(name: str, task: str, train: dict[str, Tensor], form: Tensor) -> tuple[nn.Module, float, float]:
    """Return a model, its learning rate and its weight decay."""
    entry = load_task(task)
    inputs, target = {k: train[k] for k in entry.inputs}, train[entry.target]
    scale, shift = float(target.std()), float(target.mean()) if target.dim() == 1 else 0.0
    if name == "geomlib":
        preset = TASK_PRESETS[task]["equivariant_tensor_net"]
        options = {**preset["model"], "scale": scale, "shift": shift}
        model = create_model("equivariant_tensor_net", **options)
        return model, preset["lr"], preset.get("weight_decay", 0.0)
    inner = Gram(inputs, target, form) if name == "gram mlp" else Flat(inputs, target)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, **inputs: Tensor) -> Tensor:
            return shift + scale * self.inner(**inputs)

    return Scaled(), RATE, 1e-4


def run(task: str, size: int, name: str, seed: int, seconds: float) -> dict[str, Any]:
    """Train one model and return its errors."""
    entry, group = load_task(task), TASKS[task][0]
    sets = {
        k: s.to(torch.float32).tensors
        for k, s in make_task(task, sizes=(size, 1000, 5000), seed=seed).items()
    }
    keys = (*entry.inputs, entry.target)
    train = {k: sets["train"][k] for k in keys}
    dim = int(group.split("(")[1].rstrip(")")) if "," not in group else 4
    form = {"O(1,3)": metric(1, 3), "Sp(4)": symplectic_form(4)}.get(group, torch.eye(dim)).float()
    torch.manual_seed(seed)
    model, rate, decay = build(name, task, train, form)
    elements = bank(group, seed) if name == "mlp augmented" else None
    variance = float(train[entry.target].var())
    orders = {"scalars": 0, "vectors": 1, "matrices": 2, entry.target: train[entry.target].dim() - 1}

    def predict(batch: dict[str, Tensor]) -> Tensor:
        return model(**{k: batch[k] for k in entry.inputs})

    def evaluate(batch: dict[str, Tensor], training: bool) -> tuple[Tensor, Tensor]:
        del training
        loss = (predict(batch) - batch[entry.target]).square().mean() / variance
        return loss, loss.detach()

    def score(split: str) -> float:
        with torch.no_grad():
            return float((predict(sets[split]) - sets[split][entry.target]).square().mean())

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    step, samples = RecordedStep(model, evaluate), Samples(train)
    best: tuple[float, dict[str, Tensor]] = (math.inf, {})
    start, spent, steps, next_score = time.process_time(), 0.0, 0, 0.02
    while spent < 1:
        for index in torch.randperm(size).split(BATCH):
            batch = samples.batch(index)
            if elements is not None:
                g = elements[torch.randint(BANK, (len(index),))]
                batch = {k: acted(g, v, orders[k]) for k, v in batch.items()}
            spent = min(1.0, (time.process_time() - start) / seconds)
            for part in optimizer.param_groups:
                part["lr"] = rate * min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * spent))
            optimizer.zero_grad()
            step(batch)[0].backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
        if spent >= next_score:
            found, next_score = score("val"), spent + 0.02
            if found < best[0]:
                best = (found, copy.deepcopy(model.state_dict()))
    cpu = time.process_time() - start
    model.load_state_dict(best[1])
    return {
        "task": task, "n": size, "model": name, "seed": seed, "test_mse": score("test"), "val_mse": best[0], "steps": steps,
        "cpu_seconds": round(cpu, 1), "weights": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and deviation over seeds."""
    groups: dict[tuple[str, int, str], list[float]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["n"], row["model"]), []).append(row["test_mse"])
    found = []
    for (task, n, model), errors in groups.items():
        mean = sum(errors) / len(errors)
        line = {"task": task, "n": n, "model": model, "seeds": len(errors), "test_mse": float(f"{mean:.3g}")}
        if len(errors) > 1:
            deviation = math.sqrt(sum((e - mean) ** 2 for e in errors) / (len(errors) - 1))
            line["deviation"] = float(f"{deviation:.2g}")
        found.append(line)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Physics problems: a tensor network beside perceptrons.")
    parser.add_argument(
        "--tasks", nargs="+", default=["o5_synthetic", "inertia", "particle_interaction"], choices=TASKS
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3000])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(arguments.out.read_text())["rows"] if arguments.out and arguments.out.is_file() else []
    known = {(r["task"], r["n"], r["model"], r["seed"]) for r in rows}
    cases = itertools.product(arguments.models, arguments.sizes, arguments.tasks, arguments.seeds)
    for name, size, task, seed in cases:
        if (task, size, name, seed) in known or (
            name == "gram mlp" and task in ("poisson_brackets", "path_signature")
        ):
            continue
        rows.append(run(task, size, name, seed, TASKS[task][1]))
        print(rows[-1], flush=True)
        if arguments.out:
            about = machine("OMP_NUM_THREADS=1 python benchmarks/physics_tasks.py")
            about["budget"] = {task: seconds for task, (_, seconds) in TASKS.items()}
            result = {"about": about, "summary": summary(rows), "rows": rows}
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
