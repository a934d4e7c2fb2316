"""TensorNet beside torchmd-net's, same weights, one thread, one process, in turn (A B A B): a table of ratios.

    pip install torchmd-net==3.1.0
    OMP_NUM_THREADS=1 python benchmarks/tensornet_speed.py --out benchmarks/results/tensornet_speed_cpu.json

Times are process CPU times; the neighbour lists of both sides are included. "recorded" is what `geomlib train` and the
calculator do by default on a CPU: the step is recorded once per size and replayed; "plain" is a call of the model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib import create_model
from geomlib.bench.results import machine
from geomlib.interop import to_torchmdnet_state_dict
from geomlib.kernels.neighbors import half_pairs
from geomlib.train.batching import Batch
from geomlib.train.captured import CapturedLoss
from geomlib.train.losses import LossWeights
from geomlib.zoo.captured import CapturedPotential

CUTOFF, RADIAL, MAX_Z = 4.5, 32, 100
PACKAGES = ("torch", "numba", "numpy", "torchmd-net", "warp-lang")
System = tuple[Tensor, Tensor, Tensor, Tensor | None]


def ethanols(count: int) -> System:
    from ase.build import molecule

    atoms, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    pos = np.concatenate([atoms.positions + 0.05 * rng.normal(size=(9, 3)) for _ in range(count)])
    batch = torch.arange(count).repeat_interleave(9)
    return torch.tensor(np.tile(atoms.numbers, count)), torch.tensor(pos, dtype=torch.float32), batch, None


def copper(repeat: int) -> System:
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(0.05, seed=0)
    cell = torch.tensor(np.array(atoms.cell), dtype=torch.float32)
    pos = torch.tensor(atoms.positions, dtype=torch.float32)
    return torch.tensor(atoms.numbers), pos, torch.zeros(len(atoms), dtype=torch.long), cell


def chain(atoms: int) -> System:
    """A random open cluster of one structure, at the density of a liquid."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:atoms] * 2.2
    pos = torch.tensor(grid + 0.1 * rng.normal(size=(atoms, 3)), dtype=torch.float32)
    return torch.full((atoms,), 8), pos, torch.zeros(atoms, dtype=torch.long), None


SYSTEMS: dict[str, Callable[[], System]] = {
    "16 ethanols": lambda: ethanols(16),
    "8 ethanols": lambda: ethanols(8),
    "Cu 500": lambda: copper(5),
    **{f"cluster {n}": (lambda n=n: chain(n)) for n in (1, 2, 8, 32, 128, 512, 2000)},
}


def peer_model(channels: int, layers: int, num_radial: int = RADIAL, max_z: int = MAX_Z) -> Any:
    from torchmdnet.models.model import create_model as create

    return create({
        "model": "tensornet", "embedding_dimension": channels, "num_layers": layers, "num_rbf": num_radial,
        "rbf_type": "expnorm", "trainable_rbf": False, "activation": "silu", "cutoff_lower": 0.0,
        "cutoff_upper": CUTOFF, "max_z": max_z, "max_num_neighbors": 128, "equivariance_invariance_group": "O(3)",
        "prior_model": None, "output_model": "Scalar", "reduce_op": "add", "precision": 32, "derivative": True,
        "check_errors": True, "static_shapes": False, "box_vecs": None, "atom_filter": -1, "prior_args": None,
        "vector_cutoff": False,
    })  # fmt: skip


def give_weights(ours: Any, peer: Any) -> None:
    """Copy the weights of geomlib's model into torchmd-net's."""
    missing, unexpected = peer.load_state_dict(to_torchmdnet_state_dict(ours), strict=False)
    if unexpected or any(
        "box" not in k and "expansion" not in k and k not in ("mean", "std") for k in missing
    ):
        raise RuntimeError(f"weights do not fit: missing {missing}, unexpected {unexpected}")


