"""The mutation table: faults in the middle layer of a network of e3nn's layers, each judged as it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
#: Rows in which generic inputs show nothing.
UNSEEN = ("none", "clamp(-1, 1)")
#: What special inputs alone can show, no false alarm and a fault of one amplitude; and a fault that is small on all.
EVERY_INPUT = ("none", "clamp(-1, 1)", "float32 cast inside float64")


def _judged(name: str, **options: Any) -> Report:
    return check(
        reference_network(**ROWS[name].fault), GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8, **options
    )


@pytest.mark.parametrize("name", ROWS)
def test_verdicts_on_generic_inputs(name: str) -> None:
    """The verdict, the size of the error, which is that of the table, and the names of its place and of the leak's."""
    row, report = ROWS[name], _judged(name, stress=False)
    seen = name not in UNSEEN
    assert report.verdict == (row.verdict if seen else "EXACT"), str(report)
    assert report.first_broken == (row.where if seen else ""), str(report)
    if row.e64 is not None:
        assert row.e64 / 10 < report.fields[0].e64 < row.e64 * 10
    assert (name in LEAKS) == any(FAULT in leak for leak in report.leaks), str(report)


def _on_every_input(name: str) -> None:
    report = _judged(name)
    assert report.verdict == ROWS[name].verdict, str(report)
    if name.startswith("clamp"):
        broken = [f.where for f in report.fields if f.verdict == "BROKEN"]
        assert all(where.startswith(("amplitude", "more than 64 neighbours")) for where in broken)


@pytest.mark.parametrize("name", EVERY_INPUT)
def test_verdicts(name: str) -> None:
    _on_every_input(name)


@pytest.mark.slow  # ten seconds each: seventy nodes that all see each other
@pytest.mark.parametrize("name", [name for name in ROWS if name not in EVERY_INPUT])
def test_verdicts_of_all_rows(name: str) -> None:
    _on_every_input(name)


@pytest.mark.parametrize("name", UNSEEN)
def test_the_first_broken_submodule_is_named(name: str) -> None:
    """Where a check of generic inputs, which asks `locate` itself, finds nothing."""
    found = locate(reference_network(**ROWS[name].fault), GROUP, INPUTS, example=EXAMPLE)
    assert found.first_broken == ROWS[name].where, str(found)
