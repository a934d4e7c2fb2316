"""``geomlib verify``: exit codes, the table, files of the user."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.algebra.symmetry import Symmetry
from geomlib.verify import Subject, subjects
from geomlib.verify.command import _HEAD, main
from geomlib.verify.naming import spelled, types_of
from geomlib.verify.serial import SCHEMA
from geomlib.verify.text import group_name

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

class Random(nn.Module):  # broken by a hundredth, with weights drawn when it is built
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        v = (x.unflatten(-1, (3, 3)) * self.weight[:, :1]).sum(-2)
        return v + 0.01 * torch.tanh(v) * self.weight[0]

def raises(x):
    raise KeyError("a mistake of the user")

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


@pytest.mark.parametrize(
    "arguments",
    [[], ["--all", "x.py:y"], ["--all", "--group", "O3"], ["nothing"], ["absent.py:f"], ["--bogus"]],
)
def test_usage_errors(capsys, arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert "geomlib verify" in capsys.readouterr().err


def test_json_and_html(file: str, tmp_path: Path) -> None:
    written, page = tmp_path / "report.json", tmp_path / "report.html"
    assert main([f"{file}:Declared", "--trials", "4", "--json", str(written), "--html", str(page)]) == 0
    table = json.loads(written.read_text())
    jsonschema.validate(table, SCHEMA)
    assert table["verdict"] == "EXACT" and table["ok"] is True
    assert "EXACT" in page.read_text() and sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["__pycache__", "mylayers.py", "report.html", "report.json"]
        if (tmp_path / "__pycache__").exists()
        else ["mylayers.py", "report.html", "report.json"]
    )


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_that_cannot_be_written_is_refused_first(file: str, capsys, option: str, monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the check ran before the path was looked at")

    monkeypatch.setattr("geomlib.verify.checking.check", never)
    assert main([f"{file}:Declared", option, "absent/report"]) == 2
    assert "no folder 'absent'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("O3", "O(3)"),
        ("SO3", "SO(3)"),
        ("E3xSn", "E(3)*S_n"),
        ("E(3)xS_n", "E(3)*S_n"),
        ("SE(3) x S_n", "SE(3)*S_n"),
        ("E(3)×S_n", "E(3)*S_n"),
        ("Oh", "O_h"),
        ("O(1,3)", "O(1,3)"),
        ("C4*An", "C_4*A_n"),
        ("translations", "translations"),
    ],
)
def test_spellings_of_groups(typed: str, meant: str) -> None:
    assert spelled(typed) == meant
    assert spelled(group_name(meant)) == meant  # what a report prints can be typed


def test_a_group_as_a_shell_likes_it(file: str, capsys) -> None:
    assert main([f"{file}:Bare", "--group", "O3", "--in", "vector", "--out", "vector", "--trials", "4"]) == 1
    assert "BROKEN  Bare : O(3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (["1o"], {"0": "1o"}),
        (["node:1o"], {"0": "node:1o"}),
        (["pos:point", "z:node:inv"], {"pos": "point", "z": "node:inv"}),
        (["1o", "node:0e"], {"0": "1o", "1": "node:0e"}),
        ([], {}),
    ],
)
def test_types_on_the_command_line(entries: list[str], found: dict[str, str]) -> None:
    assert types_of(entries, "0") == found


@pytest.mark.parametrize(("entries", "says"), [(["a:1o", "a:1o"], "twice"), (["a:1o", "1o"], "has no name")])
def test_types_that_contradict_each_other(entries: list[str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        types_of(entries, "0")


@pytest.mark.parametrize("name", ["raises", "broken.missing"])
def test_what_the_users_code_raises_is_no_verdict(file: str, capsys, name: str) -> None:
    """A crash exits with 2: 1 would say that the symmetry is broken."""
    assert main([f"{file}:{name}", "--group", "O3", "--in", "vector", "--out", "vector"]) == 2
    err = capsys.readouterr().err
    assert ("KeyError: 'a mistake of the user'" in err) == (name == "raises") and "geomlib verify:" in err


def test_replay_gives_the_worst_number_again(file: str, capsys, tmp_path: Path) -> None:
    """The line of a failed report, run in a shell, gives the same number, bit for bit."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    asked = ["--group", "O3", "--in", "3x1o", "--out", "vector", "--seed", "11", "--trials", "5"]
    assert main([f"{file}:Random", *asked, "--json", str(first)]) == 1
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith(" replay: "))
    words = shlex.split(line.removeprefix(" replay: "))
    assert words[:2] == ["geomlib", "verify"] and "--seed" in words and "--trial" in words
    command = [sys.executable, "-m", "geomlib.cli", *words[1:], "--json", str(second)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    before, after = (json.loads(path.read_text()) for path in (first, second))
    worst = max(before["fields"], key=lambda f: f["ratio"])
    assert worst["e64"] in [f["e64"] for f in after["fields"]] and after["trials"] == before["trials"]


def test_the_table_of_everything(capsys, tmp_path: Path, monkeypatch) -> None:
    some = [s for s in subjects() if s.name.endswith(("BesselBasis", "VectorHead", "tensornet"))]
    monkeypatch.setattr("geomlib.verify.walk.subjects", lambda: iter(some))
    written, page = tmp_path / "all.json", tmp_path / "all.html"
    options = ["--trials", "2", "--no-gradients", "--json", str(written), "--html", str(page)]
    assert main(["--all", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "name",
        "group",
        "fields",
        "e64",
        "ratio",
        "to",
        "round-off",
        "CPU",
        "time",
        "verdict",
    ]
    assert any(line.startswith("zoo.tensornet") and line.endswith("EXACT") for line in lines)
    assert len({line.rfind("EXACT") for line in lines[1:]}) == 1  # aligned
    assert all(re.search(r"\d\.\d s  +EXACT$", line) for line in lines[1:])
    table = json.loads(written.read_text())
    assert table["ok"] is True and len(table["reports"]) == len(lines) - 1
    for report in table["reports"]:
        assert report.pop("seconds") >= 0.0
        jsonschema.validate(report, SCHEMA)
    assert page.read_text().count("<section") == len(lines) - 1


def test_the_table_of_the_readme_is_what_the_command_prints() -> None:
    """Paste the output of ``geomlib verify --all`` after a layer is added: every row must still be true."""
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    table = re.search(r"^```\nname  .*?^```$", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    head, *rows = table.group(0).splitlines()[1:-1]
    assert head.split() == " ".join(_HEAD).split()
    found = {s.name: s for s in subjects()}
    assert len(rows) >= 9 and "zoo.tensornet" in {row.split()[0] for row in rows}
    for row in rows:
        name, group, fields, e64, ratio, _, _, verdict = row.split()
        assert found[name].build()[2].group == group and verdict == "EXACT", (
            f"{name}: not what the command prints"
        )
        assert int(fields) >= 1 and float(e64) < 1e-12 and float(ratio) < 16.0


def test_one_broken_layer_hides_no_other(capsys, monkeypatch) -> None:
    def crash(generator: torch.Generator) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        raise RuntimeError("this layer cannot be built")

    class Tanh(nn.Module):
        symmetry = Symmetry("O(3)", {"x": "vector"}, "vector")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x)

    def tanh(generator: torch.Generator) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        return Tanh(), {"x": torch.randn(4, 3, generator=generator)}

    found = [Subject("layers.Crash", crash), Subject("layers.Tanh", tanh)]
    monkeypatch.setattr("geomlib.verify.walk.subjects", lambda: iter(found))
    assert main(["--all", "--trials", "4"]) == 1
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines()[1:3]] == ["ERROR", "BROKEN"]
    assert "RuntimeError: this layer cannot be built" in out and "BROKEN  Tanh : O(3)" in out


def test_nothing_registered_is_code_3(capsys, monkeypatch) -> None:
    monkeypatch.setattr("geomlib.verify.walk.subjects", lambda: iter(()))
    assert main(["--all"]) == 3
    assert "no layer or model is registered" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = "import sys; from geomlib.verify.command import main; main(['--help'])"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--group" in done.stdout and "Exit codes" in done.stdout


def test_help_is_quick() -> None:
    """Under 0.2 s over a bare interpreter: the best of five, since other work may be running."""
    command = [sys.executable, "-m", "geomlib.cli", "verify", "--help"]
    bare = [sys.executable, "-c", "pass"]
    assert min(_seconds(command) for _ in range(5)) - min(_seconds(bare) for _ in range(5)) < 0.2


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start
