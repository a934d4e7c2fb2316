"""Maps between tensor powers beside the usual ways to compute them, one thread, one process, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/diagrams.py --out benchmarks/results/diagrams_cpu.json

Rivals, all written here from their formulas, and checked against our map in float64 before anything is timed:
"stack": every map of the basis is written out, all are stacked, one product mixes them and the channels (the usual practice
of invariant graph networks; their sums over axes are shared here, which is kind to them).
"ign": the public layer of order 2 -> 2, fifteen contractions written out, concatenated, one einsum.
"one by one": one diagram after the other, as published for the fast algorithm, with the views of our own kernels: contract,
transfer, copy, add; forward only. "published": the backend "per_diagram": permute, planar diagram, permute; forward only.
"dense": the matrix is assembled from the weights, then one product; "ready": the product alone, with the matrix at hand.
float32, process CPU times, the quickest round of each side; glibc is told to keep freed memory, for all sides alike.
"training" is a forward and a backward pass with both gradients.
Memory: growth of the resident set over one forward pass, the larger of two, in units of one map (B, C, n, .., n).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, keep_memory
from geomlib.kernels.diagrams import tensor_map, tensor_plan
from geomlib.kernels.diagrams.grouped import contract
from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.diagrams.reference import dense_weight
from geomlib.kernels.diagrams.views import merge_axes
from geomlib.kernels.diagrams.waist import rows_of, side_of

Map = Callable[[Tensor, Tensor], Tensor]
#: Compared in the forward pass only.
ALONE = ("one by one", "published")


class _OnDiagonal(torch.autograd.Function):
    """Zeros but for a diagonal; the gradient is a view, where autograd's own would copy."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, blocks: Any, shape: tuple[int, ...]) -> Tensor:
        ctx.blocks = blocks
        full = z.new_zeros(shape)
        merge_axes(full, blocks, 1).copy_(z)
        return full

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return merge_axes(grad, ctx.blocks, 1), None, None


def stack_all(plan: Plan) -> Map:
    """Return the map that writes out M_d x for every d."""
    rows = [rows_of(d) for d in plan.diagrams]
    side = side_of(plan.k, [[below] for _, below in rows])
    tops = [above for above, _ in rows]

    def run(x: Tensor, weights: Tensor) -> Tensor:
        n = x.shape[2]
        lead = x.flatten(0, 1).unsqueeze(-1)  # (B C, n, .., n, 1)
        maps: list[Tensor] = []
        for (z,), above, d in zip(contract(side, lead, ((0, None),)), tops, plan.diagrams, strict=True):
            sigma = d.waist.sigma
            z = z.permute(0, *(1 + i for i in sigma), 1 + len(sigma))
            blocks = (*above.marked, *above.closed)
            z = z.reshape(*z.shape[:-1], *[1] * len(above.closed)).expand(-1, *[n] * len(blocks))
            if all(len(b) == 1 for b in blocks):
                full = merge_axes(z.unsqueeze(-1), tuple((blocks.index((i,)),) for i in range(plan.l)), 1)
            else:
                full = _OnDiagonal.apply(z.unsqueeze(-1), blocks, (len(z), *[n] * plan.l, 1))
            maps.append(full.reshape(*x.shape[:2], 1, n**plan.l))
        stacked = torch.cat([m.expand(*x.shape[:2], 1, n**plan.l) for m in maps], 2)  # (B, C, D, N)
        matrix = weights.permute(1, 2, 0).flatten(1)
        y = matrix @ stacked.flatten(1, 2)
        return y.view(len(x), len(matrix), *[n] * plan.l)

    return run


def one_by_one(plan: Plan) -> Map:
    """Return the map that applies and adds one diagram after the other."""
    sides = [
        (side_of(plan.k, [[below]]), above, d.waist.sigma)
        for d in plan.diagrams
        for above, below in [rows_of(d)]
    ]

    def run(x: Tensor, weights: Tensor) -> Tensor:
        n, single = x.shape[2], weights.shape[1:] == (1, 1)
        y = x.new_zeros(len(x), weights.shape[1], *[n] * plan.l)
        lead = x.movedim(1, -1)
        for (side, above, sigma), w in zip(sides, weights, strict=True):
            ((z,),) = contract(side, lead, plan.forms.bottom)
            z = z * w[0] if single else z @ w.mT
            z = z.permute(0, *(1 + i for i in sigma), 1 + len(sigma))
            for _ in above.closed:
                z = z.unsqueeze(-2)
            merge_axes(y.movedim(1, -1), (*above.marked, *above.closed), 1).add_(z)
        return y

    return run


