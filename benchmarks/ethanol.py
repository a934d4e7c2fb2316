"""The first README command, measured: errors of TensorNet on the embedded ethanol set, and the CPU time they take.

    python benchmarks/ethanol.py --seeds 0 1 2 --out benchmarks/results/ethanol_cpu.json

Every seed is one run of `geomlib train tensornet --data ethanol` in a fresh process, compilation included.
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

from geomlib.bench.results import machine


def run(seed: int, arguments: list[str]) -> dict[str, Any]:
    """Train once; return errors on the test set in meV and meV/Å, and what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "geomlib.cli",
            "train",
            "tensornet",
            "--data",
            "ethanol",
            "--seed",
            str(seed),
        ]
        command += ["--out", f"{folder}/run", "--progress", "false", "--plots", "false", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads(Path(folder, "run", "metrics.json").read_text())
    errors = metrics["results"]["test"]["all"]
    return {
        "seed": seed,
        "E_mae_meV": round(errors["E_mae"], 3),
        "F_mae_meV_A": round(errors["F_mae"], 3),
        **{k: metrics["budget"][k] for k in ("epochs", "steps", "cpu_seconds", "wall_seconds", "threads")},
        "parameters": metrics["parameters"],
        "model": metrics["settings"].get("model"),
        "versions": metrics["versions"],
        "commit": metrics["commit"],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, smallest and largest of every number over the seeds."""
    found: dict[str, Any] = {}
    for key in ("E_mae_meV", "F_mae_meV_A", "cpu_seconds"):
        values = [row[key] for row in rows]
        found[key] = {"mean": round(statistics.fmean(values), 2), "values": values}
    return found


def main(argv: list[str] | None = None) -> None:
    """Run every seed, print a row each, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path)
    options, arguments = parser.parse_known_args(argv)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        load = os.getloadavg()[0]
        rows.append({**run(seed, arguments), "load_before": round(load, 1)})
        print(
            {k: rows[-1][k] for k in ("seed", "E_mae_meV", "F_mae_meV_A", "cpu_seconds", "load_before")},
            flush=True,
        )
    about = {
        "data": "embedded ethanol, GFN2-xTB", "split": "950 train, 50 validation, 200 test; best epoch of validation",
        **machine("python benchmarks/ethanol.py", ("torch", "numba", "lightning")),
    }  # fmt: skip
    if options.out is not None:
        text = json.dumps({"about": about, "summary": summary(rows), "rows": rows}, indent=1)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
