"""Products on the sphere beside e3nn's and beside a plain grid, one thread, one process, in turn (A B C A B C).

    OMP_NUM_THREADS=1 python benchmarks/gaunt.py --out benchmarks/results/gaunt_cpu.json
    OMP_NUM_THREADS=1 python benchmarks/gaunt.py --modes --batch 10000     # single and multiple irreps in and out

e3nn: ``o3.TensorProduct`` in the mode ``uuu`` with path_weight c^2 and no normalisation, which computes the same numbers.
"grid": the plain product of three matrices on the exact Gauss-Legendre grid in torch, rows in pieces of 1024, forward only.
"layer": ``GauntTensorProduct`` without weights (multiplicities outside, as e3nn); "kernel": the same with channels inside.
float32, process CPU times, the quickest sample of each side: whatever else the machine does evicts the caches that the quick
sides live on. Features have about 2.8 MB. The allocator (glibc) is told to keep freed memory, for all sides alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from geomlib.algebra.gaunt import sphere_grid
from geomlib.algebra.irreps import Irreps, gaunt_constant
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, keep_memory
from geomlib.kernels.gaunt import SignalProduct, gaunt_product, methods_of
from geomlib.layers import GauntConvolution, GauntTensorProduct, TensorProduct

Product = Callable[[Tensor, Tensor], Tensor]
TASKS = ("forward", "forward+backward", "double backward")
#: e3nn over "sparse table" of the specification's table 5.2, where it gives both, at 32 and 128 channels.
TARGET = {1: (97, 100), 2: (99, 107), 3: (81, 87), 4: (45, 70), 6: (58, 58), 8: (41, 44)}


def signal(level: int, channels: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(level + 1))


def quickest(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the CPU time of a call of each in seconds, the shortest of several rounds."""
    return {name: min(times) for name, times in interleaved(runs, rounds).items()}


def of_e3nn(one: str, two: str, out: str) -> Product:
    a, b, c = (Irreps(r) for r in (one, two, out))
    rows = [
        (i, j, k, "uuu", False, gaunt_constant(r.ir.l, s.ir.l, t.ir.l) ** 2)
        for i, r in enumerate(a) for j, s in enumerate(b) for k, t in enumerate(c)
        if gaunt_constant(r.ir.l, s.ir.l, t.ir.l) > 0
    ]  # fmt: skip
    return o3.TensorProduct(one, two, out, rows, irrep_normalization="none", path_normalization="none")


def plain_grid(level: int) -> Product:
    """Return the textbook form on rows of components."""
    grid, degrees = sphere_grid(3 * level), tuple(range(level + 1))
    value = torch.from_numpy(grid.harmonics(degrees)).float()
    into, back = value.T.contiguous(), (value * torch.from_numpy(grid.weight).float()[:, None]).contiguous()

    def run(x: Tensor, y: Tensor) -> Tensor:
        parts = zip(x.split(1024), y.split(1024), strict=True)
        return torch.cat([((a @ into) * (b @ into)) @ back for a, b in parts])

    return run


def task_of(name: str, f: Product, x: Tensor, y: Tensor, g: Tensor, v: Tensor) -> Callable[[], Any]:
    def forward() -> Any:
        with torch.no_grad():
            return f(x, y)

    def backward() -> Any:
        a, b = x.detach().requires_grad_(), y.detach().requires_grad_()
        return torch.autograd.grad(f(a, b), (a, b), g)

    def twice() -> Any:
        a, b, c = (t.detach().requires_grad_() for t in (x, y, g))
        first = torch.autograd.grad(f(a, b), (a, b), c, create_graph=True)
        return torch.autograd.grad(first, (a, b, c), (v, v))

    return {"forward": forward, "forward+backward": backward, "double backward": twice}[name]


