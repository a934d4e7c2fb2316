"""Tetris at several training sizes: networks of learned motions beside a perceptron, EGNN, and the released layers.

    OMP_NUM_THREADS=1 python benchmarks/tetris.py --seconds 20 --out benchmarks/results/tetris_cpu.json

Every model gets the same samples, the same CPU time on one thread (steps recorded and replayed), the same recipe (Adam,
warm-up, cosine, batches of 64, a learning rate of its own) and the same form: positions are seen from the centre of the last
frame, and the network adds to points that go on as in the last two frames. Every batch is turned, mirrored, played backwards
and its points are reordered at random (``--no-augment`` leaves that out), for all models alike: these are symmetries of the
problem. With ``--absolute`` the networks of motions and the perceptron see and predict absolute positions instead.

- MLP: two hidden layers of 372, about as many weights as GCA-MLP with 128 channels.
- EGNN: Satorras, Hoogeboom and Welling, arXiv 2102.09844, with velocities: coordinates and velocity are those of the last
  frame; it also gets what is invariant in the frames, lengths and products of displacements of a point and all distances.
- released: the same networks with the initial values and the overwriting of the authors' code, so that translations stay zero.
- released, dense: also computed as in the authors' code, all 16 blades, sandwich by sandwich (see gcan.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gcan import DenseGNN, dense_linears
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.datasets.tetris import TETRIS, make_tetris
from geomlib.train.recorded_step import RecordedStep
from geomlib.zoo import GCAGNN, GCAMLP
from geomlib.zoo._motion import framed
from geomlib.zoo._samples import complete_graph


class MLP(nn.Module):
    """A perceptron of all coordinates."""

    def __init__(self, hidden: int = 372, start: str = "velocity", centred: bool = True) -> None:
        super().__init__()
        self.start, self.centred = start, centred
        self.net = nn.Sequential(
            nn.Linear(48, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 48)
        )  # fmt: skip

    def forward(self, pos: Tensor) -> Tensor:
        """Return the next frames."""
        seen, base = framed(pos, 4, self.start, self.centred)
        found = self.net(seen.flatten(1)).view_as(pos)
        return found if base is None else base + found


def _network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class EGNN(nn.Module):
    """Equivariant graph network with velocities; one coordinate per frame to predict."""

    def __init__(self, hidden: int = 64, steps: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Linear(6, hidden)
        self.edge = nn.ModuleList(_network(2 * hidden + 4, hidden, hidden) for _ in range(steps))
        self.node = nn.ModuleList(_network(2 * hidden, hidden, hidden) for _ in range(steps))
        self.along = nn.ModuleList(_network(hidden, hidden, 4) for _ in range(steps))
        self.speed = nn.ModuleList(_network(hidden, hidden, 4) for _ in range(steps))
        for network in (*self.along, *self.speed):
            nn.init.xavier_uniform_(network[-1].weight, gain=0.001)
            nn.init.zeros_(network[-1].bias)

    def forward(self, pos: Tensor) -> Tensor:
        """Return the next frames."""
        samples, _, points, _ = pos.shape
        target, source = complete_graph(samples, points, pos.device)
        frames = pos.transpose(1, 2).flatten(0, 1)  # (N, 4, 3)
        moves = frames[:, 1:] - frames[:, :-1]
        near, far = (moves[:, 1:] * moves[:, :-1]).sum(-1), (moves[:, 2:] * moves[:, :1]).sum(-1)
        h = self.embedding(torch.cat([(moves.square().sum(-1) + 1e-12).sqrt(), near, far], -1))
        velocity = moves[:, -1:]
        ahead = torch.arange(1, 5, dtype=pos.dtype)[:, None]
        x = frames[:, -1:] + ahead * velocity
        distances = (frames[target] - frames[source]).square().sum(-1)
        for edge, node, along, speed in zip(self.edge, self.node, self.along, self.speed, strict=True):
            message = nn.functional.silu(edge(torch.cat([h[target], h[source], distances], -1)))
            apart = x[target] - x[source]
            pull = torch.zeros_like(x).index_add(0, target, apart * along(message)[..., None])
            x = x + speed(h)[..., None] * velocity + pull / (points - 1)
            distances = (x[target] - x[source]).square().sum(-1)
            h = h + node(torch.cat([h, torch.zeros_like(h).index_add(0, target, message)], -1))
        return x.view(samples, points, 4, 3).transpose(1, 2)


RELEASED: dict[str, Any] = {"blades": "coordinates", "e123_init": 0.0, "overwrite": True}
SMALL: dict[str, Any] = {"channels": 16, "message_channels": 16, "hidden": 32, "steps": 3}
#: Builders that take the form of the prediction, and learning rates.
MODELS: dict[str, tuple[Callable[..., nn.Module], float]] = {
    "MLP": (MLP, 1e-3),
    "EGNN": (lambda **form: EGNN(), 2e-3),
    "GCA-MLP": (lambda **form: GCAMLP(hidden=64, **form), 5e-3),
    "GCA-GNN": (lambda **form: GCAGNN(**SMALL, **form), 5e-3),
    "GCA-GNN, e123_init=0.1": (lambda **form: GCAGNN(**SMALL, e123_init=0.1, **form), 5e-3),
    "released GCA-MLP": (lambda **form: GCAMLP(hidden=64, **RELEASED, **form), 5e-3),
    "released GCA-GNN": (lambda **form: GCAGNN(**SMALL, **RELEASED, **form), 5e-3),
    "released GCA-MLP, dense": (
        lambda **form: dense_linears(GCAMLP(hidden=64, **{**RELEASED, "blades": "all"}, **form)), 5e-3,
    ),
    "released GCA-GNN, dense": (
        lambda **form: DenseGNN(GCAGNN(**SMALL, **{**RELEASED, "blades": "all"}, **form)), 5e-3,
    ),
}  # fmt: skip
ABSOLUTE: dict[str, Any] = {"start": "zero", "centred": False}


def varied(x: Tensor, absolute: bool) -> Tensor:
    """Return trajectories (B, 8, 4, 3) turned, mirrored, played backwards and with reordered points, each at random."""
    count = len(x)
    q = nn.functional.normalize(torch.randn(count, 4), dim=1)
    w, v = q[:, :1], q[:, 1:]
    zero = torch.zeros(count)
    cross = torch.stack([zero, -v[:, 2], v[:, 1], v[:, 2], zero, -v[:, 0], -v[:, 1], v[:, 0], zero], 1).view(
        -1, 3, 3
    )
    turn = torch.eye(3) + 2 * w[..., None] * cross + 2 * cross @ cross
    turn = turn * (1 - 2 * torch.randint(0, 2, (count, 1, 1)))
    x = torch.einsum("bij,btpj->btpi", turn, x)
    if not absolute:  # the last centres lie farther from the origin than the first
        x = torch.where(torch.rand(count, 1, 1, 1) < 0.5, x.flip(1), x)
    order = torch.rand(count, 4).argsort(1)
    return x.gather(2, order[:, None, :, None].expand(-1, 8, -1, 3))


def trained(name: str, size: int, arguments: argparse.Namespace, test: dict[str, Tensor]) -> dict[str, Any]:
    """Return the test error of one model after its CPU time."""
    make, rate = MODELS[name]
    seconds, seed, augment = arguments.seconds, arguments.seed, arguments.augment
    torch.manual_seed(seed)
    model = make(**(ABSOLUTE if arguments.absolute else {}))
    data = make_tetris(size, 3 * seed)
    whole = torch.cat([data["pos"], data["future"]], 1).float()
    adam = torch.optim.Adam(model.parameters(), lr=rate)

    def evaluate(inputs: dict[str, Tensor], training: bool) -> tuple[Tensor, Tensor]:
        return (model(inputs["pos"]) - inputs["future"]).square().mean(), torch.zeros(1)

    step = RecordedStep(model, evaluate)
    start, steps, loss = time.process_time(), 0, torch.tensor(0.0)
    while (used := (time.process_time() - start) / seconds) < 1:
        for group in adam.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 50) * (1 + math.cos(math.pi * used)) / 2
        batch = whole[torch.randint(size, (64,))]
        batch = varied(batch, arguments.absolute) if augment else batch
        loss, _ = step({"pos": batch[:, :4].contiguous(), "future": batch[:, 4:].contiguous()})
        adam.zero_grad()
        loss.backward()
        adam.step()
        steps += 1
    with torch.no_grad():
        error = float((model(test["pos"]) - test["future"]).square().mean())
    return {
        "model": name, "train_size": size, "seed": seed, "augment": augment, "absolute": arguments.absolute,
        "test_mse": round(error, 6),
        "last_batch_mse": round(float(loss.detach()), 6), "steps": steps,
        "weights": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Tetris at several training sizes.")
    parser.add_argument("--seconds", type=float, default=20, help="CPU time of every run")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 1024, 4096, 16384])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--absolute", action="store_true", help="see and predict absolute positions")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    test = {k: v.float() for k, v in make_tetris(2048, 3 * arguments.seed + 2).items() if k != "shape"}
    trivial = TETRIS.baselines(test, test)
    print(trivial, flush=True)
    rows = []
    for size in arguments.sizes:
        for name in arguments.models:
            rows.append(trained(name, size, arguments, test))
            print(rows[-1], flush=True)
            if arguments.out:
                about = machine(
                    f"OMP_NUM_THREADS=1 python benchmarks/tetris.py --seconds {arguments.seconds:g}"
                )
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                found = {"about": about, "seconds": arguments.seconds, "trivial": trivial, "rows": rows}
                arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
