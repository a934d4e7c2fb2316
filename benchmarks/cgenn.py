"""A training step of the CGENN n-body network beside dense einsums, one thread, one process, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/cgenn.py --out benchmarks/results/cgenn_cpu.json

100 graphs of 5 particles, 2000 edges, 28 channels, 3 layers, float32; the loss is the mean square error. The dense network is
written here from the formulas as the papers' code computes them, products by a Cayley tensor weighted by path, inputs of
edges and nodes concatenated; it has the parameters of ours, and predictions and gradients are compared before anything is
timed. Times are process CPU times; a ratio is that of the minima over all rounds. `recorded` is the step as `geomlib train`
runs it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from clifford import Dense
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved
from geomlib.datasets.charged_nbody import make_charged_nbody
from geomlib.kernels.dispatch import available_backends
from geomlib.layers import CliffordEGCL
from geomlib.train.recorded_step import RecordedStep
from geomlib.zoo import CGENNNBody


class DenseNBody(Dense):
    """The network as dense contractions; the parameters are those of ``layer``."""

    layer: Any

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:  # type: ignore[override]
        """Return what the network returns."""
        samples, n = pos.shape[:2]
        net, alg = self.layer, self.layer.algebra
        node = torch.arange(n)
        one = torch.cartesian_prod(node, node)
        one = one[one[:, 0] != one[:, 1]].T
        edges = (one[:, None] + n * torch.arange(samples)[:, None]).flatten(1)
        q = alg.embed(charge.reshape(-1, 1), 0)
        x, v = (alg.embed(a.flatten(0, 1), 1) for a in (pos - pos.mean(1, keepdim=True), vel))
        mixed = torch.einsum("bci,dc->bdi", torch.stack([q, x, v], 1), net.embedding.weight)
        h = mixed + alg.embed(net.embedding.bias, 0)
        flat = charge.reshape(-1, 1)
        attr = alg.embed(flat[edges[0]] * flat[edges[1]], 0)[:, None]
        for layer in net.layers:
            h = self.egcl(layer, h, edges, attr)
        return pos + alg.extract(self.run(net.projection[0], h)[:, 0], 1).view_as(pos)

    def egcl(self, m: CliffordEGCL, h: Tensor, edges: Tensor, attr: Tensor) -> Tensor:
        """Return the update, with one row of concatenated input per edge."""
        i, j = edges
        messages = self.run(m.edge_model, torch.cat([h[i] - h[j], attr], 1))
        index = i[:, None, None].expand_as(messages)
        total = torch.zeros_like(h).scatter_add(0, index, messages)
        count = torch.zeros_like(h).scatter_add(0, index, torch.ones_like(messages))
        return h + self.run(m.node_model, torch.cat([h, total / count.clamp(min=1)], 1))


def agree(ours: CGENNNBody, dense: DenseNBody, inputs: dict[str, Tensor], target: Tensor) -> dict[str, float]:
    """Return the largest relative differences of predictions and gradients in float64 and float32.

    Raises:
        SystemExit: they are above 1e-5.
    """
    found = {}
    for dtype in (torch.float64, torch.float32):
        given = {k: v.to(dtype) for k, v in inputs.items()}
        results = []
        for net in (ours, dense):
            net.to(dtype)
            out = net(**given)
            loss = (out - target.to(dtype)).square().mean()
            results.append([out.detach(), *torch.autograd.grad(loss, list(ours.parameters()))])
        scale = max(float(b.abs().max()) for b in results[1][1:])
        gradients = max(float((a - b).abs().max()) for a, b in zip(*(r[1:] for r in results), strict=True))
        found[f"{dtype} prediction"] = float((results[0][0] - results[1][0]).abs().max())
        found[f"{dtype} gradient"] = gradients / scale
    wrong = {k: v for k, v in found.items() if not v < 1e-5}
    if wrong:
        raise SystemExit(f"the networks differ: {wrong}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step of the CGENN n-body network.")
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # The dense code divides by lengths as the released code does.
    ours = CGENNNBody(released=True)
    dense = DenseNBody(ours)
    data = make_charged_nbody(arguments.graphs, 0, start=0, end=10)
    target = data.pop("target")
    agreement = agree(ours, dense, data, target)
    print(agreement, flush=True)
    inputs = {k: v.float() for k, v in data.items()}
    target = target.float()

    def loss_of(net: nn.Module, given: dict[str, Tensor]) -> Tensor:
        return (net(**given) - target).square().mean()

    def forward(net: nn.Module) -> Callable[[], Any]:
        def run() -> None:
            with torch.no_grad():
                net(**inputs)

        return run

    def step(net: nn.Module) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(loss_of(net, inputs), list(ours.parameters()))

    recorded = RecordedStep(ours, lambda given, _: (loss_of(ours, given), torch.zeros(1)))
    runs: dict[str, dict[str, Callable[[], Any]]] = {
        "forward": {"geomlib": forward(ours), "dense": forward(dense)},
        "forward+backward": {
            "geomlib": step(ours),
            "geomlib recorded": lambda: torch.autograd.grad(recorded(inputs)[0], list(ours.parameters())),
            "dense": step(dense),
        },
    }
    rows = []
    for task, several in runs.items():
        times = interleaved(several, arguments.rounds)
        best = {name: min(column) for name, column in times.items()}
        row: dict[str, Any] = {"case": f"CGENN n-body, {arguments.graphs} graphs x 5", "task": task}
        row |= {f"{k} ms": round(1e3 * v, 2) for k, v in best.items()}
        row |= {f"dense over {k}": round(best["dense"] / v, 2) for k, v in best.items() if k != "dense"}
        print(row, flush=True)
        rows.append(row)
    shares = profile(runs["forward+backward"]["geomlib"])
    if arguments.profile:
        print("\n".join(f"{k:40}{v}" for k, v in shares.items()))
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/cgenn.py")
        about["backend"] = "Numba" if available_backends()["cpu"] == "available" else "torch"
        content = {"about": about, "agreement": agreement, "rows": rows, "percent of a step": shares}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


def profile(run: Callable[[], Any]) -> dict[str, float]:
    """Return the operations that take the most of a step by themselves, in percent."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(5):
            run()
    events = sorted(found.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    return {e.key: round(100 * e.self_cpu_time_total / total, 1) for e in events[:14]}


if __name__ == "__main__":
    main()
