from __future__ import annotations

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import load, read_deepmd

RNG = np.random.default_rng(0)
COORD, FORCE, ENERGY = RNG.normal(size=(4, 9)), RNG.normal(size=(4, 9)), RNG.normal(size=4)
BOX = np.tile((np.eye(3) * 5).reshape(9), (4, 1))


@pytest.fixture
def system(tmp_path):
    def put(folder="sys", types="0 1 1", names="O H", **arrays):
        path = tmp_path / folder
        part = path / "set.000"
        part.mkdir(parents=True, exist_ok=True)
        (path / "type.raw").write_text(types.replace(" ", "\n"))
        if names:
            (path / "type_map.raw").write_text(names)
        for name, array in ({"coord": COORD, "force": FORCE, "energy": ENERGY, "box": BOX} | arrays).items():
            if array is not None:
                np.save(part / f"{name}.npy", array)
        return path

    return put


def test_system(system):
    s = load(system(virial=np.tile(np.arange(9.0), (4, 1))))
    assert s.z.tolist() == [8, 1, 1] * 4
    np.testing.assert_array_equal(s.pos.numpy(), COORD.reshape(-1, 3))
    np.testing.assert_array_equal(s.forces.numpy(), FORCE.reshape(-1, 3))
    np.testing.assert_array_equal(s.energy.numpy(), ENERGY)
    np.testing.assert_allclose(s.stress[0].numpy(), -np.arange(9.0).reshape(3, 3) / 125, rtol=1e-14)
    assert bool(s.pbc.all())


def test_the_type_map_is_read_never_assumed(system):
    assert load(system("a", names="H O")).z[:3].tolist() == [1, 8, 8]
    path = system("b", names="")
    with pytest.raises(InvalidInput, match="type_map="):
        load(path)
    assert read_deepmd(path, type_map=["H", "O"]).z[:3].tolist() == [1, 8, 8]


def test_open_boundary(system):
    s = load(system(box=None))
    assert not bool(s.pbc.any())
    assert "open boundary" in s.source


def test_several_systems(system, tmp_path):
    system("a")
    system("b", types="0 1 1", names="S H")
    s = load(tmp_path)
    assert len(s) == 8
    assert s.elements == [1, 8, 16]


def test_atomic_tensors_of_one_type(system):
    s = load(
        system(atomic_dipole=np.arange(12.0).reshape(4, 3), polarizability=np.tile(np.arange(9.0), (4, 1)))
    )
    assert s.extra["atomic_dipole"].tolist()[:4] == [[0, 1, 2], [0, 0, 0], [0, 0, 0], [3, 4, 5]]
    assert s.extra["polarizability"][0].tolist() == [[0, 2, 4], [2, 4, 6], [4, 6, 8]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coord": COORD[:, :6]}, r"coord\.npy: shape \(4, 6\), expected"),
        ({"coord": COORD[:0]}, r"coord\.npy: shape"),
        ({"coord": None}, r"coord\.npy: no such file"),
        ({"energy": ENERGY[:3]}, r"energy\.npy: shape"),
        ({"energy": np.array([0, np.nan, 0, 0])}, r"energy\.npy: frame 1 holds NaN"),
        ({"force": FORCE[:, :3]}, r"force\.npy: shape"),
        ({"box": BOX * 0}, "cell without volume"),
        ({"box": None, "virial": BOX}, "needs box.npy"),
        ({"types": "0 1 2"}, "type 2, but the type map has 2"),
        ({"types": "0 x 1"}, r"type\.raw: expected one type number"),
        ({"names": "O Hh"}, "unknown element 'Hh'"),
        ({"atomic_dipole": np.zeros((4, 7))}, "fit neither"),
    ],
)
def test_damaged(system, changes, words):
    with pytest.raises(InvalidInput, match=words):
        load(system(**changes))


def test_folder_without_sets(tmp_path):
    (tmp_path / "type.raw").write_text("0")
    (tmp_path / "type_map.raw").write_text("H")
    with pytest.raises(InvalidInput, match=r"no set\.\* folder"):
        load(tmp_path)
    with pytest.raises(InvalidInput, match="no DeePMD system"):
        read_deepmd(tmp_path / "none")
