"""The parts of benchmarks/clifford_cuda.py that need no card."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geomlib.kernels.cuda.launcher import missing_device

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "clifford_cuda.py"
BENCHMARK = runpy.run_path(str(SCRIPT))
CASES = BENCHMARK["CASES"]

#: Megabytes of a tensor, and microseconds of the specification's table, in the order of ``floors``.
TABLE = {
    "Cl(3,0) n-body": (1.8, 0.8, 1.7, 2.1, 4.6),
    "Cl(3,0) edges": (134, 62, 125, 156, 343),
    "Cl(3,0) wide": (67, 31, 62, 78, 172),
    "Cl(1,3)": (164, 76, 152, 191, 419),
    "Cl(3,0,1)": (17, 7.8, 16, 20, 43),
    "Cl(5,0) CSMPN": (47, 22, 43, 54, 119),
    "Cl(4,1)": (82, 38, 76, 95, 210),
}


@pytest.mark.parametrize("name", CASES)
def test_the_limits_of_the_table(name):
    size, *times = TABLE[name]
    case = CASES[name]
    assert BENCHMARK["tensor_bytes"](case) / 1e6 == pytest.approx(size, rel=0.03)
    assert list(BENCHMARK["floors"](case).values()) == pytest.approx(times, rel=0.05)
    by_function = BENCHMARK["limits"](case)
    assert by_function["layer"]["forward"] >= times[2] and by_function["product"]["forward"] > times[0]
    assert all(limit > 0 for passes in by_function.values() for limit in passes.values())


def test_the_wide_case_is_bound_by_arithmetic():
    """As the specification says of 512 channels in float32: 256 microseconds of matrix products for each image."""
    case = CASES["Cl(3,0) wide"]
    work = BENCHMARK["works"](case)["layer"]["forward"]
    assert work.flops / 67e12 * 1e6 == pytest.approx(2 * 256, rel=0.02)
    assert BENCHMARK["microseconds"](case, work) == pytest.approx(work.flops / 67e6)


@pytest.mark.parametrize("function", ["product", "gate", "layer"])
def test_the_check_before_timing(function):
    case = CASES["Cl(3,0) n-body"]._replace(channels=3)
    errors = BENCHMARK["check"](case, function, "cpu", 40)
    assert 0 < errors["value"] < 1e-4
    BENCHMARK["check"].__globals__["TOLERANCE"][function] = (1e-12, 1e-12)
    with pytest.raises(BENCHMARK["Disagreement"], match="value off by"):
        BENCHMARK["check"](case, function, "cpu", 40)


def test_the_passes_that_are_timed():
    case = CASES["Cl(3,0) n-body"]._replace(rows=5, channels=3)
    for function in ("product", "gate", "layer"):
        leaves = BENCHMARK["leaves_of"](case, function, 5, torch.float32, "cpu")
        runs = BENCHMARK["by_autograd"](BENCHMARK["function_of"](case, function), leaves)
        assert list(runs) == list(BENCHMARK["PASSES"]) and runs["forward"]().shape == (5, 3, 8)
        assert [len(runs["backward"]()), len(runs["double backward"]())] == [len(leaves), len(leaves) + 1]


@pytest.mark.skipif(missing_device() is None, reason="this machine has a card")
def test_without_a_card():
    command = [sys.executable, str(SCRIPT), "--cases", "Cl(1,3)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line, last = done.stdout.splitlines()
    assert done.returncode == 1 and last.startswith("nothing measured:")
    assert json.loads(line)["case"] == "Cl(1,3)"
