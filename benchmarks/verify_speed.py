"""How long a check of a TensorNet on twelve atoms takes, and how much of it are the evaluations themselves.

Run: OMP_NUM_THREADS=1 python benchmarks/verify_speed.py [--repeats 5] [--write]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomlib import create_model, verify
from geomlib.bench.results import machine
from geomlib.verify.target import Target

RESULT = Path(__file__).parent / "results" / "verify_speed_cpu.json"


class Clock:
    """CPU time inside the evaluations of the target."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0
        for name in ("wide", "narrow", "raw"):
            setattr(Target, name, self._timed(getattr(Target, name)))

    def _timed(self, method: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start
                self.calls += 1

        return timed


class Skewed(nn.Module):
    """The same model with one axis of its forces longer by 1e-4."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.symmetry = model.symmetry

    def forward(self, z: torch.Tensor, pos: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs with the fault."""
        out = dict(self.model(z, pos))
        out["forces"] = out["forces"] * torch.tensor([1.0, 1.0, 1.0 + 1e-4]).to(pos)
        return out


def measure(repeats: int) -> dict[str, Any]:
    """Return the times of sound and broken checks; the first repetition, which warms up, is left out."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("tensornet", channels=64, layers=1)
    generator = torch.Generator().manual_seed(0)
    example = {
        "z": torch.randint(1, 9, (12,), generator=generator),
        "pos": 1.8 * torch.randn(12, 3, generator=generator),
    }
    clock, rows = Clock(), dict[str, Any]()
    for name, target in {"sound": model, "broken": Skewed(model)}.items():
        times: list[tuple[float, float, int]] = []
        for _ in range(repeats + 1):
            clock.seconds, clock.calls = 0.0, 0
            start = time.process_time()
            report = verify.check(target, example=example)
            times.append((time.process_time() - start, clock.seconds, clock.calls))
        best = min(times[1:])
        rows[name] = {
            "verdict": report.verdict,
            "cpu_seconds_best": round(best[0], 2),
            "cpu_seconds_all": [round(t[0], 2) for t in times[1:]],
            "first_call_cpu_seconds": round(times[0][0], 2),
            "evaluations": best[2],
            "over_the_evaluations_alone": round(best[0] / best[1], 3),
        }
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "atoms": 12,
        "trials": 24,
        **machine("OMP_NUM_THREADS=1 python benchmarks/verify_speed.py --write", ("torch", "numba")),
        "checks": rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    found = measure(arguments.repeats)
    print(json.dumps(found, indent=1))
    if arguments.write:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
