"""Spherical harmonics beside e3nn's and sphericart's, one thread, one process, in turn (A B C A B C): a table of ratios.

    pip install --no-deps sphericart==2.0.4 sphericart-torch==2.0.4
    OMP_NUM_THREADS=1 python benchmarks/harmonics.py --out benchmarks/results/harmonics_cpu.json

All degrees up to l, float32, normalised vectors. Times are process CPU times, medians; a ratio is the median of the ratios of
neighbouring calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, ratios
from geomlib.kernels.harmonics import spherical_harmonics

PACKAGES = ("torch", "numba", "e3nn", "sphericart-torch")
Function = Callable[[Tensor], Tensor]


def functions(lmax: int) -> dict[str, Function]:
    degrees = list(range(lmax + 1))
    found: dict[str, Function] = {
        "geomlib": lambda x: spherical_harmonics(degrees, x, backend="cpu"),
        "geomlib torch": lambda x: spherical_harmonics(degrees, x, backend="torch"),
        "e3nn": o3.SphericalHarmonics(degrees, True, "component"),
    }
    try:
        import sphericart.torch as sphericart
    except ImportError:
        return found
    found["sphericart"] = sphericart.SphericalHarmonics(lmax)
    return found


def tasks(rows: int, lmax: int) -> dict[str, Callable[[Function], Callable[[], Any]]]:
    x = torch.randn(rows, 3)
    c, v = torch.randn(rows, (lmax + 1) ** 2), torch.randn(rows, 3)

    def forward(f: Function) -> Callable[[], Any]:
        return lambda: f(x)

    def backward(f: Function) -> Callable[[], Any]:
        def run() -> Any:
            t = x.detach().requires_grad_()
            return torch.autograd.grad(f(t), t, c)

        return run

    def twice(f: Function) -> Callable[[], Any]:
        def run() -> Any:
            t, g = x.detach().requires_grad_(), c.detach().requires_grad_()
            (first,) = torch.autograd.grad(f(t), t, g, create_graph=True)
            return torch.autograd.grad(first, (t, g), v)

        return run

    return {"forward": forward, "forward+backward": backward, "forward+backward+double backward": twice}


def compare(rows: int, lmax: int, repeats: int) -> list[dict[str, Any]]:
    results = []
    for task, prepare in tasks(rows, lmax).items():
        runs = {name: prepare(f) for name, f in functions(lmax).items()}
        times = interleaved(runs, repeats)
        ratio = ratios(times, "geomlib")
        row: dict[str, Any] = {"l": lmax, "rows": rows, "task": task}
        for name, found in times.items():
            row[f"{name} us"] = round(1e6 * statistics.median(found), 1)
            if name != "geomlib":
                row[f"over {name}"] = round(ratio[name], 2)
        print("  ".join(f"{k}: {v}" for k, v in row.items()), flush=True)
        results.append(row)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Spherical harmonics beside e3nn's and sphericart's.")
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 100_000])
    parser.add_argument("--degrees", nargs="+", type=int, default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        row
        for count in arguments.rows
        for lmax in arguments.degrees
        for row in compare(count, lmax, arguments.repeats)
    ]
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/harmonics.py", PACKAGES)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
