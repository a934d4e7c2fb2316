"""``geomlib verify``: exit codes, the table, files of the user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from geomlib.verify.command import main

LAYERS = """
import torch
from torch import nn
from geomlib.algebra.symmetry import Symmetry

class Declared(nn.Module):
    def forward(self, x):
        return 2 * x
    @property
    def symmetry(self):
        return Symmetry("O(3)", {"x": "vector"}, "vector")
    @classmethod
    def example(cls, generator):
        return cls(), {"x": torch.randn(4, 3, generator=generator)}

class Bare(nn.Module):
    def forward(self, x):
        return torch.tanh(x)

class NeedsArguments(nn.Module):
    def __init__(self, width):
        super().__init__()

instance = nn.Identity()

def energy(z, pos):
    return (pos - pos.mean(0)).square().sum(-1) * z
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mylayers.py"
    path.write_text(LAYERS)
    return str(path)


@pytest.mark.parametrize(
    ("name", "arguments", "code", "says"),
    [
        ("Declared", [], 0, "EXACT  Declared : O(3)"),
        ("Bare", ["--group", "O(3)", "--in", "4x0e", "--out", "4x0e"], 1, "VACUOUS"),
        ("Bare", ["--group", "O(3)", "--in", "8x0e+4x1o", "--out", "8x0e+4x1o"], 1, "BROKEN"),
        ("instance", ["--group", "E(3)", "--in", "node:point", "--out", "node:point"], 0, "EXACT"),
        (
            "energy",
            ["--group", "E(3)*S_n", "--in", "z:inv", "--in", "pos:point", "--out", "node:scalar"],
            0,
            "EXACT",
        ),
    ],
)
def test_one_object(file: str, capsys, name: str, arguments: list[str], code: int, says: str) -> None:
    assert main([f"{file}:{name}", "--trials", "4", *arguments]) == code
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "arguments", "says"),
    [
        ("Missing", [], "has no 'Missing'. It defines"),
        ("Bare", [], "declares no symmetry, so group, inputs, outputs must be given"),
        ("NeedsArguments", [], "needs arguments"),
        ("Bare", ["--group", "O(4", "--in", "vector", "--out", "vector"], "Did you mean"),
        ("Bare", ["--group", "O(3)", "--in", "vectro", "--out", "vector"], "Did you mean 'vector'"),
    ],
)
def test_wrong_usage_is_code_2(file: str, capsys, target: str, arguments: list[str], says: str) -> None:
    assert main([f"{file}:{target}", *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--all", "x.py:y"], ["nothing"], ["absent.py:f"], ["--bogus"]])
def test_usage_errors(capsys, arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert "geomlib verify" in capsys.readouterr().err


def test_json(file: str, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert main([f"{file}:Declared", "--trials", "4", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["verdict"] == "EXACT"


def test_the_table_of_everything(capsys) -> None:
    assert main(["--all", "--trials", "2", "--no-gradients"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "group", "fields", "e64", "ratio", "to", "round-off", "verdict"]
    assert any(line.startswith("zoo.tensornet") and line.endswith("EXACT") for line in lines)
    assert len({line.rfind("EXACT") for line in lines[1:]}) == 1  # aligned


def test_help_needs_no_torch() -> None:
    code = "import sys; from geomlib.verify.command import main; main(['--help'])"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--group" in done.stdout and "Exit codes" in done.stdout
