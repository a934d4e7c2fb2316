"""The page `docs/verify_evidence.md`: what the verifier catches, what usual assertions catch, what it costs.

pip install e3nn torch-geometric torchmd-net==3.1.0
OMP_NUM_THREADS=1 python benchmarks/verify_evidence.py --out docs/verify_evidence.md
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import runpy
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from e3nn.util.test import assert_equivariant
from torch import Tensor

from geomlib.algebra.groups import parse_group, stratified
from geomlib.algebra.representations import act
from geomlib.verify import check, locate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verify.mutants import PAIRS, Subject
from tests.verify.reference_network import EXAMPLE, GROUP, INPUTS, OUTPUTS, reference_network
from tests.verify.test_mutation_table import ROWS

ROOT = Path(__file__).resolve().parents[1]
CALIBRATION = ROOT / "benchmarks" / "results" / "verify_calibration_cpu.json"

INTRODUCTION = """\
# Evidence for the verifier

Everything here is printed by `benchmarks/verify_evidence.py` and asserted by the tests named below each heading.
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def passes(claim: Callable[[], Any]) -> str:
    """Return how an assertion judges: ``pass`` where it raises nothing."""
    try:
        claim()
    except AssertionError:
        return "FAIL"
    return "pass"


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def usual(network: Callable[..., Tensor], dtype: torch.dtype, claim: Callable[[Tensor, Tensor], Any]) -> str:
    """Return how a comparison of f(g x) with g f(x) judges over eight elements."""
    x, pos = (EXAMPLE[name].to(dtype) for name in ("x", "pos"))
    before = network(x, pos)

    def compared() -> None:
        for g in stratified(parse_group(GROUP), 8, torch.Generator().manual_seed(0)):
            moved = network(x, act("node:point", g, pos, name="pos"))
            claim(moved, act(OUTPUTS, g, before, name="out"))

    return passes(compared)


def helper(network: Callable[..., Tensor], dtype: torch.dtype) -> str:
    """Return how e3nn's ``assert_equivariant`` judges with its own tolerance, over eight trials."""
    with default_dtype(dtype):
        arguments = [EXAMPLE[name].to(dtype) for name in ("x", "pos")]
        types = {"irreps_in": ["4x0e", "cartesian_points"], "irreps_out": ["1x0e+1x1o"]}
        return passes(lambda: assert_equivariant(network, args_in=arguments, ntrials=8, **types))


def mutation_table() -> str:
    def close(a: Tensor, b: Tensor) -> None:
        if not torch.allclose(a, b):
            raise AssertionError

    def within(a: Tensor, b: Tensor) -> None:
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)

    rows = []
    for name, row in ROWS.items():
        wide = reference_network(**row.fault)
        narrow = reference_network(**row.fault).float()
        generic = check(
            wide, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8, stress=False, gradients=False
        )
        report = check(wide, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8)
        found = locate(wide, GROUP, INPUTS, example=EXAMPLE).first_broken
        with torch.no_grad():
            cells = [
                helper(narrow, torch.float32),
                helper(wide, torch.float64),
                usual(wide, torch.float64, close),
                usual(narrow, torch.float32, within),
                usual(narrow, torch.float32, torch.testing.assert_close),
            ]
        error = generic.fields[0].e64
        missed = [f"**{c}**" if c == "pass" and name != "none" else c for c in cells]
        rows.append([name, f"{error:.1e}", *missed, report.verdict, f"`{found}`" if found else ""])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    head = [
        "fault in the middle layer", "error", "e3nn helper, f32", "e3nn helper, f64", "`allclose`, f64", "0.05, f32",
        "`assert_close`, f32", "`verify.check`", "`verify.locate`",
    ]  # fmt: skip
    return table(head, rows)


def judged(subject: Subject) -> Any:
    return check(
        subject.target,
        subject.group,
        subject.inputs,
        subject.outputs,
        example=subject.example,
        **subject.options,
    )


def pairs_table() -> tuple[str, int, int]:
    rows, caught, alarms = [], 0, 0
    for name, pair in PAIRS.items():
        mutant, twin = judged(pair.build(True)), judged(pair.build(False))
        caught, alarms = caught + (not mutant.ok), alarms + (not twin.ok)
        broken = [f.where for f in mutant.fields if f.verdict == mutant.verdict]
        where = (broken or [f.split(":")[0] for f in mutant.failures] or [""])[0]
        rows.append([name, mutant.verdict, where.replace("|", "/"), f"{twin.verdict} ({twin.ratio:.1f})"])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    return table(["mistake", "verdict", "seen by", "its twin (ratio)"], rows), caught, alarms


def public_table() -> str:
    rows = []
    for name, _, group, build, _ in runpy.run_path(str(ROOT / "examples" / "verify_public_models.py"))[
        "MODELS"
    ]:
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            subject = build()
            check(group=group, **subject)  # the first call compiles
            start = time.process_time()
            report = check(group=group, **subject)
        seconds = time.process_time() - start
        rows.append([name, group, report.verdict, f"{report.ratio:.2g}", f"{seconds:.1f}"])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    return table(["model", "group", "verdict", "x round-off", "CPU s"], rows)


def calibration_table() -> str:
    rows = []
    for row in json.loads(CALIBRATION.read_text())["rows"]:
        cells = [
            f"{row['E'][key]:.2g} / {row['F'][key]:.2g}" for key in ("e64", "e32", "d32", "e32_d32", "ratio")
        ]
        errors = row.get("force_error_meV_A")
        state = "untrained" if errors is None else f"trained, {errors[0]:.0f} to {errors[1]:.0f} meV/Å"
        rows.append([row["model"], state, row["input"], *cells, f"{row['stressed']:.2g}"])
    return table(
        [
            "model",
            "weights",
            "input",
            "e64, E / F",
            "e32",
            "d32",
            "e32/d32",
            "e64/(d32 2⁻²⁹)",
            "the same, stressed",
        ],
        rows,
    )


def page() -> str:
    pairs, caught, alarms = pairs_table()
    return "\n".join(
        [
            INTRODUCTION,
            "## Faults in a network\n",
            "A network of e3nn's layers, six atoms, a fault behind the linear map of the middle layer "
            "(`tests/verify/test_mutation_table.py`). *error* is the largest relative error in float64 on generic inputs; "
            "the columns in the middle are what usual assertions say about the same outputs, **pass** being a fault they "
            "missed.\n",
            mutation_table(),
            "## Mistakes and their twins\n",
            f"{caught} of {len(PAIRS)} mistakes are caught, {alarms} of {len(PAIRS)} correct twins raise an alarm "
            "(`tests/verify/test_mutants.py`). The ratio is the error in units of round-off; 16 are allowed.\n",
            pairs,
            "## Models from other packages\n",
            "As installed (`examples/verify_public_models.py`), 24 random elements, the stress set and gradients; one "
            "thread, second call.\n",
            public_table(),
            "## Calibration\n",
            "Energies and their gradients (E / F), generic inputs (`benchmarks/verify_calibration.py`; versions and commit "
            "are in `benchmarks/results/verify_calibration_cpu.json`).\n",
            calibration_table(),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the evidence for geomlib.verify.")
    parser.add_argument("--out", type=Path, help="Markdown file; without it, to the terminal")
    arguments = parser.parse_args()
    text = page().rstrip() + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
