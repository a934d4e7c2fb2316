from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geomlib import InvalidInput
from geomlib.datasets import Structures, load_structures, read_extxyz, save_structures, write_extxyz
from tests.datasets.conftest import make_structures, same

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
NAMES = st.from_regex(r"[a-oq-z][a-z_0-9]{3,8}x", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@st.composite
def structures(draw) -> Structures:
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    n, b = sum(counts), len(counts)

    def floats(*shape: int) -> np.ndarray:
        return draw(hnp.arrays(np.float64, shape, elements=NUMBERS))

    names = draw(st.lists(NAMES, min_size=6, max_size=6, unique=True))
    values = {
        "z": draw(hnp.arrays(np.int64, n, elements=st.integers(1, 118))),
        "pos": floats(n, 3),
        "ptr": np.concatenate([[0], np.cumsum(counts)]),
        "energy": floats(b) if draw(st.booleans()) else None,
        "forces": floats(n, 3) if draw(st.booleans()) else None,
        "stress": floats(b, 3, 3) if draw(st.booleans()) else None,
        "charge": floats(b),
        "extra": {
            names[0]: floats(b, draw(st.integers(1, 4))),
            names[1]: floats(b),
            names[2]: floats(b, 2, 3),
            names[3]: draw(hnp.arrays(np.int64, b, elements=st.integers(-(2**59), 2**59))),
            names[4]: floats(n, draw(st.integers(2, 3))),
        },
        "graph_extra": frozenset(names[:4]),
        "text": {names[5]: tuple(draw(st.lists(WORDS, min_size=b, max_size=b)))},
    }
    if draw(st.booleans()):
        cell = np.stack([np.eye(3) * (2 + i) for i in range(b)]) + 0.1 * np.arange(9).reshape(3, 3)
        values["cell"] = cell
        values["pbc"] = draw(hnp.arrays(np.bool_, (b, 3)))
    return Structures(**values)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(structures())
def test_every_bit_comes_back(s):
    with tempfile.TemporaryDirectory() as folder:
        write_extxyz(Path(folder) / "a.extxyz", s)
        same(read_extxyz(Path(folder) / "a.extxyz", units="eV"), s)
        save_structures(Path(folder) / "a.safetensors", s)
        same(load_structures(Path(folder) / "a.safetensors"), s)


@pytest.mark.parametrize("periodic", [False, True])
def test_ase_reads_what_we_write(tmp_path, periodic):
    io = pytest.importorskip("ase.io")
    s = make_structures(6, seed=1, periodic=periodic)
    s = s.replace(stress=None if s.stress is None else (s.stress + s.stress.mT) / 2)
    write_extxyz(tmp_path / "a.extxyz", s)
    for one, atoms in zip(s, io.read(tmp_path / "a.extxyz", ":"), strict=True):
        assert atoms.numbers.tolist() == one.z.tolist()
        np.testing.assert_array_equal(atoms.positions, one.pos.numpy())
        np.testing.assert_array_equal(np.asarray(atoms.cell), one.cell[0].numpy())
        assert atoms.get_potential_energy() == float(one.energy[0])
        np.testing.assert_array_equal(atoms.get_forces(), one.forces.numpy())
        if periodic:
            np.testing.assert_allclose(atoms.get_stress(voigt=False), one.stress[0].numpy(), rtol=1e-15)
        assert atoms.info["config_type"] == one.text["config_type"][0]


def test_we_read_what_ase_writes(tmp_path):
    io = pytest.importorskip("ase.io")
    s = make_structures(6, seed=2, periodic=True)
    s = s.replace(stress=(s.stress + s.stress.mT) / 2)
    io.write(tmp_path / "a.extxyz", s.to_ase(), format="extxyz")
    again = read_extxyz(tmp_path / "a.extxyz")
    np.testing.assert_allclose(again.pos.numpy(), s.pos.numpy(), atol=1e-8)  # ASE writes eight digits
    np.testing.assert_allclose(again.energy.numpy(), s.energy.numpy(), rtol=1e-12)
    np.testing.assert_allclose(again.stress.numpy(), s.stress.numpy(), rtol=1e-12)
    np.testing.assert_allclose(again.cell.numpy(), s.cell.numpy(), rtol=1e-12)


def test_masked_labels_survive(tmp_path):
    s = make_structures(4)
    energy, forces = s.energy.clone(), s.forces.clone()
    energy[1] = float("nan")
    forces[s.batch == 2] = float("nan")
    s = s.replace(energy=energy, forces=forces)
    write_extxyz(tmp_path / "a.extxyz", s)
    same(read_extxyz(tmp_path / "a.extxyz", on_nan="mask"), s)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"extra": {"energy": torch.zeros(3)}, "graph_extra": frozenset({"energy"})},
            "'energy' cannot be stored",
        ),
        ({"extra": {"two words": torch.zeros(3)}, "graph_extra": frozenset({"two words"})}, "'two words'"),
        ({"text": {"pbc": ("T", "T", "T")}}, "'pbc'"),
        ({"extra": {"a": torch.zeros(3, 2, 2)}}, "no column form"),
        ({"extra": {"a": torch.zeros(3, 1)}}, "flatten"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path, change, words):
    s = Structures(z=[1, 1, 1], pos=torch.zeros(3, 3), ptr=[0, 1, 2, 3], **change)
    with pytest.raises(InvalidInput, match=words):
        write_extxyz(tmp_path / "a.extxyz", s)
    assert not list(tmp_path.iterdir())


def test_nothing_to_write(tmp_path):
    with pytest.raises(InvalidInput, match="at least one structure"):
        write_extxyz(tmp_path / "a.extxyz", make_structures(3)[[]])
    empty = Structures(z=[1], pos=[[0, 0, 0]], ptr=[0, 1, 1])
    with pytest.raises(InvalidInput, match="at least one atom"):
        write_extxyz(tmp_path / "a.extxyz", empty)