def rows_of(level: int, channels: int) -> int:
    """Features of about 2.8 MB, and at least one full tile of rows."""
    return max(16, 720_000 // (channels * (level + 1) ** 2))


def products(level: int, channels: int, rounds: int, tasks: Sequence[str]) -> list[dict[str, Any]]:
    irreps, degrees, n = signal(level, channels), tuple(range(level + 1)), rows_of(level, channels)
    theirs = of_e3nn(irreps, irreps, irreps)
    layer = GauntTensorProduct(irreps, irreps, irreps, weights=None)
    fallback = GauntTensorProduct(irreps, irreps, irreps, weights=None, backend="torch")
    inside = SignalProduct("gaunt", degrees, degrees, degrees, channels, "ir_mul")
    size = layer.irreps_in1.dim
    x, y, g, v = (torch.randn(n, size) for _ in range(4))
    torch.testing.assert_close(layer(x, y), theirs(x, y), atol=1e-3, rtol=1e-3)
    found = []
    for name in tasks:
        sides: dict[str, Product] = {
            "layer": layer, "kernel": lambda a, b: gaunt_product(inside, a, b), "torch backend": fallback, "e3nn": theirs,
        }  # fmt: skip
        runs = {side: task_of(name, f, x, y, g, v) for side, f in sides.items()}
        if name == "forward":
            grid, columns = plain_grid(level), [t.reshape(-1, (level + 1) ** 2) for t in (x, y)]
            runs["grid"] = task_of(name, grid, *columns, *columns)
        t = quickest(runs, rounds)
        row: dict[str, Any] = {"L": level, "channels": channels, "rows": n, "task": name}
        row["ns per row and channel"] = {k: round(1e9 * v / (n * channels), 2) for k, v in t.items()}
        for side in ("layer", "kernel", "torch backend"):
            row[f"e3nn / {side}"] = round(t["e3nn"] / t[side], 2)
        if name == "forward":
            row["grid / kernel"] = round(t["grid"] / t["kernel"], 1)
            if level in TARGET:
                row["target e3nn / kernel"] = TARGET[level][channels == 128]
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def choices(level: int, channels: int, rounds: int) -> list[dict[str, Any]]:
    """Time every method and the automatic choice, on the Numba and the torch backend."""
    irreps, n = signal(level, channels), rows_of(level, channels)
    degrees = tuple(range(level + 1))
    spec = SignalProduct("gaunt", degrees, degrees, degrees, channels)
    x, y = (torch.randn(n, Irreps(irreps).dim) for _ in range(2))
    found = []
    for backend in ("cpu", "torch"):
        runs = {
            m: task_of("forward", lambda a, b, m=m, k=backend: gaunt_product(spec, a, b, method=m, backend=k), x, y, x, x)
            for m in ("auto", *methods_of("gaunt"))
        }  # fmt: skip
        t = quickest(runs, rounds)
        over = {m: v / t["auto"] for m, v in t.items()}
        row = {
            "L": level, "channels": channels, "backend": backend,
            "method / auto": {m: round(t, 2) for m, t in over.items() if m != "auto"},
            "auto / best": round(1 / min(over.values()), 2),
        }  # fmt: skip
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def modes(level: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Time products of single (S) and multiple (M) irreps in (I) and out (O), per irrep of the output."""
    several = signal(level, 1)
    top = f"1x{level}{'eo'[level % 2]}"
    even = level - level % 2
    cases = {"SISO": (top, top, f"1x{even}e"), "SIMO": (top, top, "+".join(f"1x{l}e" for l in range(0, level + 1, 2))),
             "MIMO": (several, several, several)}  # fmt: skip
    found = []
    for mode, (one, two, out) in cases.items():
        a, b, c = (Irreps(r) for r in (one, two, out))
        paths = [(i, j, k, "uuu", False) for i, r in enumerate(a) for j, s in enumerate(b) for k, t in enumerate(c)
                 if t.ir in r.ir * s.ir]  # fmt: skip
        x, y = torch.randn(batch, a.dim), torch.randn(batch, b.dim)
        sides: dict[str, Product] = {
            "CG, e3nn": of_e3nn(one, two, out),
            "CG": TensorProduct(one, two, out, paths),
        }
        for label, options in (
            ("sparse", {"method": "sparse"}), ("grid", {"method": "grid"}), ("half grid", {"method": "grid", "grid": "half"}),
            ("separable grid", {"method": "grid", "grid": "separable"}), ("fft", {"method": "fft"}),
        ):  # fmt: skip
            sides[label] = GauntTensorProduct(one, two, out, weights=None, **options)
        if mode == "MIMO":
            odd = out + "+" + "+".join(f"1x{l}{'oe'[l % 2]}" for l in range(1, level + 1))
            for kind in ("bracket", "vector"):
                sides[f"with {kind}"] = GauntTensorProduct(one, two, odd, weights=None, antisymmetric=kind)
        runs = {k: task_of("forward", f, x, y, x, x) for k, f in sides.items()}
        times = quickest(runs, rounds)
        outputs = {k: len(c) * (2 if k.startswith("with") else 1) for k in times}
        per = {k: round(1e6 * t / outputs[k], 1) for k, t in times.items()}
        row = {"L": level, "mode": mode, "batch": batch, "us per output irrep": per}
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def convolution(level: int, rounds: int) -> list[dict[str, Any]]:
    """Time convolutions with and without turning every edge to the pole, 32 channels."""
    irreps, edges = signal(level, 32), max(100, 4000 // (level + 1) ** 2)
    nodes = edges // 8
    x, v, w = (
        torch.randn(nodes, Irreps(irreps).dim),
        torch.randn(edges, 3),
        torch.randn(edges, 32 * (level + 1)),
    )
    edge_index = torch.randint(0, nodes, (2, edges))
    sides = {"aligned": ("aligned", None), "sparse": ("sparse", "cpu"), "grid in torch": ("grid", "torch")}
    runs: dict[str, Callable[[], Any]] = {}
    for name, (method, backend) in sides.items():
        layer = GauntConvolution(irreps, level, method=method, backend=backend)

        def forward(layer: GauntConvolution = layer) -> Any:
            with torch.no_grad():
                return layer(x, edge_index, v, w)

        def backward(layer: GauntConvolution = layer) -> Any:
            leaves = [t.detach().requires_grad_() for t in (x, v, w)]
            return torch.autograd.grad(layer(leaves[0], edge_index, *leaves[1:]).sum(), leaves)

        runs[f"{name}, forward"], runs[f"{name}, forward+backward"] = forward, backward
    per = {k: round(1e6 * t / edges, 2) for k, t in quickest(runs, rounds).items()}
    row = {"L": level, "channels": 32, "edges": edges, "us per edge": per}
    print(json.dumps(row), flush=True)
    return [row]


def write(results: dict[str, Any], out: Path | None) -> None:
    """Write what is there so far: long runs are worth something when they are cut short."""
    if out is not None:
        report = {"setting": machine(" ".join(["benchmarks/gaunt.py", *sys.argv[1:]])), **results}
        out.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Products on the sphere: a table of ratios.")
    parser.add_argument("--levels", nargs="+", type=int, default=list(range(1, 9)))
    parser.add_argument("--channels", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--modes", action="store_true", help="single and multiple irreps instead of channels")
    parser.add_argument(
        "--convolution", action="store_true", help="convolutions with a filter of the edge instead"
    )
    parser.add_argument("--batch", type=int, default=10_000, help="for --modes")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_memory()
    results: dict[str, Any] = {}
    for level in arguments.levels:
        if arguments.modes:
            results.setdefault("modes", []).extend(modes(level, arguments.batch, arguments.rounds))
            write(results, arguments.out)
            continue
        if arguments.convolution:
            results.setdefault("convolution", []).extend(convolution(level, arguments.rounds))
            write(results, arguments.out)
            continue
        for channels in arguments.channels:
            results.setdefault("products", []).extend(
                products(level, channels, arguments.rounds, arguments.tasks)
            )
            results.setdefault("choices", []).extend(choices(level, channels, arguments.rounds))
            gc.collect()
        write(results, arguments.out)


if __name__ == "__main__":
    main()
