"""No seed blames a correct function, and what a check could not see is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from geomlib import InvalidInput
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.layers import LogEig
from geomlib.verify import check
from geomlib.verify.statistic import HEADROOM
from tests.verify.mutants import PAIRS

FAMILIES = ("SchNet", "TensorNet", "e3nn")
SMALL = [name for name in PAIRS if not name.startswith(FAMILIES)]


def alarms(name: str, seeds: range) -> list[str]:
    subject = PAIRS[name].build(False)
    reports = [
        check(
            subject.target,
            subject.group,
            subject.inputs,
            subject.outputs,
            example=subject.example,
            seed=seed,
            **subject.options,
        )
        for seed in seeds
    ]
    return [str(report) for report in reports if report.verdict != "EXACT"]


@pytest.mark.parametrize("name", SMALL)
def test_twins_at_other_seeds(name: str) -> None:
    assert not alarms(name, range(1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_twins_at_many_seeds(name: str) -> None:
    assert not alarms(name, range(4, 54))


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("the order of the rows", 107),
        ("the order of the rows", 108),
        ("a skew force on an atom in an octahedron", 32),
    ],
)
def test_round_off_is_not_underestimated(name: str, seed: int) -> None:
    """Far pairs of a Gaussian keep few digits: of few elements, the largest round-off may be small by chance."""
    subject = PAIRS[name].build(False)
    report = check(
        subject.target,
        subject.group,
        subject.inputs,
        subject.outputs,
        example=subject.example,
        seed=seed,
    )
    assert report.ratio < HEADROOM / 2


def test_an_input_that_changes_nothing_is_named() -> None:
    """A network whose last weights are still zero does not read its positions: nothing is learned about them."""

    def untrained(x: Tensor, pos: Tensor) -> Tensor:
        return x * x.norm(dim=-1, keepdim=True) + 0.0 * (pos - pos.mean(0))

    report = check(untrained, "E(3)*S_n", {"x": "node:vector", "pos": "node:point"}, "node:vector")
    assert any("`pos`" in text for text in report.warnings), str(report)


@pytest.mark.parametrize("leaking", [False, True])
def test_a_refused_move_hides_no_other(leaking: bool) -> None:
    """The target refuses an empty graph at the end; graphs one by one are compared all the same."""

    def energy(x: Tensor, batch: Tensor, charge: Tensor) -> Tensor:
        graphs = int(batch.max()) + 1
        if len(charge) != graphs:
            raise InvalidInput(f"charge: expected ({graphs},), got {tuple(charge.shape)}.")
        mean = x.norm(dim=-1).mean() if leaking else 0.0
        return x.new_zeros(graphs).index_add(0, batch, x.norm(dim=-1) - mean) + charge

    types = {"x": "node:vector", "batch": "node:index", "charge": "graph:inv"}
    example = {
        "x": torch.randn(5, 3),
        "batch": torch.tensor([0, 0, 1, 1, 1]),
        "charge": torch.tensor([0.0, 1.0]),
    }
    report = check(energy, "O(3)*S_n", types, "graph:scalar", example=example)
    assert report.verdict == ("BROKEN" if leaking else "EXACT"), str(report)
    assert any("refused by the target (charge" in text for text in report.warnings)
    if leaking:
        assert any("graphs one by one" in f.where for f in report.fields)


@pytest.mark.parametrize("n", [3, 30])
def test_functions_that_compute_in_float64_inside_are_judged_by_their_own_round_off(n: int) -> None:
    """Float32 shows one rounding of the result: logarithms of matrices were called broken."""
    x = torch.randn(4, n, 2 * n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x @ x.mT / (2 * n)
    layer = LogEig(n)
    assert check(layer, f"O({n})*S_n", example=(x,), explain=False, trials=8).verdict == "EXACT"

    def tilted(x: torch.Tensor) -> torch.Tensor:
        y = layer(x)
        y[..., 0, 0] = y[..., 0, 0] * (1 + 1e-12)
        return y

    assert check(tilted, symmetry=layer.symmetry, example=(x,), explain=False, trials=8).verdict == "BROKEN"


def test_a_second_derivative_that_is_zero_is_known_to_round_off_only() -> None:
    """The identity by exp and log: noise of 1e-14 was compared with noise."""

    def identity(x: Tensor) -> Tensor:
        return symfun(symfun(x, "log"), "exp")

    x = torch.randn(6, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x @ x.mT / 6
    types = {"inputs": "node:spd(3)", "outputs": "node:spd(3)"}
    for seed in (2, 3):
        report = check(identity, "O(3)*S_n", **types, example=(x,), explain=False, seed=seed, trials=8)
        assert report.verdict == "EXACT", report


def test_a_small_second_derivative_that_is_wrong_is_blamed() -> None:
    """A curvature of a ten-thousandth, whose backward pass cannot be differentiated to the right number."""

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x + 1e-4 * x.square()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return g * (1 + 2e-4 * x + 1e-4 * (x - x.detach()))

    def bent(x: Tensor) -> Tensor:
        return Bent.apply(x)

    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = check(bent, "S_n", inputs="node:inv", outputs="node:inv", example=(x,), explain=False, trials=8)
    assert report.verdict == "BROKEN" and any("second derivative" in text for text in report.failures), report
