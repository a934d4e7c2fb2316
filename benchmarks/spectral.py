"""Spectral functions and the affine-invariant distance beside geoopt, pyriemann and spd_learn: times and errors of gradients.

    pip install geoopt==0.5.1 pyriemann==0.12 spd_learn==0.2.1
    OMP_NUM_THREADS=1 python benchmarks/spectral.py --out benchmarks/results/spectral_cpu.json

One thread, one process, in turn (A B C A B C), float32, SPD matrices of condition number up to 100. Times are CPU times,
medians; a ratio is the median of the ratios of neighbouring calls, and the last column is over the fastest peer. The packages
decompose in float32, geomlib in float64. Errors are those of gradients, relative, against the 60-digit fixtures in
tests/data/manifolds; null stands for NaN. First calls are timed in new interpreters, with an empty cache of Numba and with a
full one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, keep_memory, ratios

PACKAGES = ("torch", "numba", "geoopt", "pyriemann", "spd_learn")
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "data" / "manifolds"
POWER = 0.3
Function = Callable[..., Tensor]


def functions(f: str) -> dict[str, Function]:
    """The same function of every package."""
    import pyriemann.geometry.base as pyriemann
    import spd_learn.functional as spd_learn
    from geoopt.linalg import batch_linalg as geoopt

    t = POWER if f == "pow" else None
    peers: dict[str, dict[str, Function]] = {
        "log": {"geoopt": geoopt.sym_logm, "pyriemann": pyriemann.logm, "spd_learn": spd_learn.matrix_log.apply},
        "sqrt": {
            "geoopt": geoopt.sym_sqrtm, "pyriemann": pyriemann.sqrtm, "spd_learn": spd_learn.matrix_sqrt.apply,
        },
        "invsqrt": {
            "geoopt": geoopt.sym_inv_sqrtm1, "pyriemann": pyriemann.invsqrtm,
            "spd_learn": spd_learn.matrix_inv_sqrt.apply,
        },
        "exp": {"geoopt": geoopt.sym_expm, "pyriemann": pyriemann.expm, "spd_learn": spd_learn.matrix_exp.apply},
        "pow": {
            "geoopt": lambda x: geoopt.sym_funcm(x, lambda w: w.pow(POWER)),
            "pyriemann": lambda x: pyriemann.powm(x, POWER),
            "spd_learn": lambda x: spd_learn.matrix_power.apply(x, torch.tensor(POWER, dtype=x.dtype)),
        },
    }  # fmt: skip
    return {
        "geomlib": lambda x: symfun(x, f, t, backend="cpu"),
        "geomlib torch": lambda x: symfun(x, f, t, backend="torch"),
        **peers[f],
    }


def distances() -> dict[str, Function]:
    import geoopt
    import pyriemann.geometry.distance as pyriemann
    import spd_learn.functional as spd_learn

    manifold = geoopt.SymmetricPositiveDefinite("AIM")
    return {
        "geomlib": lambda p, q: ai_sqdist(p, q, backend="cpu"),
        "geomlib torch": lambda p, q: ai_sqdist(p, q, backend="torch"),
        "geoopt": lambda p, q: manifold.dist(p, q).square(),
        "pyriemann": lambda p, q: pyriemann.distance_riemann(p, q, squared=True),
        "spd_learn": lambda p, q: spd_learn.airm_distance(p, q).square(),
    }


def matrices(count: int, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(count, n, n, dtype=torch.float64, generator=g))[0]
    w = 100.0 ** (torch.rand(count, n, dtype=torch.float64, generator=g) - 0.5)
    a = (q * w.unsqueeze(-2)) @ q.mT
    return (0.5 * (a + a.mT)).float()


def tasks(f: str, count: int, n: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return calls by pass and package."""
    inputs = tuple(matrices(count, n, seed) for seed in range(2 if f == "distance" else 1))
    g = torch.randn((count,) if f == "distance" else (count, n, n))

    def backward(function: Function) -> Callable[[], Any]:
        leaves = tuple(x.clone().requires_grad_() for x in inputs)
        return lambda: torch.autograd.grad(function(*leaves), leaves, g)

    contenders = distances() if f == "distance" else functions(f)
    return {
        "forward": {name: lambda h=h: h(*inputs) for name, h in contenders.items()},
        "forward+backward": {name: backward(h) for name, h in contenders.items()},
    }


def times(f: str, count: int, n: int, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for task, calls in tasks(f, count, n).items():
        found = interleaved(calls, rounds)
        ratio = ratios(found, "geomlib")
        row: dict[str, Any] = {"function": f, "matrices": count, "n": n, "pass": task}
        row |= {f"{name} ms": round(1e3 * statistics.median(t), 4) for name, t in found.items()}
        row |= {f"over {name}": round(r, 2) for name, r in ratio.items() if name != "geomlib"}
        peers = [r for name, r in ratio.items() if not name.startswith("geomlib")]
        row["over the fastest peer"] = round(min(peers), 2)
        print("  ".join(f"{k}: {v}" for k, v in row.items()), flush=True)
        rows.append(row)
    return rows


def errors() -> list[dict[str, Any]]:
    """Errors of gradients at repeated and close eigenvalues."""
    rows = []
    with np.load(FIXTURES / "eigfun_vjp.npz", allow_pickle=False) as data:
        for f in ("sqrt", "log"):
            for case in ("identity", "pair", "triple", "near1e-10", "cond1e10"):
                A, G, wanted = (torch.from_numpy(data[f"{case}_{k}"]) for k in ("A", "G", f"vjp_{f}"))
                for dtype in (torch.float64, torch.float32):
                    if case == "cond1e10" and dtype == torch.float32:
                        continue  # no positive definite matrix of float32
                    row: dict[str, Any] = {"function": f, "spectrum": case, "dtype": str(dtype)[6:]}
                    for name, h in functions(f).items():
                        x = A.to(dtype)[None].requires_grad_()
                        (g,) = torch.autograd.grad(h(x), x, G.to(dtype)[None])
                        error = float((0.5 * (g + g.mT)[0].double() - wanted).norm() / wanted.norm())
                        row[name] = None if math.isnan(error) else float(f"{error:.1e}")
                    print("  ".join(f"{k}: {v}" for k, v in row.items()), flush=True)
                    rows.append(row)
    return rows


def first_calls() -> dict[str, float]:
    """CPU seconds of the first function and gradient in a new interpreter, without and with a cache."""
    code = """
import time, torch
from geomlib.algebra.manifolds.spectral import symfun
x = torch.eye(4).repeat(20, 1, 1).requires_grad_()
t = time.process_time()
symfun(x, "log", backend="cpu").sum().backward()
print(time.process_time() - t)
"""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("empty cache", "full cache"):
            done = subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": folder}, check=True,
                capture_output=True, text=True,
            )  # fmt: skip
            found[name] = round(float(done.stdout), 2)
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Spectral functions beside those of geoopt, pyriemann and spd_learn."
    )
    parser.add_argument(
        "--functions", nargs="+", default=["log", "sqrt", "invsqrt", "exp", "pow", "distance"]
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 3, 4, 8, 16, 32, 64, 93])
    parser.add_argument("--matrices", nargs="+", type=int, default=[1000, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_memory()
    rows = []
    for count in arguments.matrices:
        for f in arguments.functions:
            for n in arguments.sizes:
                if n > 32 and f not in ("log", "distance"):
                    continue  # seconds each, and decomposition is all of it
                rows += times(f, count, n, arguments.rounds if n <= 16 else 3)
    found = {"first call, CPU s": first_calls(), "times": rows, "errors of gradients": errors()}
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/spectral.py", PACKAGES)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
