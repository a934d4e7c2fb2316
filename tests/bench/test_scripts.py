"""Every script of `benchmarks/` can be imported: the names that it asks for exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("e3nn")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
#: One interpreter imports them all, with the folder in front as if each were run; none may start to work by that.
CODE = """
import importlib, sys, traceback
sys.path[:0] = [sys.argv[1]]
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except BaseException:
        print(name, traceback.format_exc(limit=-1).splitlines()[-1])
print("read", len(sys.argv) - 2)
"""


def imported(folder: Path, *names: str) -> list[str]:
    command = [sys.executable, "-c", CODE, str(folder), *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_every_benchmark_imports() -> None:
    names = [path.stem for path in SCRIPTS]
    assert len(names) > 20 and imported(ROOT / "benchmarks", *names) == [f"read {len(names)}"]


def test_a_name_that_is_gone_is_seen(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("from json import seconds\n")
    (tmp_path / "new.py").write_text("from json import loads\n")
    first, last = imported(tmp_path, "old", "new")
    assert first.startswith("old ImportError") and "seconds" in first and last == "read 2"
