"""Compiled loops on disk are as old as their helpers."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

HELPER = """
from geomlib.kernels.jit import jit_inline

@jit_inline
def step(x):
    return x + {number}
"""
LOOP = """
from geomlib.kernels.jit import jit
from loops_of_a_test.helper import step

@jit
def loop(x):
    for i in range(x.shape[0]):
        x[i] = step(x[i])
"""


def run() -> tuple[float, int]:
    """Import the package anew; the result of its loop, and how many times it was found on disk."""
    for name in [name for name in sys.modules if name.startswith("loops_of_a_test")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    from geomlib.kernels import jit

    jit._sources.cache_clear()
    loop = importlib.import_module("loops_of_a_test.loop").loop
    x = np.zeros(3)
    loop(x)
    return float(x[0]), sum(loop.dispatcher.stats.cache_hits.values())


def test_a_changed_helper_compiles_its_callers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "loops_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Loops."""')
    (folder / "loop.py").write_text(LOOP)
    (folder / "helper.py").write_text(HELPER.format(number=1.0))
    assert run() == (1.0, 0)
    assert run() == (1.0, 1)
    (folder / "helper.py").write_text(HELPER.format(number=2.0))
    os.utime(folder / "helper.py", ns=(1, 1))  # an older file that came from elsewhere
    assert run() == (2.0, 0)
    for name in [name for name in sys.modules if name.startswith("loops_of_a_test")]:
        del sys.modules[name]