def ign_2_2(x: Tensor, weights: Tensor) -> Tensor:
    """Return the public layer's map: fifteen contractions written out, in the order of our diagrams, and one einsum."""
    n = x.shape[-1]
    diagonal = x.diagonal(0, 2, 3)
    trace, rows, columns = diagonal.sum(-1, keepdim=True), x.sum(3), x.sum(2)
    total = rows.sum(-1, keepdim=True)
    ones = [torch.diag_embed(t.expand(-1, -1, n)) for t in (trace, total)]
    spread = [t.unsqueeze(-1).expand(-1, -1, n, n) for t in (trace, total)]
    found = [*ones, *spread]
    vectors = (diagonal, rows, columns)
    found += [torch.diag_embed(v) for v in vectors]
    found += [v.unsqueeze(3).expand(-1, -1, n, n) for v in vectors]
    found += [v.unsqueeze(2).expand(-1, -1, n, n) for v in vectors]
    found += [x, x.transpose(2, 3)]
    return torch.einsum("dsc,bcdij->bsij", weights, torch.stack(found, 2))


def training(f: Map, x: Tensor, weights: Tensor, g: Tensor) -> Callable[[], Any]:
    a, w = x.clone().requires_grad_(), weights.clone().requires_grad_()
    return lambda: torch.autograd.grad(f(a, w), (a, w), g)


def forward(f: Map, x: Tensor, weights: Tensor) -> Callable[[], Any]:
    def run() -> Tensor:
        with torch.no_grad():
            return f(x, weights)

    return run


def ready_dense(plan: Plan, weights: Tensor, n: int) -> Map:
    """Return the product with a matrix that is there already."""
    matrix = dense_weight(weights, plan, n)
    return lambda x, w: (x.flatten(1) @ matrix).view(len(x), w.shape[1], *[n] * plan.l)


