r"""Energy conservation: a model trained here for two minutes, then NVE of ethanol (20 ps) and of a water box (2 ps).

    OMP_NUM_THREADS=1 python benchmarks/nve.py --out benchmarks/results/nve_cpu.json

The data is rMD17 ethanol and water of ``GEOMLIB_SHARED``; without it ethanol is the set of the package and water is left out.
Every run starts from positions drawn by Langevin dynamics at 300 K and from a new draw of velocities, the same for both
time steps and precisions. Velocity Verlet keeps a shadow energy, so the drift should vanish and the fluctuation of the total
energy fall by 4 when the time step is halved. ``tests/interop/test_nve.py`` holds the same numbers against their limits.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from geomlib.datasets import Structures, load
from geomlib.interop import run_md
from geomlib.train import TrainConfig, train

SHARED = Path(os.environ.get("GEOMLIB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RMD17 = "data/molecules/botnet/dataset_ethanol"
WATER = "data/deepmd/water/data"
MODEL = {"channels": 32, "layers": 1, "num_radial": 16, "cutoff": 4.5}
KELVIN = 300.0


def ethanol_settings(shared: Path = SHARED) -> dict[str, Any]:
    """Return how the ethanol model is trained: about two CPU minutes, on rMD17 if it is here."""
    common = {"epochs": 70, "batch_size": 8, "lr": 2e-3, "val_size": 50}
    if (shared / RMD17).is_dir():
        files = {"data": str(shared / RMD17 / "train.xyz"), "test_data": str(shared / RMD17 / "test_MD.xyz")}
        return {**common, **files, "test_size": 0}
    return {**common, "data": "ethanol", "test_size": 200}


def water_settings(shared: Path = SHARED) -> dict[str, Any]:
    """Return how the water model is trained: about two CPU minutes."""
    data = str(shared / WATER)
    return {"data": data, "epochs": 8, "batch_size": 1, "lr": 2e-3, "val_size": 20, "test_size": 40}


def trained(settings: dict[str, Any], folder: Path) -> tuple[Any, Structures, dict[str, Any]]:
    """Train the small model; return it, the structures it was not trained on, and its errors and cost."""
    config = TrainConfig(
        out=str(folder), seed=0, threads=1, accelerator="cpu", progress=False, plots=False, **settings
    )
    result = train(config, MODEL)
    if result is None:
        raise RuntimeError("this script trains in one process")
    if config.test_data:
        test = load(config.test_data)
    else:
        split = json.loads((folder / "split.json").read_text())
        test = load(str(config.data))[torch.tensor(split["test"])]
    metrics = result.metrics
    errors = {k: round(metrics["results"]["test"]["all"][k], 2) for k in ("E_mae", "E_mae_atom", "F_mae")}
    about = {
        "settings": settings, "model": MODEL, "parameters": metrics["parameters"], "test_errors_meV": errors,
        "train_cpu_seconds": metrics["budget"]["cpu_seconds"], "steps": metrics["budget"]["steps"],
    }  # fmt: skip
    return result.model, test, about


def thermalised(model: Any, start: Structures, replicas: int, ps: float) -> Structures:
    """Return replicas of a structure after Langevin dynamics at 300 K."""
    many = Structures.concatenate([start] * replicas)
    done = run_md(
        model, many, steps=round(1e3 * ps / 0.5), timestep=0.5, ensemble="langevin", temperature=KELVIN, friction=0.02,
        dtype="float32", log_every=1000,
    )  # fmt: skip
    return many.replace(pos=done.pos)


def conservation(
    model: Any, start: Structures, dtype: str, timestep: float, ps: float, seed: int = 1
) -> dict[str, Any]:
    """Run NVE and return drift, fluctuation, momentum and temperature of each structure."""
    cpu = time.process_time()
    every = round(2.0 / timestep)
    result = run_md(
        model, start, steps=round(1e3 * ps / timestep), timestep=timestep, temperature=KELVIN, dtype=dtype,
        seed=seed, log_every=every,
    )  # fmt: skip
    rows = result.summary()
    return {
        "dtype": dtype, "timestep_fs": timestep, "ps": ps, "atoms": int(result.num_atoms[0]),
        "drift_meV_per_atom_per_ps": [round(r["drift_meV_per_atom_per_ps"], 5) for r in rows],
        "fluctuation_meV_per_atom": [round(r["fluctuation_meV_per_atom"], 5) for r in rows],
        "max_momentum_u_A_per_fs": float(f"{max(r['max_momentum'] for r in rows):.1e}"),
        "mean_temperature_K": [round(r["mean_temperature_K"], 1) for r in rows],
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }  # fmt: skip


def mean_square_root(values: list[float]) -> float:
    """Return the root mean square."""
    return (sum(v * v for v in values) / len(values)) ** 0.5


def show(system: str, row: dict[str, Any]) -> None:
    kelvin = sum(row["mean_temperature_K"]) / len(row["mean_temperature_K"])
    print(
        f"{system:8s} {row['dtype']} dt {row['timestep_fs']:.2f} fs  {row['ps']:g} ps  drift "
        + " ".join(f"{d:+.4f}" for d in row["drift_meV_per_atom_per_ps"])
        + f" meV/atom/ps  fluctuation {mean_square_root(row['fluctuation_meV_per_atom']):.4f} meV/atom"
        f"  momentum {row['max_momentum_u_A_per_fs']:.1e}  {kelvin:.0f} K"
        f"  {row['cpu_seconds']:.0f} s",
        flush=True,
    )


def main() -> None:
    from geomlib.bench.results import machine

    parser = argparse.ArgumentParser(description="Energy conservation of a model trained here.")
    parser.add_argument("--ethanol-ps", type=float, default=20.0)
    parser.add_argument("--water-ps", type=float, default=2.0)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plans = [
        ("ethanol", ethanol_settings(), arguments.replicas, arguments.ethanol_ps, 2.0, (0.5, 0.25)),
        ("water", water_settings(), 1, arguments.water_ps, 0.5, (0.5,)),
    ]
    systems = {}
    for name, settings, replicas, ps, warm, steps in plans:
        if name == "water" and not Path(settings["data"]).is_dir():
            continue
        with tempfile.TemporaryDirectory() as folder:
            model, test, about = trained(settings, Path(folder) / name)
        start = thermalised(model, test[0], replicas, warm)
        rows = []
        for dtype in ("float64", "float32"):
            for timestep in steps:
                rows.append(conservation(model, start, dtype, timestep, ps))
                show(name, rows[-1])
        systems[name] = {**about, "temperature_K": KELVIN, "thermalised_ps": warm, "runs": rows}
        if len(steps) == 2:
            spread = [mean_square_root(r["fluctuation_meV_per_atom"]) for r in rows]
            ratios = {"float64": round(spread[0] / spread[1], 2), "float32": round(spread[2] / spread[3], 2)}
            systems[name]["fluctuation_ratio"] = ratios
            print(f"{name:8s} fluctuation at 0.5 fs over 0.25 fs: {ratios}")
    if arguments.out:
        command = "OMP_NUM_THREADS=1 python benchmarks/nve.py"
        about = machine(command, ("torch", "numba", "numpy", "lightning", "geomlib-torch"))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"about": about, "systems": systems}, indent=1, ensure_ascii=False)
        arguments.out.write_text(text.replace(str(SHARED), "shared") + "\n")


if __name__ == "__main__":
    main()
