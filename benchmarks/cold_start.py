"""What the first call costs: TensorNet in a fresh process, with no compiled kernels on disk and with those of the last run.

    OMP_NUM_THREADS=1 python benchmarks/cold_start.py --out benchmarks/results/cold_start_cpu.json

Every number is of a new process that does one thing, "energy+forces" or a "training step" (optimizer included; torch
imports its compiler, 0.7 s, when an optimizer is made). The import of geomlib and torch comes before. Process CPU times
and wall times, medians. "kernels" are the wall seconds of compiling each in the quickest run; the first that compiles pays
for the start of Numba, the first that uses a helper for the helper.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TASKS = ("energy+forces", "training step")


def first_call(task: str, dtype: str) -> dict[str, Any]:
    """Do the task once in this process and say what it took."""
    import importlib
    import time

    import torch

    from geomlib import create_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("tensornet", channels=64, layers=1, num_radial=32, cutoff=4.5).to(
        getattr(torch, dtype)
    )
    z = torch.tensor([6, 6, 8, 1, 1, 1, 1, 1, 1]).repeat(16)
    grid = 1.3 * torch.cartesian_prod(*[torch.arange(3.0)] * 3)[:9]
    pos = (grid.repeat(16, 1) + 0.1 * torch.rand(144, 3)).to(getattr(torch, dtype))
    batch = torch.arange(16).repeat_interleave(9)
    wall, cpu = time.perf_counter(), time.process_time()
    if task == "energy+forces":
        with torch.no_grad():
            model.eval()(z, pos, batch)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        out = model.train()(z, pos, batch)
        (out["energy"].square().mean() + out["forces"].square().mean()).backward()
        optimizer.step()
    took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    kernels: dict[str, float] = {}
    for folder in ("geometry", "dual", "edges", "cartesian"):
        module = importlib.import_module(f"geomlib.kernels.{folder}.cpu")
        for name in module.__all__:
            for compiled in getattr(module, name).dispatcher.overloads.values():
                timers = (compiled.metadata or {}).get("timers")
                if timers:
                    kernels[f"{folder}.{name}"] = round(timers["compiler_lock"], 3)
    return {**took, "kernels": kernels}


def fresh(task: str, dtype: str, cache: str) -> dict[str, Any]:
    """Return :func:`first_call` of a new process whose kernels are kept in ``cache``."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1", "GEOMLIB_BACKEND": "cpu"}
    command = [sys.executable, __file__, "--first-call", task, "--dtypes", dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(task: str, dtype: str, repeats: int) -> list[dict[str, Any]]:
    runs: dict[str, list[dict[str, Any]]] = {"empty": [], "kept": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in runs:
                runs[name].append(fresh(task, dtype, cache))
    rows = []
    for name, found in runs.items():
        times = {key: round(statistics.median(r[key] for r in found), 2) for key in ("cpu_s", "wall_s")}
        kernels = min(found, key=lambda r: r["cpu_s"])["kernels"]
        if name == "kept" and kernels:
            raise RuntimeError(f"compiled again, although kept on disk: {', '.join(kernels)}")
        rows.append({"task": task, "dtype": dtype, "cache": name, **times, "kernels": kernels})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="What the first call of TensorNet costs.")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=("float32", "float64"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file; without it, to the terminal")
    parser.add_argument("--first-call", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first_call:
        print(json.dumps(first_call(arguments.first_call, arguments.dtypes[0])))
        return
    rows = [
        row for dtype in arguments.dtypes for task in TASKS for row in measure(task, dtype, arguments.repeats)
    ]
    for row in rows:
        line = "{task:14s} {dtype} cache {cache:5s} {cpu_s:6.2f} s CPU {wall_s:6.2f} s wall".format(**row)
        print(line, file=sys.stderr)
    from geomlib.bench.results import machine

    command = "OMP_NUM_THREADS=1 python benchmarks/cold_start.py --dtypes float32 float64"
    about = machine(command, ("torch", "numba", "llvmlite", "numpy"))
    report = json.dumps({"about": about, "rows": rows}, indent=1) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(report)
    else:
        print(report)


if __name__ == "__main__":
    main()
