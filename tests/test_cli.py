"""The command `geomlib`: quick, clear, and clean about errors."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

import pytest

import geomlib
from geomlib import doctor
from geomlib.cli import COMMANDS, main


def run(*words, code="from geomlib.cli import main; import sys; sys.exit(main())"):
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_help_names_every_command(capsys, words):
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_help_imports_nothing_heavy_and_is_quick():
    code = (
        "import sys; from geomlib.cli import main; main(['--help']);"
        "sys.exit(bool({'torch', 'numpy', 'lightning', 'yaml'} & set(sys.modules)))"
    )
    assert run(code=code).returncode == 0
    best = []
    for _ in range(5):
        start = time.perf_counter()
        run("--help")
        best.append(time.perf_counter() - start)
    assert min(best) < 0.3


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"geomlib {geomlib.__version__}"


def test_wrong_command_gets_a_suggestion(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(capsys, name):
    module = importlib.import_module(COMMANDS[name][0])
    try:
        code = module.main(["--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0 and "usage" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "tensornett", "--data", "ethanol"], "Did you mean 'tensornet'?"),
        (["train", "tensornet", "--data", "ethanoll"], "Did you mean 'ethanol'?"),
        (["train", "tensornet", "--data", "ethanol", "--epocs", "3"], "Did you mean --epochs?"),
        (["train", "tensornet", "--data", "ethanol", "--epochs", "x"], "epochs"),
        (["evaluate", "no/such/run"], "no such run"),
    ],
)
def test_errors_are_one_clean_message(tmp_path, words, message):
    done = subprocess.run(
        [sys.executable, "-m", "geomlib.cli", *words], capture_output=True, text=True, check=False, cwd=tmp_path,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback():
    done = run("train", "tensornett", "--data", "ethanol", "--debug")
    assert "Traceback" in done.stderr and "InvalidInput" in done.stderr


def test_without_lightning_the_message_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['lightning'] = None; from geomlib.cli import main; sys.exit(main(sys.argv[1:]))"
    done = run("train", "tensornet", "--data", "ethanol", "--out", str(tmp_path / "r"), code=code)
    assert done.returncode == 2 and "MissingDependency" in done.stderr and "[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_list_shows_models_layers_and_data(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "tensornet" in out and "parameters" in out and "ethanol" in out and "TensorEmbedding" in out
    assert main(["list", "data"]) == 0
    assert "tensornet" not in capsys.readouterr().out


def test_doctor_reports(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out and "backend torch" in out and "threads" in out and "no problem" in out
    monkeypatch.setattr(
        doctor, "homonym", lambda: "the distribution 'geomlib' 9 is installed: another project"
    )
    assert main(["doctor"]) == 1
    assert "another project" in capsys.readouterr().out


def test_doctor_knows_the_other_geomlib(tmp_path):
    """A real installed distribution of that name, on the path of a fresh interpreter."""
    info = tmp_path / "geomlib-0.9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: geomlib\nVersion: 0.9.9\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from geomlib.doctor import homonym; print(homonym())"
    assert "0.9.9" in run(code=code).stdout


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3", "2.5.0"])
def test_doctor_warns_of_bad_lightning(monkeypatch, version, capsys):
    monkeypatch.setattr(doctor, "_version", lambda name: version if name == "lightning" else None)
    assert doctor.main([]) == 1
    assert version in capsys.readouterr().out


def test_warnings_are_printed_without_source_lines(capsys, monkeypatch):
    import types
    import warnings

    fake = types.ModuleType("fake_command")
    fake.main = lambda argv: warnings.warn("look out", UserWarning, stacklevel=1) or 0
    monkeypatch.setitem(sys.modules, "fake_command", fake)
    monkeypatch.setitem(COMMANDS, "fake", ("fake_command", ""))
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["fake"]) == 0
    assert capsys.readouterr().err == "UserWarning: look out\n"
    assert warnings.showwarning is before
