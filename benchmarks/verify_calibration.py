"""How far from the limit correct models stay: errors in units of round-off, untrained and trained, and one broken model.

    pip install e3nn torch-geometric torchmd-net==3.1.0
    OMP_NUM_THREADS=1 python benchmarks/verify_calibration.py --out benchmarks/results/verify_calibration_cpu.json

Per model: energies (E) and their gradients (F) on twelve random atoms and, once trained, on ethanol. ``ratio`` is
e64 / (d32 2^-29): an exact function has about 1, `geomlib.verify` allows 16. ``stressed`` is the largest ratio with the
stress set, over the seeds. Training: Adam on the embedded ethanol, for a fixed time.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import io
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensornet_speed import peer_model
from torch import Tensor, nn

from geomlib.bench.results import machine
from geomlib.datasets import Structures, load
from geomlib.verify import check
from geomlib.verify.report import SEVERITY

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verify import families

ALLOWED, UNIT_RATIO = 16.0, 2.0**-29


def torchmdnet() -> nn.Module:
    model = peer_model(32, 2, 16, families.ELEMENTS)
    model.derivative = False  # check takes the gradients itself
    return model


def rotations_only() -> nn.Module:
    return families.tensornet("SO(3)")


def mace() -> nn.Module:
    """Return MACE of mace-torch, from the example that checks public models."""
    example = Path(__file__).resolve().parents[1] / "examples" / "verify_public_models.py"
    return runpy.run_path(str(example))["mace"]()["target"]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "TensorNet (geomlib)": families.FAMILIES["TensorNet"],
    "TensorNet (torchmd-net)": torchmdnet,
    "SchNet (PyG)": families.FAMILIES["SchNet"],
    "messages (e3nn)": families.FAMILIES["e3nn messages"],
    "many-body (e3nn)": families.FAMILIES["e3nn many-body"],
    "MACE (mace-torch)": mace,
    "TensorNet (geomlib), SO(3) mode called O(3)": rotations_only,
}


def structure(data: Structures, index: int) -> dict[str, Tensor]:
    one = data[[index]]
    return {"z": one.z, "pos": one.pos.float(), "batch": torch.zeros(len(one.z), dtype=torch.long)}


def train(model: nn.Module, data: Structures, seconds: float) -> tuple[float, float]:
    """Train the parameters in float32, in place; return the force errors before and after, meV/Å.

    Parameters alone are copied back: tables that were made in float64 stay as they are.
    """
    narrow = copy.deepcopy(model).float().train()
    energy_of = families.Energy(narrow)
    optimizer = torch.optim.Adam(narrow.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    count = len(data) - 100
    assert data.energy is not None and data.forces is not None
    mean = float(data.energy[:count].mean())

    def errors(rows: Tensor) -> tuple[Tensor, Tensor]:
        part = data[rows]
        pos = part.pos.float().requires_grad_()
        assert part.energy is not None and part.forces is not None
        energy = energy_of(part.z, pos, part.batch)
        (slope,) = torch.autograd.grad(energy.sum(), pos, create_graph=narrow.training)
        return energy - (part.energy - mean).to(energy), -slope - part.forces.float()

    def force_error() -> float:
        narrow.eval()
        found = 1e3 * float(errors(torch.arange(count, count + 50))[1].detach().abs().mean())
        narrow.train()
        return found

    before, end = force_error(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        energy, force = errors(torch.randint(count, (8,), generator=generator))
        loss = 0.1 * energy.square().mean() + force.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(narrow.parameters(), 10.0)
        optimizer.step()
    after = force_error()
    with torch.no_grad():
        for mine, trained in zip(model.parameters(), narrow.parameters(), strict=True):
            mine.copy_(trained)
    return before, after


def measure(model: nn.Module, example: dict[str, Tensor], seeds: int) -> dict[str, Any]:
    """Return the worst errors over the seeds, generic and with the stress set."""

    def verdict(seed: int, stress: bool) -> Any:
        types = (families.GROUP, families.INPUTS, families.OUTPUTS)
        return check(families.Energy(model), *types, example=example, seed=seed, stress=stress)

    generic = [verdict(seed, False) for seed in range(seeds)]
    stressed = [verdict(seed, True) for seed in range(seeds)]
    row: dict[str, Any] = {"verdict": max((r.verdict for r in generic + stressed), key=SEVERITY.index)}
    for short, name in (("E", "out"), ("F", "d/d pos")):
        fields = [next(f for f in r.fields if f.name == name) for r in generic]
        worst = max(fields, key=lambda f: f.ratio)
        row[short] = {
            **{key: float(f"{getattr(worst, key):.2e}") for key in ("e64", "e32", "d32")},
            "e32_d32": round(worst.e32 / worst.d32, 2),
            "ratio": float(f"{worst.e64 / (worst.d32 * UNIT_RATIO):.3g}"),
        }
    row["stressed"] = float(f"{max(r.ratio for r in stressed):.3g}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibrate the tolerance of geomlib.verify.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=30.0, help="of training per model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file; without it, to the terminal")
    arguments = parser.parse_args()
    data, rows = load("ethanol"), []
    for name in arguments.models:
        if name.startswith("MACE") and importlib.util.find_spec("mace") is None:
            print("mace is not installed: left out", file=sys.stderr)
            continue
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            model = MODELS[name]()
        cases = [("untrained", "12 atoms", families.cluster(12))]
        for state in ("untrained", "trained"):
            about: dict[str, Any] = {}
            if state == "trained":
                before, after = train(model, data, arguments.seconds)
                about = {"force_error_meV_A": [round(before, 1), round(after, 1)]}
                cases = [(state, "12 atoms", families.cluster(12)), (state, "ethanol", structure(data, 0))]
            for label, where, example in cases:
                row = {"model": name, "weights": label, "input": where, **about}
                rows.append(row | measure(model, example, arguments.seeds))
                print(line(rows[-1]), file=sys.stderr, flush=True)
    exact = [r["stressed"] for r in rows if "called" not in r["model"]]
    packages = ("torch", "e3nn", "torch-geometric", "torchmd-net", "numba")
    if any("MACE" in r["model"] for r in rows):
        packages += ("mace-torch",)
    result = {
        "about": machine("OMP_NUM_THREADS=1 python benchmarks/verify_calibration.py", packages),
        "training_seconds": arguments.seconds,
        "seeds": arguments.seeds,
        "allowed_ratio": ALLOWED,
        "largest_ratio_of_an_exact_model": max(exact, default=None),
        "rows": rows,
    }
    report = json.dumps(result, indent=1) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(report)
    else:
        print(report)


def line(row: dict[str, Any]) -> str:
    """Return a row of the table as text."""
    cells = [
        f"{k} e64 {v['e64']:.1e} e32 {v['e32']:.1e} d32 {v['d32']:.1e} ratio {v['ratio']:.2g}"
        for k, v in ((k, row[k]) for k in "EF")
    ]
    return f"{row['model']:44s} {row['weights']:9s} {row['input']:8s} {row['verdict']:6s} " + "  ".join(
        [*cells, f"stressed {row['stressed']:.2g}"]
    )


if __name__ == "__main__":
    main()
