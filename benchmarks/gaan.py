"""Geometric attention beside its usual form, one thread, one process, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/gaan.py --out benchmarks/results/gaan_cpu.json

The usual form, as the paper's code computes it, is written here from the formulas: every tuple's product, one after the
other, by broadcasting over all tuples; values of members merged over all tuples; products summed in one tensor. Before
anything is timed it is checked against our layer, which the tests check against outputs and gradients of the reference
code. The models are the released example's, 26,917 weights at rank 2: two layers and a read-out, dim 32. Times are process
CPU times, float32, no dropout; a ratio is that of the minima over all rounds, the median that of the ratios of each round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from clifford import compare, tasks
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.layers import GeometricAttention, neighbour_table
from geomlib.zoo import GAANet


def norm(x: Tensor) -> Tensor:
    """Return lengths (..., 1); the gradient at zero is zero."""
    square = x.square().sum(-1, keepdim=True)
    zero = square == 0
    return torch.where(zero, square, square.masked_fill(zero, 1.0).sqrt())


def vector_vector(a: Tensor, b: Tensor) -> Tensor:
    """Return the products (..., 4): scalar, e12, e13, e23."""
    a1, a2, a3 = a.split(1, -1)
    b1, b2, b3 = b.split(1, -1)
    parts = [a1 * b1 + a2 * b2 + a3 * b3, a1 * b2 - a2 * b1, a1 * b3 - a3 * b1, a2 * b3 - a3 * b2]
    return torch.cat(parts, -1)


def even_vector(p: Tensor, b: Tensor) -> Tensor:
    """Return the products (..., 4): e1, e2, e3, e123."""
    s, p12, p13, p23 = p.split(1, -1)
    b1, b2, b3 = b.split(1, -1)
    parts = [
        s * b1 + p12 * b2 + p13 * b3, s * b2 - p12 * b1 + p23 * b3, s * b3 - p13 * b1 - p23 * b2,
        p12 * b3 - p13 * b2 + p23 * b1,
    ]  # fmt: skip
    return torch.cat(parts, -1)


class Usual(nn.Module):
    """The attention of a layer over all tuples, by broadcasting; its parameters are those of ``layer``."""

    def __init__(self, layer: GeometricAttention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, r: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the layer returns."""
        m = self.layer
        index = [
            tuple(slice(None) if k in (0, a + 1, m.rank + 1) else None for k in range(m.rank + 2))
            for a in range(m.rank)
        ]
        rs, vs = [r[i] for i in index], [v[i] for i in index]
        invariants = []
        for start in range(m.rank if m.invariant_mode == "full" else 1):
            p, series = rs[start], [norm(rs[start])]
            for k, right in enumerate(rs[start + 1 :]):
                p = vector_vector(p, right) if k == 0 else even_vector(p, right)
                series.append(
                    torch.cat(
                        [p[..., :1], norm(p[..., 1:])] if k == 0 else [norm(p[..., :3]), p[..., 3:]], -1
                    )
                )
            invariants += series[::-1] if m.invariant_mode != "single" else series[-1:]
        if len(invariants) > 1:
            zero = torch.zeros_like(invariants[0][..., :1])
            invariants = [torch.cat([x + zero for x in invariants], -1)]
        merged = (
            sum(vs) / m.rank
            if m.merge_fun == "mean"
            else sum(x @ k for x, k in zip(vs, m.merge_kernels, strict=True))
        )
        new = m.value_net(invariants[0])
        if m.join_fun == "mean":
            joined = (new + merged) / 2
        else:
            joined = new @ m.join_kernels[0] + merged @ m.join_kernels[1]
        scores = m.score_net(joined)
        axes = m.rank if m.reduce else m.rank - 1
        shape = scores.shape[: scores.dim() - 1 - axes]
        attention = scores.reshape(*shape, -1).softmax(-1).reshape(scores.shape)
        return (attention * joined).sum(tuple(range(-1 - axes, -1)))


def usual_model(model: GAANet) -> Callable[..., Tensor]:
    """Return the model with its attention in the usual form."""
    layers = [Usual(layer) for layer in model.attention]  # pyright: ignore[reportArgumentType]
    last = Usual(model.last)

    def forward(pos: Tensor, x: Tensor) -> Tensor:
        v = model.up_project(x)
        for layer, mlp in zip(layers, model.mlps, strict=True):
            v = v + mlp(layer(pos, v))
        return model.project(model.last_mlp(last(pos, v)))

    return forward


CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "rank 2, N=26, B=32": ({"rank": 2}, 26, 32),
    "rank 2, N=26, B=32, concat, full": (
        {"rank": 2, "merge_fun": "concat", "join_fun": "concat", "invariant_mode": "full"}, 26, 32,
    ),
    "rank 3, N=10, B=8": ({"rank": 3}, 10, 8),
    "rank 3, N=10, B=8, concat, full": (
        {"rank": 3, "merge_fun": "concat", "join_fun": "concat", "invariant_mode": "full"}, 10, 8,
    ),
}  # fmt: skip


def models(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for name, (options, points, batch) in CASES.items():
        model = GAANet(features=4, outputs=2, dim=32, layers=2, **options)
        pos, x = torch.randn(batch, points, 3), torch.randn(batch, points, 4)
        usual = usual_model(model)
        torch.testing.assert_close(model(pos, x), usual(pos, x), rtol=1e-3, atol=1e-4)
        leaves = list(model.parameters())
        title = f"{name}, {sum(p.numel() for p in leaves):,} weights"
        rows += compare(
            title, tasks(model, [pos, x], leaves), {"usual": tasks(usual, [pos, x], leaves)}, rounds
        )
    return rows


def neighbours(rounds: int) -> list[dict[str, Any]]:
    """Time one layer of rank 3 over the eight nearest of each of a growing number of points."""
    rows = []
    for points in (16, 32, 64, 256, 1024):
        layer = GeometricAttention(32, rank=3, reduce=False)
        r, v = torch.randn(points, 3), torch.randn(points, 32)
        near = torch.cdist(r, r).topk(8, largest=False).indices
        table = neighbour_table(
            torch.stack([near.flatten(), torch.arange(points).repeat_interleave(8)]), points
        )
        leaves = list(layer.parameters())
        ours = tasks(lambda r, v, layer=layer, t=table: layer(r, v, neighbours=t), [r, v], leaves)
        others = {"all tuples": tasks(layer, [r, v], leaves)} if points <= 64 else {}
        rows += compare(f"rank 3, {points} points, 8 neighbours", ours, others, max(3, rounds // 3))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Geometric attention beside its usual form.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = models(arguments.rounds) + neighbours(arguments.rounds)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/gaan.py")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