def _tensors(plan: Plan, n: int, c: int, b: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (b, c, *[n] * plan.k), (len(plan), c, c), (b, c, *[n] * plan.l)
    x, w, g = (torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
    return x, w / (c * len(plan)) ** 0.5, g


def check(ours: Map, rivals: dict[str, Map], plan: Plan, n: int, c: int) -> float:
    """Return the largest difference from our values and gradients in float64, relative to the largest number."""
    x, w, g = _tensors(plan, n, c, 2, torch.float64)
    expected = [ours(x, w), *training(ours, x, w, g)()]
    worst = 0.0
    for name, f in rivals.items():
        found = [f(x, w)] if name in ALONE else [f(x, w), *training(f, x, w, g)()]
        for a, b in zip(found, expected, strict=False):
            worst = max(worst, float((a - b).abs().max() / b.abs().max()))
        if worst > 1e-10:
            raise SystemExit(f"{name} and our map differ by {worst:.1e} for {plan}")
    return worst


def resident(key: str) -> int:
    line = next(v for v in Path("/proc/self/status").read_text().splitlines() if v.startswith(key))
    return int(line.split()[1]) * 1024


def memory(run: Callable[[], Any]) -> int:
    """Return the bytes by which the resident set grows while a function runs, after a first run."""
    run()
    grown: list[int] = []
    for _ in range(2):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before must not serve this run
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = resident("VmRSS:")
        kept = run()
        grown.append(resident("VmHWM:") - before)
        del kept
    return max(grown)


#: Group, k, l, channels, batch, n, rivals.
CASES: list[tuple[str, int, int, int, int, int, tuple[str, ...]]] = [
    ("S_n", 2, 2, 16, 8, 10, ("stack", "ign")),
    ("S_n", 2, 2, 16, 8, 20, ("stack", "ign")),
    ("S_n", 2, 2, 64, 8, 20, ("stack", "ign")), ("S_n", 2, 2, 16, 8, 50, ("stack", "ign")),
    ("S_n", 2, 2, 64, 8, 50, ("stack", "ign")), ("S_n", 3, 2, 16, 4, 20, ("stack",)),
    ("S_n", 3, 3, 1, 8, 5, ("one by one", "published", "dense")),
    ("S_n", 3, 3, 1, 8, 10, ("one by one", "published")),
    ("S_n", 3, 3, 1, 8, 20, ("one by one", "published")), ("S_n", 3, 3, 16, 4, 10, ("one by one", "published")),
    ("S_n", 3, 3, 1, 8, 50, ("one by one",)),
    ("S_n", 2, 2, 1, 8, 5, ("one by one", "dense")), ("S_n", 2, 2, 1, 8, 20, ("one by one", "dense")),
    ("S_n", 2, 2, 1, 8, 50, ("one by one",)), ("S_n", 3, 2, 1, 8, 20, ("one by one",)),
    ("S_n", 4, 2, 1, 8, 10, ("one by one",)),
    ("O(5)", 3, 3, 1, 8, 5, ("one by one", "dense")), ("O(10)", 3, 3, 1, 8, 10, ("one by one",)),
    ("O(20)", 3, 3, 1, 8, 20, ("one by one",)), ("O(50)", 3, 3, 1, 8, 50, ("one by one",)),
    ("O(10)", 4, 2, 1, 8, 10, ("one by one",)), ("O(3)", 2, 2, 32, 64, 3, ("one by one", "dense")),
    ("O(3)", 3, 3, 32, 64, 3, ("dense",)), ("S_5", 2, 2, 32, 64, 5, ("dense",)), ("S_8", 2, 2, 32, 64, 8, ("dense",)),
    ("S_4", 3, 3, 32, 64, 4, ("dense",)),
    ("S_n", 3, 3, 16, 4, 5, ("stack",)), ("S_n", 3, 3, 16, 4, 10, ("stack",)), ("S_n", 3, 3, 16, 1, 20, ("stack",)),
]  # fmt: skip


def measure(case: tuple[str, int, int, int, int, int, tuple[str, ...]], rounds: int) -> dict[str, Any]:
    group, k, l, c, b, n, names = case
    plan = tensor_plan(group, k, l)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        return tensor_map(x, w, plan)

    makers: dict[str, Map] = {"ours": ours}
    for name in names:
        if name in ("dense", "published"):
            backend = {"dense": "dense", "published": "per_diagram"}[name]
            makers[name] = lambda x, w, backend=backend: tensor_map(x, w, plan, backend=backend)
        else:
            makers[name] = {"stack": stack_all, "one by one": one_by_one, "ign": lambda _: ign_2_2}[name](
                plan
            )
    if "dense" in names:
        makers["grouped"] = lambda x, w: tensor_map(x, w, plan, backend="grouped")
    small = plan.n or min(n, 5)
    checked = {name: f for name, f in makers.items() if name != "dense" or small <= 10}
    worst = check(ours, checked, plan, small, min(c, 3))
    x, w, g = _tensors(plan, n, c, b, torch.float32)
    found: dict[str, Any] = {
        "map": f"{group} {k} -> {l}",
        "channels": c,
        "batch": b,
        "n": n,
        "largest_difference_float64": worst,
    }
    inference = {name: forward(f, x, w) for name, f in makers.items()}
    if "dense" in names:
        inference["ready"] = forward(ready_dense(plan, w, n), x, w)
    for task, runs in (
        ("forward", inference),
        ("training", {name: training(f, x, w, g) for name, f in makers.items() if name not in ALONE}),
    ):
        times = {name: min(t) for name, t in interleaved(runs, rounds).items()}
        found[task] = {
            "microseconds": {name: round(1e6 * t, 1) for name, t in times.items()},
            "times_slower": {
                name: round(t / times["ours"], 2) for name, t in times.items() if name != "ours"
            },
        }
    if names == ("stack",) and n == 20:
        one = x.numel() * x.element_size()
        found["memory_in_maps"] = {name: round(memory(run) / one, 1) for name, run in inference.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose text has this in it")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    rows: list[dict[str, Any]] = []
    for case in CASES:
        if args.only not in str(case):
            continue
        rows.append(measure(case, args.rounds))
        row = rows[-1]
        print(row["map"], f"n={row['n']} C={row['channels']} B={row['batch']}", row.get("memory_in_maps", ""))
        for task in ("forward", "training"):
            print("   ", task, row[task], flush=True)
        if args.out:
            command = f"python benchmarks/diagrams.py --rounds {args.rounds}"
            args.out.write_text(json.dumps({**machine(command), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
