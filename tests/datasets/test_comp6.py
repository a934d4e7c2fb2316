from __future__ import annotations

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import load, units

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)


@pytest.fixture
def save(tmp_path):
    def put(**changes):
        arrays = {
            "coordinates": RNG.normal(size=(4, 2, 3)),
            "energies": RNG.normal(size=4),
            "forces": RNG.normal(size=(4, 2, 3)),
            "species": np.array([b"O", b"H"]),
            "cm5": RNG.normal(size=(4, 3)),
        } | changes
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as stream:
            group = stream.create_group("set/mol00")
            for name, array in arrays.items():
                if array is not None:
                    group[name] = array
        return path, arrays

    return put


def test_the_gradient_is_negated(save):
    path, arrays = save()
    s = load(path)
    np.testing.assert_array_equal(s.forces.numpy(), -arrays["forces"].reshape(-1, 3) * units.HARTREE)
    np.testing.assert_array_equal(s.energy.numpy(), arrays["energies"] * units.HARTREE)
    np.testing.assert_array_equal(
        s.extra["cm5"].numpy(), arrays["cm5"][:, :2].reshape(-1)
    )  # the total is no atom
    assert s.z.tolist() == [8, 1] * 4
    assert s.text["group"] == ("mol00",) * 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coordinates": np.zeros((4, 3, 3))}, "coordinates of shape"),
        ({"coordinates": np.full((4, 2, 3), np.nan)}, "not finite"),
        ({"energies": np.zeros(3)}, "3 energies for 4 frames"),
        ({"energies": np.full(4, np.nan)}, "not finite"),
        ({"forces": np.zeros((4, 2, 2))}, "forces of shape"),
        ({"species": np.array([b"O", b"Xx"])}, "unknown element 'Xx'"),
        ({"energies": None}, "no group holds"),
    ],
)
def test_damaged(save, changes, words):
    path, _ = save(**changes)
    with pytest.raises(InvalidInput, match=words):
        load(path)


def test_cut_file(save):
    path, _ = save()
    blob = path.read_bytes()
    for size in (0, 100, len(blob) // 2):
        path.write_bytes(blob[:size])
        with pytest.raises(InvalidInput, match=r"a\.h5"):
            load(path)
