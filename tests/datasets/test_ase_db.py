from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import Structures, read_ase_db, units
from tests.datasets.conftest import make_structures

COLUMNS = (
    "id INTEGER PRIMARY KEY, numbers BLOB, positions BLOB, cell BLOB, pbc INTEGER, energy REAL, forces BLOB, "
    "stress BLOB, key_value_pairs TEXT, data BLOB"
)


def water(**changes) -> dict:
    row = {
        "numbers": np.array([8, 1, 1], "<i4").tobytes(),
        "positions": np.arange(9, dtype="<f8").tobytes(),
        "cell": np.zeros(9).tobytes(),
        "pbc": 0,
        "energy": -1.5,
        "forces": np.arange(9, dtype="<f8").tobytes(),
        "stress": None,
        "key_value_pairs": "{}",
        "data": "{}",
    }
    return row | changes


def make_db(path: Path, *rows: dict, metadata: str | None = None) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE systems ({COLUMNS})")
    connection.execute("CREATE TABLE information (name TEXT, value TEXT)")
    if metadata is not None:
        connection.execute("INSERT INTO information VALUES ('metadata', ?)", (metadata,))
    for row in rows:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO systems ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    connection.commit()
    connection.close()
    return path


def test_what_ase_writes(tmp_path):
    """ASE is the oracle: it writes the file, with labels in columns and arrays in its binary `data`."""
    ase_db = pytest.importorskip("ase.db")
    s = make_structures(5, seed=3, periodic=True)
    s = s.replace(stress=(s.stress + s.stress.mT) / 2, charge=s.charge * 0)
    matrix = np.arange(9.0).reshape(3, 3)
    with ase_db.connect(tmp_path / "a.db") as db:
        for i, atoms in enumerate(s.to_ase()):
            atoms.info.clear()
            db.write(
                atoms, key_value_pairs={"kind": "x", "step": i}, data={"pol": matrix + i, "note": ["a", "b"]}
            )
    read = read_ase_db(tmp_path / "a.db")
    assert len(read) == 5
    for name in ("z", "pos", "ptr", "energy", "forces", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(read, name).numpy(), getattr(s, name).numpy(), err_msg=name)
    np.testing.assert_allclose(read.stress.numpy(), s.stress.numpy(), rtol=1e-15)
    assert read.extra["step"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(read.extra["pol"][4].numpy(), matrix + 4)
    assert read.text["kind"] == ("x",) * 5


def test_ase_reads_the_shared_databases_alike(shared):
    ase_db = pytest.importorskip("ase.db")
    path = shared("data/molecules/schnetpack/si16.db")
    s, row = read_ase_db(path), next(ase_db.connect(str(path)).select())
    np.testing.assert_array_equal(s.pos.numpy(), row.positions)
    np.testing.assert_array_equal(s.cell[0].numpy(), row.cell)
    np.testing.assert_array_equal(s.forces.numpy(), row.data["forces"])
    np.testing.assert_array_equal(s.stress[0].numpy(), row.data["stress"].reshape(3, 3))
    assert float(s.energy[0]) == row.data["energy"][0]


def test_base64_arrays(tmp_path):
    forces = np.random.default_rng(0).normal(size=(3, 3))
    data = {
        "total_energy": base64.b64encode(np.array([2.5]).tobytes()).decode(),
        "_shape_total_energy": [1],
        "_dtype_total_energy": "float64",
        "atomic_forces": base64.b64encode(forces.astype("<f4").tobytes()).decode(),
        "_shape_atomic_forces": [3, 3],
        "_dtype_atomic_forces": "float32",
    }
    s = read_ase_db(make_db(tmp_path / "a.db", water(energy=None, forces=None, data=json.dumps(data))))
    assert s.energy.tolist() == [2.5]
    np.testing.assert_array_equal(s.forces.numpy(), forces.astype("<f4"))


def test_units_of_the_metadata(tmp_path):
    metadata = json.dumps(
        {"_property_unit_dict": {"energy": "kcal/mol", "forces": "kcal/mol/Ang"}, "_distance_unit": "Ang"}
    )
    path = make_db(tmp_path / "a.db", water(), metadata=metadata)
    assert read_ase_db(path).energy.tolist() == [-1.5 * units.KCAL_MOL]
    assert read_ase_db(path).forces[0, 1] == units.KCAL_MOL
    assert read_ase_db(path, units="eV").energy.tolist() == [-1.5]
    bad = make_db(
        tmp_path / "b.db", water(), metadata=json.dumps({"_property_unit_dict": {"energy": "furlong"}})
    )
    with pytest.raises(InvalidInput, match="metadata are not understood"):
        read_ase_db(bad)


def test_periodic_flags_are_bits(tmp_path):
    cell = (np.eye(3) * 5).tobytes()
    s = read_ase_db(make_db(tmp_path / "a.db", water(pbc=5, cell=cell), water(pbc=0, cell=cell)))
    assert s.pbc.tolist() == [[True, False, True], [False] * 3]


def test_a_vector_of_a_triatomic_is_not_per_atom(tmp_path):
    data = json.dumps({"dipole": [1.0, 2.0, 3.0]})
    s = read_ase_db(make_db(tmp_path / "a.db", water(data=data), water(data=data)))
    assert s.extra["dipole"].shape == (2, 3)
    assert "dipole" in s.graph_extra


DAMAGED = {
    "numbers of odd length": (water(numbers=b"\x08\x00\x00"), "row 2: column 'numbers'"),
    "numbers as text": (water(numbers="H2O"), "row 2: column 'numbers' holds str"),
    "no atoms": (water(numbers=b""), "row 2: no atoms"),
    "number out of range": (
        water(numbers=np.array([8, 1, 300], "<i4").tobytes()),
        "row 2: atomic number 300",
    ),
    "negative number": (water(numbers=np.array([8, 1, -1], "<i4").tobytes()), "row 2: atomic number -1"),
    "positions too short": (water(positions=np.zeros(6).tobytes()), "row 2: column 'positions'"),
    "positions NaN": (
        water(positions=np.full(9, np.nan).tobytes()),
        "row 2: positions are missing or not finite",
    ),
    "positions missing": (water(positions=None), "row 2: positions are missing"),
    "forces too long": (water(forces=np.zeros(12).tobytes()), "row 2: column 'forces'"),
    "forces NaN": (water(forces=np.full(9, np.nan).tobytes()), "row 2: 'forces' of atom 0"),
    "energy missing": (water(energy=None), "row 2: no 'energy'"),
    "energy is text": (water(energy="low"), "row 2: 'energy' is 'low'"),
    "cell too short": (water(cell=b"\x00" * 8), "row 2: column 'cell'"),
    "periodic without cell": (water(pbc=7), "row 2: periodic, but its cell"),
    "flags out of range": (water(pbc=9), "row 2: pbc is 9"),
    "json cut": (water(data='{"a": [1, 2'), "row 2, data: damaged"),
    "json list": (water(data="[1]"), "row 2, data: holds list"),
    "deep json": (water(data="[" * 100_000), "row 2, data: damaged"),
    "binary offset beyond the end": (water(data=(99).to_bytes(8, "little") + b"{}"), "row 2, data: damaged"),
    "binary too short": (water(data=b"\x01"), "row 2, data: damaged"),
    "array beyond the end": (
        water(data=(8).to_bytes(8, "little") + b'{"x": {"__ndarray__": [[1000], "float64", 8]}}'),
        "row 2, data, 'x': array of 8000 bytes",
    ),
    "array before the start": (
        water(data=(8).to_bytes(8, "little") + b'{"x": {"__ndarray__": [[1], "float64", -8]}}'),
        "row 2, data, 'x': array of 8 bytes at -8",
    ),
    "array of objects": (
        water(data=(8).to_bytes(8, "little") + b'{"x": {"__ndarray__": [[1], "object", 8]}}'),
        "row 2, data, 'x': array of type 'object'",
    ),
    "array of negative shape": (
        water(data=(8).to_bytes(8, "little") + b'{"x": {"__ndarray__": [[-1], "float64", 8]}}'),
        "row 2, data, 'x': array of type",
    ),
    "base64 damaged": (
        water(data='{"x": "@@@", "_shape_x": [1], "_dtype_x": "float64"}'),
        "'x': damaged base64",
    ),
    "base64 of another size": (
        water(data='{"x": "AAAA", "_shape_x": [9], "_dtype_x": "float64"}'),
        "'x': damaged base64",
    ),
    "base64 of objects": (
        water(data='{"x": "AAAA", "_shape_x": [1], "_dtype_x": "O"}'),
        "'x': array of type 'O'",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_rows(tmp_path, name):
    row, words = DAMAGED[name]
    path = make_db(tmp_path / "a.db", water(), row)
    with pytest.raises(InvalidInput, match=words) as caught:
        read_ase_db(path)
    assert str(path) in str(caught.value)


def test_not_a_database(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"hello" * 500)
    with pytest.raises(InvalidInput, match="not a readable ASE database"):
        read_ase_db(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="no table 'systems'"):
        read_ase_db(path)
    with pytest.raises(InvalidInput, match="no such file"):
        read_ase_db(tmp_path / "none.db")
    with pytest.raises(InvalidInput, match="no structures"):
        read_ase_db(make_db(tmp_path / "b.db"))


def test_cut_database(tmp_path):
    path = make_db(tmp_path / "a.db", *[water() for _ in range(200)])
    blob = path.read_bytes()
    for size in range(100, len(blob), 4096):
        path.write_bytes(blob[:size])
        with pytest.raises(InvalidInput):
            read_ase_db(path)


def test_a_view_is_refused(tmp_path):
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE VIEW systems AS SELECT 1 AS id, x'08000000' AS numbers, zeroblob(24) AS positions"
    )
    connection.commit()
    connection.close()
    with pytest.raises(InvalidInput, match="no table 'systems'"):
        read_ase_db(path)


def test_the_file_is_left_alone(tmp_path):
    path = make_db(tmp_path / "a.db", water())
    before = path.read_bytes()
    assert isinstance(read_ase_db(path), Structures)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]
