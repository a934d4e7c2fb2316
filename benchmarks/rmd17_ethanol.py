r"""rMD17 ethanol, 1000 frames to train and 1000 to test: TensorNet beside torchmd-net's, the same CPU time for both.

    pip install torchmd-net==3.1.0
    OMP_NUM_THREADS=1 python benchmarks/rmd17_ethanol.py --out benchmarks/results/rmd17_ethanol_cpu.json

For every seed and recipe all are trained at the same time, each by a process of one thread until it has used its budget of
process CPU time, so all see the same machine. Initial weights, batches and loss are the same.

Two recipes, each for both libraries, so that recipe and speed can be told apart:

- ``baseline``: batch 10, Adam 3e-3, linear decay, loss :math:`\overline{\Delta E^2} + 50\,\overline{\Delta F^2}`; both
  have the cosine envelope of the paper, so both walk the same path and differ by the number of steps alone (speed);
- ``geomlib``: the settings of ``geomlib train --data ethanol``: cosine schedule with warm-up, loss 0.05/0.95, clipping;
  geomlib has its own (smooth) envelope here. What ``baseline`` -> ``geomlib`` brings to torchmd-net is the recipe's part.

geomlib makes the steps of ``geomlib train``, ``recorded`` and replayed, and in the baseline recipe ``plain`` ones (autograd at
every step) too.

The decay follows the CPU time used. geomlib reads its neighbour pairs through its own ``EpochLoader`` (found once, inside
the budget); torchmd-net offers no way to pass pairs in, so its model finds them at each step, and its batches are cut from
stacked tensors, which is the least it could cost. Kernels are compiled or loaded before the clock starts, for both;
recordings are made inside the budget.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from tensornet_speed import CUTOFF, PACKAGES, give_weights, peer_model
from torch import Tensor, nn

from geomlib import create_model
from geomlib.bench.results import machine
from geomlib.datasets import Structures, load
from geomlib.train import Batch, EpochLoader, LossWeights, Packer, TrainConfig, evaluate
from geomlib.train.captured import CapturedLoss
from geomlib.train.config import PRESETS
from geomlib.train.losses import training_loss

SHARED = Path(os.environ.get("GEOMLIB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DATA = "data/molecules/botnet/dataset_ethanol"
CHANNELS, LAYERS, RADIAL, SPECIES = 32, 1, 16, 128
SIDES = ("geomlib recorded", "geomlib plain", "torchmd-net")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; both decays reach zero at the end of the budget."""

    batch_size: int
    lr: float
    decay: str  # "linear" or "cosine"
    warmup: int  # steps
    energy_weight: float
    forces_weight: float
    clip: float  # 0: none
    envelope: str  # geomlib's; torchmd-net has the cosine one

    def rate(self, step: int, used: float) -> float:
        """Return the learning rate at a step when the fraction `used` of the budget is gone."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = 1.0 - min(used, 1.0)
        return self.lr * warm * (left if self.decay == "linear" else 0.5 * (1.0 + cos(pi * (1.0 - left))))


def _default() -> Recipe:
    """Return what `geomlib train tensornet --data ethanol` does."""
    preset = {k: v for k, v in PRESETS["ethanol"].items() if k != "model"}
    c = TrainConfig(**preset)
    config: Any = create_model("tensornet").config
    return Recipe(
        c.batch_size, c.lr, c.schedule, c.warmup, c.energy_weight, c.forces_weight, c.clip, config["envelope"]
    )


RECIPES = {"baseline": Recipe(10, 3e-3, "linear", 0, 1.0, 50.0, 0.0, "cosine"), "geomlib": _default()}


def our_model(seed: int, envelope: str) -> Any:
    torch.manual_seed(seed)
    return create_model(
        "tensornet", channels=CHANNELS, layers=LAYERS, num_radial=RADIAL, cutoff=CUTOFF, max_z=SPECIES,
        envelope=envelope,
    )  # fmt: skip


def energies(s: Structures) -> tuple[Tensor, float, float]:
    """Return the energies, their mean and their standard deviation, eV."""
    assert s.energy is not None
    return s.energy, float(s.energy.mean()), float(s.energy.std())


class Ours:
    """geomlib's model with its own loader and loss."""

    def __init__(self, train: Structures, recipe: Recipe, seed: int) -> None:
        self.model = our_model(seed, recipe.envelope)
        _, mean, std = energies(train)
        self.model.set_reference(scale=std, shift=mean)
        self.model.train()
        self.model.validate = False  # as in `geomlib train`: the data was checked when it was read
        self.weights = LossWeights(recipe.energy_weight, recipe.forces_weight)
        self.loader = EpochLoader(Packer(train, CUTOFF), recipe.batch_size, shuffle=True, seed=seed)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Return the batches of an epoch."""
        self.loader.set_epoch(epoch)
        return iter(self.loader)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return training_loss(self.model(**batch.inputs()), batch, self.weights)[0]

    def recorded_loss(self) -> Callable[[Batch], Tensor]:
        """Return the loss whose gradients come from a recording, as in `geomlib train`."""
        recorded = CapturedLoss(self.model, self.weights)
        return lambda batch: recorded(batch)[0]

    def errors(self, test: Structures) -> dict[str, float]:
        """Return the mean absolute errors in meV and meV/Å."""
        return evaluate(self.model, test)["all"]


class Peer:
    """torchmd-net's model, which starts from the same weights and sees the same batches.

    Its energies are float32: they are trained and compared without their mean, which would cost it 0.2 meV.
    """

    def __init__(self, train: Structures, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.model = peer_model(CHANNELS, LAYERS, RADIAL, SPECIES)
        give_weights(our_model(seed, "cosine"), self.model)
        _, self.mean, std = energies(train)
        self.model.std.fill_(std)
        self.model.train()
        self.frames = self._stack(train)

    def _stack(self, s: Structures) -> tuple[Tensor, ...]:
        assert s.forces is not None
        n = int(s.num_atoms[0])
        z, pos, forces = s.z.view(-1, n), s.pos.float().view(-1, n, 3), s.forces.float().view(-1, n, 3)
        return z, pos, (energies(s)[0] - self.mean).float(), forces

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Return the batches of an epoch."""
        # The order of geomlib's EpochLoader.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.frames[0]), generator=generator)
        return (self._batch(self.frames, index) for index in order.split(self.recipe.batch_size))

    @staticmethod
    def _batch(frames: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
        z, pos, energy, forces = (value[index] for value in frames)
        owner = torch.arange(len(index)).repeat_interleave(z.shape[1])
        return z.flatten(), pos.flatten(0, 1), owner, energy, forces.flatten(0, 1)

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the loss of a batch."""
        z, pos, owner, energy, forces = batch
        e, f = self.model(z, pos, owner)
        r = self.recipe
        return (
            r.energy_weight * (e.flatten() - energy).square().mean()
            + r.forces_weight * (f - forces).square().mean()
        )

    def errors(self, test: Structures) -> dict[str, float]:
        """Return the mean absolute errors in meV and meV/Å."""
        self.model.eval()
        frames = self._stack(test)
        sums = torch.zeros(2, dtype=torch.float64)
        for index in torch.arange(len(test)).split(100):
            z, pos, owner, energy, forces = self._batch(frames, index)
            e, f = self.model(z, pos, owner)
            sums[0] += (e.detach().flatten() - energy).abs().sum()
            sums[1] += (f.detach() - forces).abs().sum()
        per = sums / torch.tensor([len(test), frames[3].numel()])
        return {"E_mae": 1e3 * float(per[0]), "F_mae": 1e3 * float(per[1])}


Learner = Ours | Peer


def make_step(
    learner: Learner, optimizer: torch.optim.Optimizer, clip: float, kind: str
) -> Callable[[Any], None]:
    """Return the function that makes one training step on a batch: loss, gradients, clip, update."""
    parameters = [p for p in learner.model.parameters() if p.requires_grad]
    loss = learner.recorded_loss() if isinstance(learner, Ours) and kind == "recorded" else learner.loss

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        loss(batch).backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    return step


def fit(learner: Learner, recipe: Recipe, budget: float, start: float, kind: str) -> int:
    """Train until `budget` seconds of process CPU time have gone since `start`; return the number of steps."""
    parameters = [p for p in learner.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=0.0, fused=True)
    step = make_step(learner, optimizer, recipe.clip, kind)
    done = epoch = 0
    while True:
        for batch in learner.batches(epoch):
            used = (time.process_time() - start) / budget
            if used >= 1.0:
                return done
            optimizer.param_groups[0]["lr"] = recipe.rate(done, used)
            step(batch)
            done += 1
        epoch += 1


def read(name: str) -> Structures:
    return load(SHARED / DATA / name)


def worker(side: str, recipe: Recipe, seed: int, budget: float) -> dict[str, Any]:
    """Train one model and return its row; waits for a line on standard input when it is ready."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    train, test = read("train.xyz"), read("test_MD.xyz")
    library: type[Ours] | type[Peer] = Peer if side == "torchmd-net" else Ours
    kind = side.rpartition(" ")[2]
    # Compile or load the kernels of training and evaluation.
    warm = library(train[:40], recipe, seed)
    fit(warm, recipe, 1.0, time.process_time(), kind)
    warm.errors(test[:10])
    print("ready", flush=True)
    sys.stdin.readline()
    wall, start = time.perf_counter(), time.process_time()
    learner = library(train, recipe, seed)
    steps = fit(learner, recipe, budget, start, kind)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    errors = learner.errors(test)
    return {
        "side": side, "seed": seed, "steps": steps, "epochs": round(steps * recipe.batch_size / len(train), 1),
        "cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1), "E_mae_meV": round(errors["E_mae"], 2),
        "F_mae_meV_A": round(errors["F_mae"], 2), "parameters": sum(p.numel() for p in learner.model.parameters()),
    }  # fmt: skip


def side_by_side(sides: list[str], recipe: str, seed: int, budget: float) -> list[dict[str, Any]]:
    """Train all sides at the same time and return their rows."""
    options = ["--recipe", recipe, "--seed", str(seed), "--budget", str(budget)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", side, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for side in sides
    ]  # fmt: skip
    try:
        for process in processes:  # warp writes to standard output too
            while (line := process.stdout.readline()).strip() != "ready":  # type: ignore[union-attr]
                if not line:
                    raise RuntimeError(f"a worker ended early: {process.args}")
        for process in processes:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [{"recipe": recipe, **json.loads(text.splitlines()[-1])} for text in outputs]


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and range over the seeds, and geomlib's errors relative to torchmd-net's."""
    out = []
    for recipe, side in dict.fromkeys((r["recipe"], r["side"]) for r in rows):
        mine = [r for r in rows if (r["recipe"], r["side"]) == (recipe, side)]
        peers = [r for r in rows if (r["recipe"], r["side"]) == (recipe, "torchmd-net")]
        entry = {"recipe": recipe, "side": side, "seeds": len(mine)}
        entry["steps"] = round(statistics.mean(r["steps"] for r in mine))
        for key in ("E_mae_meV", "F_mae_meV_A"):
            values = [r[key] for r in mine]
            mean = statistics.mean(values)
            entry[key] = {"mean": round(mean, 2), "min": min(values), "max": max(values)}
            if peers and side != "torchmd-net":
                entry[key]["of_torchmd-net"] = round(mean / statistics.mean(r[key] for r in peers), 3)
        out.append(entry)
    return out


def show(rows: list[dict[str, Any]]) -> None:
    for r in rows:
        numbers = "{steps:6d} steps  E {E_mae_meV:7.2f} meV  F {F_mae_meV_A:7.2f} meV/Å".format(**r)
        print(f"{r['recipe']:9s} {r['side']:17s} seed {r['seed']} {numbers}", end="")
        print(f"  {r['cpu_seconds']:.0f} s CPU, {r['wall_seconds']:.0f} s wall", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="rMD17 ethanol, TensorNet beside torchmd-net's.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--budget", type=float, default=240.0, help="seconds of process CPU time")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--recipe", choices=RECIPES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        recipe = RECIPES[arguments.recipe]
        print(json.dumps(worker(arguments.worker, recipe, arguments.seed, arguments.budget)))
        return
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seeds:
        for recipe in arguments.recipes:
            # Plain steps in one recipe are enough to tell what replaying adds.
            sides = [s for s in arguments.sides if recipe == "baseline" or s != "geomlib plain"]
            new = side_by_side(sides, recipe, seed, arguments.budget)
            show(new)
            rows += new
    summary = summarise(rows)
    print("\nmeans over the seeds, and relative to torchmd-net")
    for s in summary:
        e, f = s["E_mae_meV"], s["F_mae_meV_A"]
        numbers = f"{s['steps']:6d} steps  E {e['mean']:7.2f} meV  F {f['mean']:7.2f} meV/Å"
        relative = f"  {e['of_torchmd-net']:.2f} {f['of_torchmd-net']:.2f}" if "of_torchmd-net" in e else ""
        print(f"{s['recipe']:9s} {s['side']:17s} {numbers}{relative}")
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/rmd17_ethanol.py", (*PACKAGES, "geomlib-torch"))
        about |= {
            "data": f"rMD17 ethanol, shared/{DATA}: train.xyz (1000) to train, test_MD.xyz (1000) to test, final weights",
            "budget_cpu_seconds": arguments.budget,
            "model": {"channels": CHANNELS, "layers": LAYERS, "num_radial": RADIAL, "cutoff": CUTOFF, "max_z": SPECIES},
            "recipes": {name: asdict(RECIPES[name]) for name in arguments.recipes},
            "reading": "baseline: same weights, batches and path, so a difference is speed (steps). geomlib: the settings of "
            "`geomlib train --data ethanol`; torchmd-net's gain from baseline to geomlib is the recipe alone.",
        }  # fmt: skip
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"about": about, "summary": summary, "rows": rows}, indent=1, ensure_ascii=False)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
