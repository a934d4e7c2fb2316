"""Every test of every suite catches the fault it is there for, by name; the same code without the fault passes all."""

from __future__ import annotations

import ast
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from geomlib.testing import GroupSuite, KernelSuite, LayerSuite, ModelSuite

HERE = Path(__file__).resolve().parent
FILES = {
    "broken_layers": (LayerSuite, object),
    "broken_models": (ModelSuite, LayerSuite),
    "broken_groups": (GroupSuite, object),
    "broken_kernels": (KernelSuite, object),
}
#: Inherited tests that a model can fail and a layer hardly; the rest is shown to work on layers.
AGAIN = {"broken_models": {"test_conservativity"}}

files = pytest.mark.parametrize("name", FILES)


def suites(name: str) -> dict[str, str]:
    """Return every suite of a file with the test that it must fail, or nothing for the correct one."""
    classes = [n for n in ast.parse((HERE / f"{name}.py").read_text()).body if isinstance(n, ast.ClassDef)]
    return {c.name: ast.get_docstring(c) or "" for c in classes if c.name.startswith("Test")}


def outcomes(folder: Path) -> dict[str, dict[tuple[str, str], tuple[str, str]]]:
    """Run the test each broken suite must fail and all tests of the correct ones; return outcome and message per file."""
    nodes = [
        f"tests/testing/{name}.py::{c}" + (f"::{t}" if t else "")
        for name in FILES
        for c, t in suites(name).items()
    ]
    xml = folder / "junit.xml"
    command = [sys.executable, "-m", "pytest", *nodes, "-q", f"--junitxml={xml}", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent.parent)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    found: dict[str, dict[tuple[str, str], tuple[str, str]]] = {name: {} for name in FILES}
    for case in ET.parse(xml).iter("testcase"):
        child = next((c for c in case if c.tag in ("failure", "error", "skipped")), None)
        state = ("passed", "") if child is None else (child.tag, child.get("message") or "")
        *_, name, suite = case.get("classname", "").split(".")
        found[name][suite, case.get("name", "")] = state
    return found


@files
def test_every_test_has_a_fault_of_its_own(name: str) -> None:
    suite, base = FILES[name]
    tests = {t for t in dir(suite) if t.startswith("test_")} - {t for t in dir(base) if t.startswith("test_")}
    assert tests and set(suites(name).values()) - {""} == tests | AGAIN.get(name, set())


def test_faults_are_caught_by_name_and_correct_twins_pass(tmp_path: Path) -> None:
    """One run of all files: the start of each would take as long as its tests."""
    for name, found in outcomes(tmp_path).items():
        _caught(name, found)


def _caught(name: str, found: dict[tuple[str, str], tuple[str, str]]) -> None:
    wanted = suites(name)
    missed = {f"{c}::{t}": found[c, t] for c, t in wanted.items() if t and found[c, t][0] != "failure"}
    assert not missed
    # A crash would fail too; what is wanted is a sentence.
    said = {f"{c}::{t}": found[c, t][1] for c, t in wanted.items() if t}
    starts = ("AssertionError", "geomlib.verify.report.Equi")
    assert not {test: text for test, text in said.items() if not text.startswith(starts)}
    good = {t: state for (c, t), state in found.items() if not wanted[c]}
    assert not {t: state for t, state in good.items() if state[0] not in ("passed", "skipped")}
    least = 18 if "layers" in name or "models" in name else 4
    assert sum(state[0] == "passed" for state in good.values()) >= least
