"""The network of Aut(G) beside four baselines on coupled oscillators, trained alike.

    OMP_NUM_THREADS=1 python benchmarks/aut_graph.py --seeds 0 1 2 --out benchmarks/results/aut_graph_cpu.json

- ``orbits``: `aut_network`, one weight for each of the 14 orbits of pairs;
- ``powers``: the same arrangement with powers of the adjacency matrix and the matrix of ones, which span 6 of the 14;
- ``permutations``: the same with the maps of S_10, of which there are 2;
- ``mlp``: a network of the 20 inputs; ``mlp, moved`` sees every batch moved by random automorphisms.

Linear maps commute with the group, but products of nodes let a network of few maps tell more of the graph: the scores say
how far that goes. Every model is trained with two rates and the one that is better in validation counts.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams.orbit_groups import AutGraph
from geomlib.bench.results import machine
from geomlib.datasets.aut_graph import SKELETON
from geomlib.datasets.tasks import make_task
from geomlib.zoo.aut_network import AutNetwork

ATOMS, CHANNELS, LAYERS = 10, 16, 2


class Powers(nn.Module):
    """A linear map of features of nodes by powers of the adjacency matrix and the matrix of ones."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        a = torch.zeros(ATOMS, ATOMS)
        for i, j in SKELETON:
            a[i, j] = a[j, i] = 1.0
        # Five different eigenvalues: five powers span all of them.
        maps = [torch.linalg.matrix_power(a, p) for p in range(5)] + [torch.ones(ATOMS, ATOMS)]
        self.register_buffer("maps", torch.stack([m / m.sum(1).max() for m in maps]))
        self.weight = nn.Parameter(torch.randn(len(maps), out, into) * math.sqrt(2 / (into * len(maps))))
        self.bias = nn.Parameter(torch.zeros(out, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, in, n) -> (B, out, n)
        """Return the image."""
        return torch.einsum("doi,dnm,bim->bon", self.weight, self.maps, x) + self.bias


class PowerNetwork(nn.Module):
    """The arrangement of `aut_network` on other linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Powers(2 if k == 0 else CHANNELS, 2 * CHANNELS) for k in range(LAYERS))
        self.last = Powers(CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return values of the nodes."""
        for layer in self.layers:
            value, gate = layer(x).chunk(2, 1)
            x = value * nn.functional.silu(gate)
        return self.last(x)[:, 0]


class MLP(nn.Module):
    """A network that knows no symmetry."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * ATOMS, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, ATOMS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return values of the nodes."""
        return self.layers(x)


def network(edges: Any) -> AutNetwork:
    """Return the zoo's network for the automorphisms of these edges."""
    return AutNetwork(edges, ATOMS, features=2, channels=CHANNELS, layers=LAYERS)


MODELS = {
    "orbits": lambda: network(SKELETON),
    "powers": PowerNetwork,
    "permutations": lambda: network([]),
    "mlp": MLP,
    "mlp, moved": MLP,
}


def moved(x: Tensor, y: Tensor, elements: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return every sample under a random automorphism."""
    p = elements[torch.randint(len(elements), (len(x),), generator=generator)]
    return torch.gather(x, 2, p[:, None].expand_as(x)), torch.gather(y, 1, p)


def train(name: str, lr: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return scores of one run."""
    sizes = (arguments.samples, 500, 2000)
    sets = {k: s.to(torch.float32).tensors for k, s in make_task("aut_graph", sizes=sizes, seed=seed).items()}
    elements = torch.tensor(list(AutGraph(SKELETON, ATOMS).automorphisms.chain))
    torch.manual_seed(seed)
    model, generator = MODELS[name](), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    best, kept, start = math.inf, copy.deepcopy(model.state_dict()), time.process_time()

    def score(split: str) -> float:
        with torch.no_grad():
            return float((model(sets[split]["x"]) - sets[split]["rate"]).square().mean())

    for step in range(1, arguments.steps + 1):
        chosen = torch.randint(arguments.samples, (arguments.batch,), generator=generator)
        x, y = sets["train"]["x"][chosen], sets["train"]["rate"][chosen]
        if name == "mlp, moved":
            x, y = moved(x, y, elements, generator)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 and (found := score("val")) < best:
            best, kept = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    trivial = (sets["test"]["rate"] - sets["train"]["rate"].mean(0)).square().mean()
    return {
        "model": name, "seed": seed, "lr": lr, "parameters": sum(p.numel() for p in model.parameters()),
        "cpu seconds": round(time.process_time() - start, 1), "val": best, "test": score("test"), "trivial": float(trivial),
    }  # fmt: skip


def main() -> None:
    """Train all models and print a row for each."""
    parser = argparse.ArgumentParser(description="Coupled oscillators: Aut(G) and baselines.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--lrs", type=float, nargs="*", default=[1e-2, 3e-3])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.models:
        for seed in arguments.seeds:
            runs = [train(name, lr, seed, arguments) for lr in arguments.lrs]
            rows.append(min(runs, key=lambda row: row["val"]))
            print("  ".join(f"{k}: {v}" for k, v in rows[-1].items()), flush=True)
    if arguments.out:
        seeds = " ".join(map(str, arguments.seeds))
        about = machine(f"OMP_NUM_THREADS=1 python benchmarks/aut_graph.py --seeds {seeds}")
        about |= {"samples": arguments.samples, "steps": arguments.steps, "batch": arguments.batch}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
