from __future__ import annotations

import subprocess
import sys

import pytest

from geomlib import InvalidInput
from geomlib.datasets import Structures, list_datasets, load, write_extxyz
from geomlib.datasets.loading import FORMATS
from tests.datasets.conftest import make_structures, same


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s = make_structures(2)
    write_extxyz("ethanol.xyz", s)
    same(load("ethanol.xyz"), s)  # a suffix means a file
    assert len(load("ethanol")) == len(load("Ethanol")) == 1200
    same(load(str(tmp_path / "ethanol.xyz")), s)
    same(load("ethanol.xyz", format="extxyz"), s)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ethanl", "Did you mean 'ethanol'"),
        ("water", "list_datasets"),
        ("folder/train.xzy", r"Did you mean folder/train\.xyz"),
        ("nowhere/train.xyz", "no such file"),
        ("folder/train.pkl", "suffix '.pkl' tells no format"),
        ("folder/train.pt", "suffix '.pt' tells no format"),
    ],
)
def test_unknown_names(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for file in ("train.xyz", "train.pkl", "train.pt"):
        (tmp_path / "folder" / file).write_text("")
    with pytest.raises(InvalidInput, match=words):
        load(name)


def test_unknown_formats_and_options(write):
    path = write("1\n\nH 0 0 0\n")
    with pytest.raises(InvalidInput, match=r"format 'extxy' is unknown.*Did you mean 'extxyz'"):
        load(path, format="extxy")
    with pytest.raises(InvalidInput, match=r"option 'energy_keys' is unknown.*Did you mean 'energy_key'"):
        load(path, energy_keys="e")
    with pytest.raises(InvalidInput, match="takes no options; got units"):
        load("ethanol", units="eV")


def test_every_format_has_a_reader():
    import importlib

    for module, name in FORMATS.values():
        assert callable(getattr(importlib.import_module(module), name))


def test_public_names():
    import geomlib.datasets as package

    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = package.lod
    assert list_datasets() == ["ethanol"]
    assert isinstance(load("ethanol"), Structures)


def test_loading_needs_no_optional_package(tmp_path):
    """A plain install reads extxyz, databases, npz and the embedded set: nothing optional is imported."""
    write_extxyz(tmp_path / "a.xyz", make_structures(2))
    code = (
        "import sys\n"
        "from geomlib.datasets import load, split, generate, single_points, Units\n"
        f"load('ethanol'); load({str(tmp_path / 'a.xyz')!r}); split(10, 5, 2)\n"
        "heavy = {'ase', 'h5py', 'rdkit', 'tblite', 'scipy', 'lightning'}\n"
        "heavy |= {'torch_geometric', 'matplotlib', 'numba'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
