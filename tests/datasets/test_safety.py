"""Nothing in a data file is ever executed (acceptance A18)."""

from __future__ import annotations

import ast
import io
import json
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import geomlib.datasets
from geomlib import GeomlibError
from geomlib.datasets import load, read_split
from geomlib.datasets.qm9 import read_uncharacterized
from tests.datasets.test_ase_db import make_db, water
from tests.gadgets import NAMES, Gadget, gadgets


def carriers(folder: Path, gadget: Gadget) -> list[Path]:
    """Return files of every kind we read, all holding the gadget where a careless loader would run it."""
    blob = pickle.dumps(gadget)
    array = np.empty(2, dtype=object)
    array[:] = [gadget, gadget]
    saved = io.BytesIO()
    torch.save({"z": gadget}, saved)
    npy = io.BytesIO()
    np.save(npy, array, allow_pickle=True)
    paths = []
    for suffix in (
        ".npz",
        ".xyz",
        ".extxyz",
        ".db",
        ".h5",
        ".safetensors",
        ".tar.bz2",
        ".tar",
        ".sdf",
        ".csv",
    ):
        for kind, content in (("pickle", blob), ("torch", saved.getvalue()), ("npy", npy.getvalue())):
            path = folder / f"{kind}{suffix}"
            path.write_bytes(content)
            paths.append(path)
    for name, keys in (("rmd17", ("coords", "nuclear_charges")), ("qm9", ("N", "R", "Z"))):
        path = folder / f"{name}.npz"
        np.savez(path, **dict.fromkeys(keys, array))
        paths.append(path)
    with zipfile.ZipFile(folder / "nested.npz", "w") as archive:
        archive.writestr("R.npy", blob)
        archive.writestr("z.npy", saved.getvalue())
    paths.append(folder / "nested.npz")
    for column in ("numbers", "positions", "forces", "data"):
        paths.append(make_db(folder / f"{column}.db", water(**{column: blob})))
    system = folder / "deepmd" / "set.000"
    system.mkdir(parents=True)
    (system.parent / "type.raw").write_text("0")
    (system.parent / "type_map.raw").write_text("H")
    (system / "coord.npy").write_bytes(npy.getvalue())
    paths.append(system.parent)
    with tarfile.open(folder / "member.tar.bz2", "w:bz2") as archive:
        member = tarfile.TarInfo("a.xyz")
        member.size = len(blob)
        archive.addfile(member, io.BytesIO(blob))
    paths.append(folder / "member.tar.bz2")
    return paths


@pytest.mark.parametrize("name", NAMES)
def test_no_gadget_runs(tmp_path, name):
    marker = tmp_path / "executed"
    gadget = gadgets(marker)[name]
    folder = tmp_path / "files"
    folder.mkdir()
    for path in carriers(folder, gadget):
        with pytest.raises(GeomlibError):
            load(path)
        assert not marker.exists(), path.name
    for content in ("pickle.npz", "rmd17.npz"):
        with pytest.raises(GeomlibError):
            read_split(folder / content)
    for content in ("pickle.npz", "npy.npz"):
        path = folder / f"{content}.npy"
        path.write_bytes((folder / content).read_bytes())
        with pytest.raises(GeomlibError):
            read_uncharacterized(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_gadgets_would_run(tmp_path, name):
    """The test above can fail: an unpickler does execute these."""
    marker = tmp_path / "executed"
    result = pickle.loads(pickle.dumps(gadgets(marker)[name]))
    if name == "Popen":
        result.wait()
    assert marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"__ase_objtype__": "cell", "array": [1]},
        {"x": {"__ase_objtype__": "atoms"}},
        {"x": {"__datetime__": "x"}},
        {"x": {"__complex__": [1, 2]}},
        {"__reduce__": ["os.system", "ls"]},
    ],
)
def test_typed_json_of_ase_is_inert(tmp_path, content):
    s = load(make_db(tmp_path / "a.db", water(data=json.dumps(content))))
    assert len(s) == 1
    assert s.extra == {}


def test_sql_of_the_file_is_inert(tmp_path):
    path = make_db(tmp_path / "a.db", water())
    connection = sqlite3.connect(path)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON systems BEGIN DELETE FROM systems; END")
    connection.execute('CREATE TABLE "x\'; DROP TABLE systems; --" (a)')
    connection.commit()
    connection.close()
    assert len(load(path)) == 1


def test_the_source_holds_no_unpickler():
    """A grep that knows syntax: no unpickler, no eval or exec, no allow_pickle=True, no torch.load."""
    for path in Path(geomlib.datasets.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "joblib",
                    "marshal",
                    "shelve",
                    "subprocess",
                } & set(names), where
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
                assert called not in {
                    "eval",
                    "exec",
                    "compile",
                    "__import__",
                    "torch.load",
                    "os.system",
                    "os.popen",
                }, where
                assert not called.endswith((".extractall", ".extract")), where
                if called == "np.load":
                    assert {k.arg: ast.unparse(k.value) for k in node.keywords}.get(
                        "allow_pickle"
                    ) == "False", where
