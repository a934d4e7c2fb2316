"""The parts of benchmarks/products_cuda.py that need no card."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geomlib import InvalidInput
from geomlib.kernels.cuda.launcher import missing_device
from geomlib.kernels.tensor_product import cuda
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows

from .problems import MIXED, arguments, close, specified

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "products_cuda.py"
BENCHMARK = runpy.run_path(str(SCRIPT))
PROBLEMS = BENCHMARK["PROBLEMS"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_counts_of_the_limit_table(name):
    problem = PROBLEMS[name]
    spec = BENCHMARK["spec_of"](problem)
    assert (len(spec.paths), spec.weight_numel) == (problem.paths, problem.weights)
    assert BENCHMARK["bytes_per_edge"](spec) == pytest.approx(problem.bytes, rel=2e-3)
    assert problem.bytes * 160_000 / 4.3e9 == pytest.approx(problem.limit[0], rel=5e-3)
    assert cuda.refusal(spec) is None


def test_graphs():
    for kind in ("random", "local"):
        sender, receiver = BENCHMARK["graph"](kind, 30, 600)
        assert torch.equal(torch.bincount(receiver), torch.full((30,), 20)) and int(sender.max()) < 30
        assert not torch.equal(receiver, receiver.sort().values)
    sender, receiver = BENCHMARK["graph"]("local", 1000, 5000)
    distance = (sender - receiver).abs()
    assert int(torch.minimum(distance, 1000 - distance).max()) <= 100
    with pytest.raises(InvalidInput, match="'random' or 'local'"):
        BENCHMARK["graph"]("ring", 3, 3)


def test_a_line_of_the_table():
    times = {"kernel": {"forward": 0.2, "backward": 1.0, "double backward": 2.0}}
    line = BENCHMARK["row"]("MACE-large", PROBLEMS["MACE-large"], times)
    assert line["fraction of limit"] == {"forward": 1.775, "backward": 0.685, "double backward": 0.72}
    assert line["ms"]["kernel"]["backward"] == 1.0
    assert BENCHMARK["file_name"]("products_cuda", "NVIDIA H200") == "products_cuda_nvidia_h200.json"


def test_the_passes_that_are_timed():
    """On a CPU the kernels are interpreted: what is timed is the right work."""
    leaves, source, target = arguments(MIXED, 5, 13)
    rows = DeviceRows.edges(source, target, 5, 5)
    runs = BENCHMARK["kernel_runs"](MIXED, rows, leaves)
    assert list(runs) == list(BENCHMARK["PASSES"])
    assert [len(runs["backward"]()), len(runs["double backward"]())] == [3, 4]
    assert runs["forward"]().shape == (5, MIXED.irreps_out.dim)
    product = BENCHMARK["by_autograd"](lambda *t: specified(MIXED, t, source, target), leaves)
    assert list(product) == list(BENCHMARK["PASSES"])
    close(product["forward"](), specified(MIXED, leaves, source, target), 1e-15)
    assert [len(product["backward"]()), len(product["double backward"]())] == [3, 4]


@pytest.mark.skipif(missing_device() is None, reason="this machine has a card")
def test_without_a_card():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("nothing measured:")
