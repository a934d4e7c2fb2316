"""A training step of CSMPN on a hull beside dense einsums: time in one process, in turn (A B A B), memory in two.

    OMP_NUM_THREADS=1 python benchmarks/csmpn.py --out benchmarks/results/csmpn_cpu.json

One sample of eight points in five dimensions with 88 simplices and 820 messages as the authors' code counts them, with its
repetitions, 28 channels, 3 layers, float32; the loss is the mean square
error. The dense network is written here from the formulas as the papers' code computes them, products by a Cayley tensor
weighted by path, inputs of edges and nodes concatenated, the orders of the vertices of a simplex one after the other; it has
the parameters of ours, and losses and gradients are compared in float64 before anything is timed. Times are process CPU times;
a ratio is that of the minima over all rounds. Memory is the highest resident set during a step less that before it, after a
step on a small complex.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from cgenn import DenseNBody
from resident import reset, resident
from torch import Tensor

from geomlib.algebra.simplicial import SimplicialComplex, hull_complex, to_message_graph
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved
from geomlib.datasets.hulls import hull_volumes
from geomlib.kernels.dispatch import available_backends
from geomlib.zoo.csmpn import CSMPN
from geomlib.zoo.lifted import lifted_inputs

SIDES = ("geomlib", "dense")
SIMPLICES, MESSAGES = 88, 820


class DenseHull(DenseNBody):
    """The network as dense contractions; the parameters are those of ``layer``."""

    def forward(self, pos: Tensor, edges: Tensor, triangles: Tensor, edge_index: Tensor) -> Tensor:  # type: ignore[override]
        """Return what the network returns."""
        net, alg, (clouds, points, dim) = self.layer, self.layer.algebra, pos.shape
        x = alg.embed((pos - pos.mean(1, keepdim=True)).reshape(clouds * points, 1, dim), 1)
        embedding = net.cl_feature_embedding
        parts = [self.run(embedding.get_submodule("0"), x)]
        for simplices in (edges, triangles):
            network, orders = (
                embedding.get_submodule(str(len(simplices) - 1)),
                itertools.permutations(simplices),
            )
            each = (self.run(network, torch.cat([x[v] for v in order], 1)) for order in orders)
            parts.append(reduce(torch.add, each))
        h = torch.cat(parts)
        kinds = torch.repeat_interleave(
            torch.eye(3, dtype=pos.dtype), torch.tensor([len(p) for p in parts]), 0
        )
        kinds = alg.embed(kinds[..., None], 0)
        for layer in net.layers:
            h = self.simplicial(layer, h, edge_index, kinds)
        scalar = self.run(net.projection[0], h)[:, 0, 0]
        cloud = torch.cat([torch.arange(clouds * points), edges[0], triangles[0]]) // points
        total = torch.zeros(clouds, dtype=pos.dtype).index_add(0, cloud, scalar)
        return total / torch.bincount(cloud)

    def simplicial(self, m: Any, h: Tensor, edge_index: Tensor, kinds: Tensor) -> Tensor:
        """Return the update, with one row of concatenated input per message."""
        j, i = edge_index
        messages = self.run(m.edge_model, torch.cat([h[i] - h[j], kinds[j], kinds[i]], 1))
        index = i[:, None, None].expand_as(messages)
        total = torch.zeros_like(h).scatter_add(0, index, messages)
        count = torch.zeros_like(h).scatter_add(0, index, torch.ones_like(messages))
        return h + self.run(m.node_model, torch.cat([h, total / count.clamp(min=1), kinds], 1))


def sample() -> tuple[Tensor, SimplicialComplex]:
    """Return the first random cloud whose lift has the size that is asked for."""
    generator = torch.Generator().manual_seed(0)
    clouds = torch.randn(4096, 8, 5, generator=generator, dtype=torch.float64)
    complex = hull_complex(clouds)
    for number in range(len(clouds)):
        one = complex.select(torch.tensor([number]))
        simplices = 8 + one.edges.shape[1] + one.triangles.shape[1]
        if simplices == SIMPLICES and to_message_graph(one, legacy_duplicates=True).shape[1] == MESSAGES:
            return clouds[number : number + 1], one
    raise SystemExit(f"no cloud has {SIMPLICES} simplices and {MESSAGES} messages")


def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    # The dense code divides by lengths as the released code does.
    ours = CSMPN(safe=False, legacy_duplicates=True)
    return {"geomlib": ours, "dense": DenseHull(ours)}


def step_of(net: torch.nn.Module, dtype: torch.dtype) -> Callable[[], tuple[Tensor, ...]]:
    """Return a step that gives the loss and all gradients."""
    pos, complex = sample()
    inputs = {"pos": pos.to(dtype), **lifted_inputs(complex, legacy_duplicates=True)}
    target = torch.from_numpy(hull_volumes(pos.numpy())).to(dtype)
    parameters = list(net.parameters())

    def step() -> tuple[Tensor, ...]:
        loss = (net(**inputs) - target).square().mean()
        return (loss.detach(), *torch.autograd.grad(loss, parameters))

    return step


def agree(nets: dict[str, torch.nn.Module]) -> dict[str, float]:
    """Return the relative differences of losses and gradients in float64.

    Raises:
        SystemExit: they are above 1e-9.
    """
    ours, dense = (step_of(net.double(), torch.float64)() for net in nets.values())
    scale = max(float(b.abs().max()) for b in dense[1:])
    found = {
        "loss": float((ours[0] - dense[0]).abs() / dense[0].abs()),
        "gradient": max(float((a - b).abs().max()) for a, b in zip(ours[1:], dense[1:], strict=True)) / scale,
    }
    if not max(found.values()) < 1e-9:
        raise SystemExit(f"the networks differ: {found}")
    return found


def memory(side: str) -> float:
    """Return by how much this process grows during a step, in MiB."""
    net = networks()[side]
    pos = torch.eye(6, 5)[None]
    net(pos=pos, **lifted_inputs(hull_complex(pos))).sum().backward()  # loads and compiles everything
    net.zero_grad(set_to_none=True)
    step = step_of(net, torch.float32)
    before = reset()
    step()
    return resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step of CSMPN on a hull.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="processes whose memory is measured, per side")
    parser.add_argument("--memory", choices=SIDES, help="measure memory in this process, and nothing else")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        print(memory(arguments.memory))
        return
    nets = networks()
    agreement = agree(nets)
    print(agreement, flush=True)
    steps = {side: step_of(net.float(), torch.float32) for side, net in nets.items()}
    forward = {side: _without_gradients(net) for side, net in nets.items()}
    rows = []
    for task, runs in (("forward", forward), ("forward+backward", steps)):
        best = {side: min(column) for side, column in interleaved(runs, arguments.rounds).items()}
        row: dict[str, Any] = {"task": task} | {f"{k} ms": round(1e3 * v, 1) for k, v in best.items()}
        row["dense over geomlib"] = round(best["dense"] / best["geomlib"], 2)
        print(row, flush=True)
        rows.append(row)
    peaks: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(arguments.repeats):
        for side in SIDES:
            command = [sys.executable, __file__, "--memory", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[side].append(float(done.stdout))
    peak = {f"{side} MiB": round(statistics.median(values), 1) for side, values in peaks.items()}
    peak["dense over geomlib"] = round(peak["dense MiB"] / peak["geomlib MiB"], 2)
    print(peak, flush=True)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/csmpn.py")
        about["backend"] = "Numba" if available_backends()["cpu"] == "available" else "torch"
        case = f"1 hull, 8 points, dim 5, {SIMPLICES} simplices, {MESSAGES} messages, 28 channels, 3 layers, float32"
        content = {"about": about, "case": case, "agreement": agreement, "rows": rows, "peak of a step": peak}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


def _without_gradients(net: torch.nn.Module) -> Callable[[], Tensor]:
    pos, complex = sample()
    inputs = {"pos": pos.float(), **lifted_inputs(complex, legacy_duplicates=True)}

    def run() -> Tensor:
        with torch.no_grad():
            return net(**inputs)

    return run


if __name__ == "__main__":
    main()
