"""Memory of a training step of TensorNet beside torchmd-net's: every figure from a process of its own.

    pip install torchmd-net==3.1.0
    OMP_NUM_THREADS=1 python benchmarks/tensornet_memory.py --out benchmarks/results/tensornet_memory_cpu.json

A process builds one model (the same weights on both sides), trains on a single water molecule, so that all code is loaded
and all kernels are compiled, gives free memory back, notes its resident set, and takes training steps (energies, forces,
loss of both, gradients, AdamW). What is counted is the highest resident set during the steps less the noted one: tensors,
what autograd keeps, gradients and the optimizer's state. Linux only: the kernel's own high-water mark is reset and read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from resident import reset, resident
from tensornet_speed import CUTOFF, MAX_Z, PACKAGES, RADIAL, SYSTEMS, System, give_weights, peer_model
from torch import Tensor

from geomlib import create_model
from geomlib.bench.results import machine
from geomlib.kernels.neighbors import half_pairs
from geomlib.train.batching import Batch
from geomlib.train.captured import CapturedLoss
from geomlib.train.losses import LossWeights

SIDES = ("plain", "recorded", "torchmdnet")
STEPS = 5


def water(periodic: bool) -> System:
    pos = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    return (
        torch.tensor([8, 1, 1]),
        pos,
        torch.zeros(3, dtype=torch.long),
        12 * torch.eye(3) if periodic else None,
    )


def recorded_loss(model: torch.nn.Module) -> Callable[[System], Tensor]:
    """Return the loss that `geomlib train` takes on a CPU: recorded once per size, then replayed."""
    function = CapturedLoss(model, LossWeights(1.0, 1.0))

    def loss(system: System) -> Tensor:
        z, pos, batch, cell = system
        graphs = int(batch.max()) + 1
        cells = None if cell is None else cell[None]
        pbc = None if cell is None else torch.ones(1, 3, dtype=torch.bool)
        atoms = torch.bincount(batch, minlength=graphs)
        energy = torch.zeros(graphs, dtype=torch.float64)
        pairs = half_pairs(pos, CUTOFF, batch, cells, pbc)
        return function(
            Batch(z, pos, batch, pairs, atoms, atoms, cells, pbc, energy=energy, forces=torch.zeros_like(pos))
        )[0]

    return loss


def measure(name: str, channels: int, layers: int, side: str) -> dict[str, float]:
    """Return by how much this process grew, in MiB: at most during its first step, during later ones, and in between.

    A recorded step keeps its arrays between steps (kept), and needs more while it is recorded (first).
    """
    torch.manual_seed(0)
    options = {"channels": channels, "layers": layers, "num_radial": RADIAL, "cutoff": CUTOFF, "max_z": MAX_Z}
    model: Any = create_model("tensornet", envelope="cosine", **options).train()
    if side == "torchmdnet":
        ours, model = model, peer_model(channels, layers).train()
        give_weights(ours, model)
        del ours
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    recorded = recorded_loss(model) if side == "recorded" else None

    def step(system: System) -> float:
        z, pos, batch, cell = system
        optimizer.zero_grad()
        if recorded is not None:
            loss = recorded(system)
        elif side == "plain":
            out = model(z, pos, batch, cell=cell)
            loss = out["energy"].square().mean() + out["forces"].square().mean()
        else:
            energy, forces = model(z, pos.clone(), batch, box=cell)
            loss = energy.square().mean() + forces.square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    system = SYSTEMS[name]()
    for _ in range(3):
        step(water(system[3] is not None))
    optimizer.state.clear()
    optimizer.zero_grad(set_to_none=True)
    before = reset()
    loss = step(system)
    first = resident("VmHWM") - before
    kept = reset() - before
    for _ in range(STEPS - 1):
        step(system)
    later = resident("VmHWM") - before
    return {
        "first_MiB": first,
        "later_MiB": later,
        "peak_MiB": max(first, later),
        "kept_MiB": kept,
        "loss": loss,
    }


def in_a_process(*case: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", *case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(case)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, size: str, repeats: int) -> dict[str, Any]:
    """Return the medians of the sides, each measured in processes of its own, in turn."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            found[side].append(in_a_process(name, size, side))
    row: dict[str, Any] = {"system": name, "size": size}
    for key in ("first_MiB", "later_MiB", "peak_MiB", "kept_MiB"):
        for side in SIDES:
            row[f"{side}_{key}"] = round(statistics.median(x[key] for x in found[side]), 1)
    for side in SIDES[:2]:
        row[f"{side}_ratio"] = round(row["torchmdnet_peak_MiB"] / row[f"{side}_peak_MiB"], 2)
    row["loss"] = {side: float(f"{found[side][0]['loss']:.6g}") for side in SIDES}
    text = f"{name:12s} {size:6s}" + "".join(f" {row[f'{side}_peak_MiB']:11.1f}" for side in SIDES)
    print(text + f" {row['plain_ratio']:7.2f}x {row['recorded_ratio']:7.2f}x", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a training step: TensorNet beside torchmd-net's.")
    parser.add_argument("--systems", nargs="+", default=["16 ethanols", "Cu 500"], choices=SYSTEMS)
    parser.add_argument("--sizes", nargs="+", default=["64/1", "128/2"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs=3, metavar=("SYSTEM", "SIZE", "SIDE"), help="measure in this process")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if arguments.only:
        name, size, side = arguments.only
        channels, layers = map(int, size.split("/"))
        print(json.dumps(measure(name, channels, layers, side)))
        return
    print(f"system       size   {'   '.join(SIDES)}, MiB at the peak of {STEPS} training steps; ratios")
    rows = [compare(name, size, arguments.repeats) for size in arguments.sizes for name in arguments.systems]
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/tensornet_memory.py", PACKAGES)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
