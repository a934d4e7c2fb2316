from __future__ import annotations

import pytest

from geomlib.datasets import load, write_extxyz
from geomlib.datasets.command import main
from tests.datasets.conftest import make_structures


def test_info(tmp_path, capsys):
    write_extxyz(tmp_path / "a.xyz", make_structures(4, periodic=True))
    assert main(["info", str(tmp_path / "a.xyz")]) == 0
    out = capsys.readouterr().out
    for word in (
        "4 structures",
        "energy from 'energy' (eV)",
        "periodic 4",
        "net force",
        "pressure",
        "dipole (4, 3)",
        "config_type",
    ):
        assert word in out


def test_info_of_the_embedded_set(capsys):
    assert main(["info", "ethanol"]) == 0
    out = capsys.readouterr().out
    assert "H 7200, C 2400, O 1200" in out
    assert "mean -309.5870 eV, std 0.1324 eV" in out


def test_options_reach_the_reader(tmp_path, capsys, write):
    path = write(
        "1\nProperties=species:S:1:pos:R:3 e=1\nH 0 0 0\n1\nProperties=species:S:1:pos:R:3 e=nan\nH 0 0 0\n"
    )
    assert main(["info", str(path), "--energy-key", "e", "--units", "kcal/mol", "--on-nan", "mask"]) == 0
    out = capsys.readouterr().out
    assert "(kcal/mol)" in out
    assert "masked      energy in 1 structures" in out


def test_list(capsys):
    assert main(["list"]) == 0
    assert "ethanol: Ethanol" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "ethanl"], "InvalidInput: data set 'ethanl' is unknown"),
        (["make", "gfn2", "--molecule", "O", "--out", "x.csv"], "expected a .extxyz or .safetensors"),
        (["make", "gfn2", "--molecule", "O", "--out", "nowhere/x.extxyz"], "in a folder that exists"),
    ],
)
def test_errors_are_one_line(capsys, arguments, words):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_usage(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "make" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["extxyz", "safetensors"])
def test_make(tmp_path, capsys, suffix):
    for name in ("tblite.ase", "ase", "rdkit"):
        pytest.importorskip(name)
    out = tmp_path / f"w.{suffix}"
    arguments = [
        "make",
        "gfn2",
        "--molecule",
        "O",
        "--out",
        str(out),
        "--frames",
        "2",
        "--interval",
        "1",
        "--equilibration-ps",
        "0",
    ]
    assert main(arguments) == 0
    assert "2 frames" in capsys.readouterr().out
    assert len(load(out)) == 2