def compare(name: str, channels: int, layers: int, repeats: int) -> list[dict[str, Any]]:
    z, pos, batch, cell = SYSTEMS[name]()
    options = {"channels": channels, "layers": layers, "num_radial": RADIAL, "cutoff": CUTOFF, "max_z": MAX_Z}
    ours, peer = create_model("tensornet", envelope="cosine", **options), peer_model(channels, layers)
    give_weights(ours, peer)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.0, fused=True) for m in (ours, peer)]
    graphs = int(batch.max()) + 1
    cells = None if cell is None else cell[None]
    pbc = None if cell is None else torch.ones(1, 3, dtype=torch.bool)
    recorded, loss_of = CapturedPotential(ours), CapturedLoss(ours, LossWeights(1.0, 1.0))
    zeros = torch.zeros(graphs, dtype=torch.float64), torch.zeros_like(pos)

    def our_forces() -> Tensor:
        ours.eval()
        with torch.no_grad():
            return ours(z, pos, batch, cell=cell)["forces"]

    def peer_forces() -> Tensor:
        peer.eval()
        return peer(z, pos.clone(), batch, box=cell)[1]

    def our_recorded_forces() -> Tensor:
        ours.eval()
        return recorded(z, pos, batch, cell=cells, pbc=pbc)["forces"]

    def our_recorded_step() -> None:
        ours.train()
        pairs = half_pairs(pos, CUTOFF, batch, cells, pbc)
        atoms = torch.bincount(batch, minlength=graphs)
        full = Batch(z, pos, batch, pairs, atoms, atoms, cells, pbc, energy=zeros[0], forces=zeros[1])
        loss, _ = loss_of(full)
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()

    def our_step() -> None:
        ours.train()
        out = ours(z, pos, batch, cell=cell)
        optimizers[0].zero_grad()
        (out["energy"].square().mean() + out["forces"].square().mean()).backward()
        optimizers[0].step()

    def peer_step() -> None:
        peer.train()
        energy, forces = peer(z, pos.clone(), batch, box=cell)
        optimizers[1].zero_grad()
        (energy.square().mean() + forces.square().mean()).backward()
        optimizers[1].step()

    a, b = our_forces(), peer_forces().detach()
    difference = float((a - b).abs().max() / b.square().mean().sqrt().clamp(min=1e-12))
    rows = []
    for task, functions in (
        ("energy+forces", (our_forces, our_recorded_forces, peer_forces)),
        ("training step", (our_step, our_recorded_step, peer_step)),
    ):
        times: tuple[list[float], ...] = ([], [], [])
        for k in range(repeats + 3):
            for function, column in zip(functions, times, strict=True):
                start = time.process_time()
                function()
                if k >= 3:
                    column.append(1e3 * (time.process_time() - start))
        plain, replayed = (
            statistics.median(p / o for o, p in zip(t, times[2], strict=True)) for t in times[:2]
        )
        rows.append({
            "system": name, "atoms": len(z), "channels": channels, "layers": layers, "task": task,
            "plain_ms": round(statistics.median(times[0]), 3), "recorded_ms": round(statistics.median(times[1]), 3),
            "torchmdnet_ms": round(statistics.median(times[2]), 3), "plain_ratio": round(plain, 2),
            "recorded_ratio": round(replayed, 2), "force_difference": float(f"{difference:.1e}"),
        })  # fmt: skip
        row = "{system:14s} {channels:4d}/{layers} {task:14s} {plain_ms:9.2f} {recorded_ms:9.2f} {torchmdnet_ms:9.2f}"
        print((row + " {plain_ratio:6.2f}x {recorded_ratio:6.2f}x").format(**rows[-1]), flush=True)
    made = {"energy+forces": recorded.replay.seconds, "training step": loss_of.replay.seconds}
    for line in rows:
        line["recording_s"] = round(made[line["task"]], 2)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="TensorNet beside torchmd-net's: a table of ratios.")
    parser.add_argument(
        "--systems", nargs="+", default=["16 ethanols", "8 ethanols", "Cu 500"], choices=SYSTEMS
    )
    parser.add_argument("--sizes", nargs="+", default=["64/1", "128/2"])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print("system         size task              plain  recorded  torchmd-net (Warp), ms; ratios")
    rows = []
    for size in arguments.sizes:
        channels, layers = map(int, size.split("/"))
        for name in arguments.systems:
            rows += compare(name, channels, layers, arguments.repeats)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/tensornet_speed.py", PACKAGES)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
