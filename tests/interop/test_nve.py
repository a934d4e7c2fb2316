"""NVE with models trained here keeps energy and momentum: `benchmarks/nve.py` measures, this file holds the limits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("lightning")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "nve.py"
DRIFT = {"float64": 0.05, "float32": 0.1}  # meV/atom/ps
MOMENTUM = {"float64": 1e-12, "float32": 1e-4}  # u Å/fs


@pytest.fixture(scope="module")
def nve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nve_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ethanol(nve: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, Any]]:
    """The model, four replicas at 300 K, and what training gave: rMD17, or the set of the package."""
    torch.set_num_threads(1)
    settings = nve.ethanol_settings()
    model, test, about = nve.trained(settings, tmp_path_factory.mktemp("nve") / "ethanol")
    return model, nve.thermalised(model, test[0], replicas=4, ps=2.0), about


def within(row: dict[str, Any]) -> None:
    assert max(map(abs, row["drift_meV_per_atom_per_ps"])) <= DRIFT[row["dtype"]], row
    assert row["max_momentum_u_A_per_fs"] <= MOMENTUM[row["dtype"]], row


def test_the_model_is_worth_simulating(ethanol):
    """An untrained potential collapses: nothing it does says anything about the integration."""
    errors = ethanol[2]["test_errors_meV"]
    assert errors["F_mae"] < 30 and errors["E_mae"] < 15, errors


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ethanol_keeps_its_energy(nve, ethanol, dtype):
    model, start, _ = ethanol
    rows = [nve.conservation(model, start, dtype, dt, ps=20.0) for dt in (0.5, 0.25)]
    for row in rows:
        within(row)
        assert all(150 < kelvin < 500 for kelvin in row["mean_temperature_K"]), row
    coarse, fine = (nve.mean_square_root(row["fluctuation_meV_per_atom"]) for row in rows)
    assert 3 < coarse / fine < 6, rows


class TooStrong(nn.Module):
    """Forces that are not the gradient of the energy, by one percent."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.cutoff = model, model.cutoff

    def forward(self, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        out = self.model(*args, **options)
        return {**out, "forces": 1.01 * out["forces"]}


def test_the_ratio_sees_forces_that_do_not_belong_to_the_energy(nve, ethanol):
    model, start, _ = ethanol
    rows = [nve.conservation(TooStrong(model), start[0], "float64", dt, ps=0.5) for dt in (0.5, 0.25)]
    coarse, fine = (row["fluctuation_meV_per_atom"][0] for row in rows)
    assert coarse / fine < 2, rows


def test_water_box_keeps_its_energy(nve, shared, tmp_path):
    """192 atoms in a periodic cell, 2 ps. `run_md` raises if it explodes."""
    shared(nve.WATER)
    torch.set_num_threads(1)
    model, test, about = nve.trained(nve.water_settings(), tmp_path / "water")
    assert about["test_errors_meV"]["F_mae"] < 120, about
    start = nve.thermalised(model, test[0], replicas=1, ps=0.5)
    for dtype in ("float64", "float32"):
        row = nve.conservation(model, start, dtype, 0.5, ps=2.0)
        within(row)
        assert 250 < row["mean_temperature_K"][0] < 350, row
