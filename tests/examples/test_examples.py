"""The examples run and keep what they promise."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_layers_in_a_pyg_model():
    pytest.importorskip("torch_geometric")
    assert float(runpy.run_path(str(EXAMPLES / "pyg_model.py"))["main"]()) < 1e-12
