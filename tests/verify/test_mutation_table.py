"""The mutation table: faults in the middle layer of a network of e3nn's layers, each judged as it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geomlib.verify import Report, check, locate
from tests.verify.reference_network import EXAMPLE, GROUP, HIDDEN, INPUTS, OUTPUTS, reference_network

FAULT = "layers.1.fault"
EDGES = "layers.1.edges"


@dataclass(frozen=True)
class Row:
    """One row: the fault, the error it truly causes (``None`` where there is none), the verdict, the place."""

    fault: dict[str, Any]
    e64: float | None
    verdict: str
    where: str | None = None


def _vector_bias(x: Tensor) -> Tensor:
    where = torch.zeros(HIDDEN.dim, dtype=x.dtype)
    where[HIDDEN.slices()[1]] = 0.1
    return x + where


def _axis(size: float) -> Callable[[Tensor], Tensor]:
    def scale(x: Tensor) -> Tensor:
        factor = torch.ones(HIDDEN.dim, dtype=x.dtype)
        factor[HIDDEN.slices()[1].start] += size
        return x * factor

    return scale


ROWS = {
    "none": Row({}, None, "EXACT"),
    "ReLU on all components": Row({"fault": torch.relu}, 1.6e-1, "BROKEN", FAULT),
    "SiLU on all components": Row({"fault": nn.functional.silu}, 1.2e-2, "BROKEN", FAULT),
    "tanh on all components": Row({"fault": torch.tanh}, 7.1e-4, "BROKEN", FAULT),
    "bias 0.1 on vectors": Row({"fault": _vector_bias}, 1.4, "BROKEN", FAULT),
    "LayerNorm over components": Row(
        {"fault": lambda x: nn.functional.layer_norm(x, (HIDDEN.dim,))}, 2.7e-1, "BROKEN", FAULT
    ),
    "1 % scale of one axis": Row({"fault": _axis(1e-2)}, 2.5e-3, "BROKEN", FAULT),
    "0.01 % scale of one axis": Row({"fault": _axis(1e-4)}, 2.5e-5, "BROKEN", FAULT),
    "bfloat16 cast": Row({"fault": lambda x: x.bfloat16().to(x)}, 1.1e-3, "BROKEN", FAULT),
    "float32 cast inside float64": Row({"fault": lambda x: x.float().to(x)}, 1.9e-8, "PRECISION LEAK", FAULT),
    "edges with an x-difference above 2 dropped": Row(
        {"edges": lambda vec: (vec[:, :1].abs() < 2).to(vec)}, 5.5e-1, "BROKEN", EDGES
    ),
    "output x 1e-5, with ReLU": Row(
        {"fault": torch.relu, "last": lambda x: 1e-5 * x}, 1.6e-1, "BROKEN", FAULT
    ),
    "all NaN": Row({"last": lambda x: x * float("nan")}, None, "NONFINITE", "last"),
    "constant output": Row({"last": lambda x: torch.eye(4).to(x)[0].expand_as(x)}, None, "VACUOUS", "last"),
    "clamp(-1, 1)": Row({"fault": lambda x: x.clamp(-1, 1)}, None, "BROKEN", FAULT),
}
LEAKS = ("bfloat16 cast", "float32 cast inside float64")


@cache
def _report(name: str) -> Report:
    network = reference_network(**ROWS[name].fault)
    return check(network, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8)


@pytest.mark.parametrize("name", ROWS)
def test_verdicts(name: str) -> None:
    assert _report(name).verdict == ROWS[name].verdict, str(_report(name))


@pytest.mark.slow  # two minutes; it checks the table, not the verifier
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.e64 is not None])
def test_the_faults_are_as_large_as_the_table_says(name: str) -> None:
    """The network is the one of the table: its generic errors have the same order of magnitude."""
    network = reference_network(**ROWS[name].fault)
    generic = check(network, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8, stress=False, gradients=False)
    expected = ROWS[name].e64
    assert expected is not None and expected / 10 < generic.fields[0].e64 < expected * 10


def test_the_clamp_shows_at_other_amplitudes_only() -> None:
    network = reference_network(**ROWS["clamp(-1, 1)"].fault)
    calm = check(network, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8, stress=False)
    assert calm.verdict == "EXACT"
    assert all(
        f.where.startswith(("amplitude", "more than 64 neighbours"))
        for f in _report("clamp(-1, 1)").fields
        if f.verdict == "BROKEN"
    )


@pytest.mark.parametrize("name", ROWS)
def test_the_first_broken_submodule_is_named(name: str) -> None:
    found = locate(reference_network(**ROWS[name].fault), GROUP, INPUTS, example=EXAMPLE)
    assert found.first_broken == ROWS[name].where, str(found)


@pytest.mark.parametrize("name", LEAKS)
def test_the_leak_is_named(name: str) -> None:
    assert any(FAULT in leak for leak in _report(name).leaks), str(_report(name))
