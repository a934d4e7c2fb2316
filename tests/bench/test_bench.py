"""`geomlib bench`: contenders agree before they are timed, times are taken in turn, files hold what was printed."""

from __future__ import annotations

import json

import pytest
import torch

from geomlib import InvalidInput, cli
from geomlib.bench.cases import TASKS, Case, Disagreement, timed_functions
from geomlib.bench.results import Row, machine, measure, table
from geomlib.bench.suites import GROUPS, PROBLEMS, cases
from geomlib.bench.timing import interleaved, ratios


def test_functions_are_called_in_turn_and_equally_often() -> None:
    order: list[str] = []
    spin = {name: (lambda name=name: order.append(name) or sum(range(200_000))) for name in "ab"}
    times = interleaved(spin, rounds=4)
    assert [len(t) for t in times.values()] == [4, 4] and min(map(min, times.values())) > 0
    timed = [name for k, name in enumerate(order[8:]) if k == 0 or order[8:][k - 1] != name]
    assert "".join(timed) == "abababab"


def test_ratio_is_the_median_of_rounds() -> None:
    assert ratios({"a": [1.0, 2.0, 1.0], "b": [3.0, 4.0, 100.0]}, "a") == {"a": 1.0, "b": 3.0}
    with pytest.raises(InvalidInput, match="0 rounds"):
        interleaved({}, rounds=0)


def test_a_wrong_contender_is_not_timed() -> None:
    x = torch.randn(3)
    case = Case("g", "n", (x,), {"geomlib": torch.sin, "other": torch.cos}, 3, agree=("other",))
    with pytest.raises(Disagreement, match="other differs from geomlib"):
        measure(case, 1)


def test_passes_compute_derivatives() -> None:
    x, y = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    value, first, second = (timed_functions(torch.mul, (x, y), task)() for task in TASKS)
    assert torch.equal(value, x * y) and not value.requires_grad
    gradient_x, gradient_y = first
    torch.testing.assert_close(gradient_x * x, gradient_y * y)
    by_x, by_y, by_g = second
    assert by_x.shape == by_y.shape == by_g.shape == (4,)
    assert bool(by_g.abs().sum() > 0)


@pytest.mark.parametrize("group", GROUPS)
def test_contenders_agree(group: str) -> None:
    """The value of every installed library that computes the same numbers."""
    pytest.importorskip("e3nn")
    for case in cases(group, rows=12):
        case.check()
        assert "e3nn" in case.agree


def test_problems_are_those_of_the_models() -> None:
    product = {case.name: case for case in cases("product", rows=2)}
    assert list(product) == list(PROBLEMS)
    # Paths of MACE-medium with outputs up to l = 2, and of NequIP l = 2: counted by hand in the literature.
    assert product["MACE-medium"].inputs[2].shape == (2, 1024)
    assert product["NequIP l=2"].inputs[2].shape == (2, 1920)


def test_command_writes_table_json_and_plot(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    status = cli.main(
        ["bench", "products", "--rows", "20", "--rounds", "1", "--groups", "harmonics", "--tasks", "forward", "backward",
         "--out", str(out), "--plot", str(plot)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert status == 0 and "geomlib us/row" in printed and "l <= 4" in printed
    found = json.loads(out.read_text())
    assert found["about"]["threads"] == 1 and found["about"]["versions"]["torch"] == torch.__version__
    assert {r["task"] for r in found["rows"]} == {"forward", "backward"}
    assert all(r["microseconds"]["geomlib"] > 0 for r in found["rows"])
    assert plot.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--rows", "0"], "--rows: got 0"), (["--out", "nowhere/x.json"], "does not exist")],
)
def test_wrong_options(arguments: list[str], message: str, capsys) -> None:
    assert cli.main(["bench", "products", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_table_marks_what_a_library_cannot() -> None:
    rows = [
        Row("g", "one", "forward", {"geomlib": 1.0, "a": 2.0}, {"geomlib": 1.0, "a": 2.0}),
        Row("g", "two", "forward", {"geomlib": 1.0}, {"geomlib": 1.0}, {"a": "no such pass"}),
    ]
    lines = table(rows).splitlines()
    assert lines[1].endswith("2.0x") and lines[2].endswith("-")
    assert table([]) == ""


def test_machine_names_versions_and_commit() -> None:
    about = machine("a command", ("torch", "no such package"))
    assert about["versions"] == {"torch": torch.__version__} and about["command"] == "a command"
    assert {"machine", "commit", "load", "threads"} <= set(about)
