"""What a check costs, in CPU seconds of this process; kernels are compiled before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from geomlib import create_model
from geomlib.verify import check, locate
from tests.verify.families import GROUP, INPUTS, OUTPUTS, Energy, cluster


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def test_a_model_of_100_000_parameters_on_12_atoms() -> None:
    torch.manual_seed(0)
    model = create_model("tensornet", channels=64, layers=2, max_z=10)
    assert sum(p.numel() for p in model.parameters()) >= 100_000
    example = cluster(12)
    check(Energy(model), GROUP, INPUTS, OUTPUTS, example=example, trials=1)
    spent = seconds(lambda: check(Energy(model), GROUP, INPUTS, OUTPUTS, example=example).raise_if_failed())
    assert spent < 10.0


def test_locate_in_a_tensornet() -> None:
    torch.manual_seed(0)
    model = Energy(create_model("tensornet", channels=32, layers=2, max_z=10, group="SO(3)"))
    locate(model, GROUP, INPUTS, example=cluster(12))
    found = locate(model, GROUP, INPUTS, example=cluster(12))
    assert found.first_broken is not None and found.first_broken.startswith("model.interactions.0")
    assert seconds(lambda: locate(model, GROUP, INPUTS, example=cluster(12))) < 1.0
