from __future__ import annotations

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import load, read_md17, units

RNG = np.random.default_rng(0)
POS = RNG.normal(size=(7, 3, 3))
ENERGY, FORCES = RNG.normal(size=7) * 1e5, RNG.normal(size=(7, 3, 3))
Z = np.array([8, 1, 1], dtype=np.uint8)
REVISED = {
    "nuclear_charges": Z,
    "coords": POS,
    "energies": ENERGY,
    "forces": FORCES,
    "old_indices": np.arange(7.0),
}
OLD = {
    "R": POS,
    "z": Z,
    "E": ENERGY[:, None],
    "F": FORCES,
    "name": np.array("water"),
    "theory": np.array(b"dft"),
}


@pytest.fixture
def save(tmp_path):
    def put(arrays, name="a.npz"):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return put


@pytest.mark.parametrize("arrays", [REVISED, OLD], ids=["rMD17", "MD17"])
def test_both_layouts(save, arrays):
    s = load(save(arrays))
    assert s.z.tolist() == [8, 1, 1] * 7
    np.testing.assert_array_equal(s.pos.numpy(), POS.reshape(-1, 3))
    np.testing.assert_array_equal(s.energy.numpy(), ENERGY * units.KCAL_MOL)
    np.testing.assert_array_equal(s.forces.numpy(), FORCES.reshape(-1, 3) * units.KCAL_MOL)
    assert s.energy.shape == (7,)  # never (7, 1)
    assert "kcal/mol converted to eV" in s.source


def test_units_stated_or_given(save):
    stated = OLD | {"e_unit": np.array(b"eV"), "r_unit": np.array(b"Ang")}
    np.testing.assert_array_equal(read_md17(save(stated)).energy.numpy(), ENERGY)
    np.testing.assert_array_equal(read_md17(save(REVISED), units="eV").energy.numpy(), ENERGY)


def test_without_labels(save):
    s = read_md17(save({"R": POS, "z": Z}))
    assert s.energy is None
    assert s.forces is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coords": POS[:, :2]}, "coords has shape"),
        ({"coords": POS[0]}, "coords has shape"),
        ({"coords": POS[:0], "energies": ENERGY[:0], "forces": FORCES[:0]}, "no frames"),
        ({"nuclear_charges": Z.astype(float)}, "integers"),
        ({"nuclear_charges": np.array([8, 1, 0])}, "atomic number 0"),
        ({"energies": ENERGY[:6]}, "energies has shape"),
        ({"energies": ENERGY[None]}, "energies has shape"),  # (1, n) against (n,) is a classic
        ({"energies": np.where(np.arange(7) == 3, np.nan, ENERGY)}, "energies of frame 3 is not finite"),
        ({"forces": FORCES[:, :, :2]}, "forces has shape"),
        ({"forces": np.full_like(FORCES, np.inf)}, "forces of frame 0 is not finite"),
        ({"coords": np.full_like(POS, np.nan)}, "not finite"),
    ],
)
def test_damaged(save, changes, words):
    with pytest.raises(InvalidInput, match=words):
        load(save(REVISED | changes))


def test_frames_without_labels_can_be_dropped(save):
    s = read_md17(save(REVISED | {"energies": np.where(np.arange(7) == 3, np.nan, ENERGY)}), on_nan="drop")
    assert len(s) == 6
    assert s.extra["old_indices"].tolist() == [0, 1, 2, 4, 5, 6]
    assert "dropped 1 frames" in s.source
    np.testing.assert_array_equal(s.forces.numpy(), np.delete(FORCES, 3, 0).reshape(-1, 3) * units.KCAL_MOL)


def test_unknown_layout(save):
    with pytest.raises(InvalidInput, match="holds a, b; expected the layout"):
        load(save({"a": POS, "b": Z}))


def test_every_cut_and_every_flip_of_data_is_noticed(save):
    path = save(REVISED)
    blob = path.read_bytes()
    for size in np.linspace(0, len(blob) - 1, 60).astype(int):
        path.write_bytes(blob[:size])
        with pytest.raises(InvalidInput, match=r"a\.npz"):
            load(path)
    start = blob.index(POS.tobytes())
    for at in np.linspace(start, start + POS.nbytes - 1, 40).astype(int):
        bad = bytearray(blob)
        bad[at] ^= 1
        path.write_bytes(bad)
        with pytest.raises(InvalidInput, match=r"a\.npz"):
            load(path)
