from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets import Structures
from tests.datasets.conftest import same


def test_columns(make):
    s = make(7)
    assert len(s) == 7
    assert s.batch.tolist() == [i for i, n in enumerate(s.num_atoms.tolist()) for _ in range(n)]
    assert s.elements == sorted(set(s.z.tolist()))
    assert "7 structures" in repr(s)
    assert s.pos.dtype == torch.float64
    assert s.z.dtype == torch.int64


def test_indexing_agrees_with_slicing_by_hand(make):
    s = make(9, periodic=True)
    for index in (0, 8, -1, -9):
        one, i = s[index], index % 9
        rows = slice(int(s.ptr[i]), int(s.ptr[i + 1]))
        assert len(one) == 1
        assert torch.equal(one.pos, s.pos[rows])
        assert torch.equal(one.forces, s.forces[rows])
        assert torch.equal(one.energy, s.energy[i : i + 1])
        assert torch.equal(one.cell, s.cell[i : i + 1])
        assert torch.equal(one.extra["charges"], s.extra["charges"][rows])
        assert torch.equal(one.extra["dipole"], s.extra["dipole"][i : i + 1])
        assert one.text["config_type"] == (s.text["config_type"][i],)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, -1), [5, 4, 3, 2, 1, 0]),
        ([4, 0, 4], [4, 0, 4]),
        (torch.tensor([5, -6]), [5, 0]),
        (np.array([1, 3]), [1, 3]),
        (torch.tensor([True, False, True, False, False, False]), [0, 2]),
        ([], []),
        (slice(3, 3), []),
    ],
)
def test_choosing_many(make, index, expected):
    s = make(6)
    chosen = s[index]
    assert len(chosen) == len(expected)
    if expected:
        same(chosen, Structures.concatenate([s[i] for i in expected]))


def test_concatenation_undoes_iteration(make):
    s = make(6, periodic=True)
    same(Structures.concatenate(list(s)), s)


@pytest.mark.parametrize("index", [6, -7, [0, 6], torch.tensor([-7])])
def test_out_of_range(make, index):
    with pytest.raises((InvalidInput, IndexError), match="out of range"):
        make(6)[index]


@pytest.mark.parametrize("index", [[0.5], torch.zeros(2, 2, dtype=torch.int64), torch.tensor([True])])
def test_bad_index(make, index):
    with pytest.raises(InvalidInput, match="Structures"):
        make(6)[index]


def test_parts_that_do_not_fit(make):
    with pytest.raises(InvalidInput, match="part 1 has no forces"):
        Structures.concatenate([make(2), make(2, forces=False)])
    with pytest.raises(InvalidInput, match="no parts"):
        Structures.concatenate([])
    plain = make(2).replace(extra={}, graph_extra=frozenset(), text={})
    joined = Structures.concatenate([make(2), plain])
    assert joined.extra == {}
    assert "left out" in joined.source
    assert "dipole" in joined.source


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pos": [[0, 0, float("nan")], [0, 0, 1]]}, "atom 0"),
        ({"pos": [[0, 0, 0], [0, float("inf"), 1]]}, "structure 1 of 2: atom 0"),
        ({"pos": [[0, 0, 0]]}, "`pos`"),
        ({"z": [1, 0]}, "atomic number 0"),
        ({"z": [1, 119]}, "atomic number 119"),
        ({"energy": [[1.0], [2.0]]}, "`energy`"),  # (B, 1) would broadcast into nonsense
        ({"energy": [1.0]}, "`energy`"),
        ({"forces": [[0, 0, 0]]}, "`forces`"),
        ({"stress": [[0.0] * 6] * 2}, "`stress`"),
        ({"ptr": [0, 1]}, "`ptr`"),
        ({"ptr": [0, 2, 1]}, "`ptr`"),
        ({"ptr": [1, 1, 2]}, "`ptr`"),
        ({"pbc": [True, True, True]}, "`pbc`"),
        ({"charge": [0.0]}, "`charge`"),
        ({"extra": {"a": [1.0]}}, "extra 'a'"),
        ({"text": {"a": ("x",)}}, "text 'a'"),
    ],
)
def test_bad_fields(changes, words):
    values = {"z": [1, 1], "pos": [[0, 0, 0], [0, 0, 1]], "ptr": [0, 1, 2]} | changes
    with pytest.raises(InvalidInput, match=words):
        Structures(**values)


def test_empty_structures_in_the_middle_are_kept():
    s = Structures(z=[1, 2], pos=[[0, 0, 0], [0, 0, 1]], ptr=[0, 1, 1, 2, 2])
    assert len(s) == 4
    assert s.num_atoms.tolist() == [1, 0, 1, 0]
    assert s.batch.tolist() == [0, 2]
    assert len(s[1].z) == 0


def test_casting_keeps_energies(make):
    s = make(4, periodic=True)
    low = s.to(torch.float32)
    assert low.pos.dtype == low.forces.dtype == low.cell.dtype == low.extra["dipole"].dtype == torch.float32
    assert low.energy.dtype == torch.float64
    assert low.extra["steps"].dtype == torch.int64
    assert torch.equal(low.energy, s.energy)
    assert low[1].pos.dtype == torch.float32
    assert torch.equal(s.to("cpu").pos, s.pos)


def test_masked_labels_are_counted(make):
    s = make(5)
    energy, forces = s.energy.clone(), s.forces.clone()
    energy[2] = float("nan")
    forces[s.batch == 4] = float("nan")
    assert s.missing == {}
    assert s.replace(energy=energy, forces=forces).missing == {"energy": 1, "forces": 1}


def test_through_ase_and_back(make):
    pytest.importorskip("ase")
    s = make(6, periodic=True)
    s = s.replace(stress=(s.stress + s.stress.mT) / 2)  # Voigt form holds six numbers
    atoms = s.to_ase()
    assert atoms[2].get_potential_energy() == float(s.energy[2])
    np.testing.assert_array_equal(atoms[2].get_forces(), s[2].forces.numpy())
    np.testing.assert_allclose(atoms[2].get_stress(voigt=False), s.stress[2].numpy(), rtol=1e-15)
    same(Structures.from_ase(atoms), s)


def test_stale_results_of_a_calculator_are_not_labels(make):
    pytest.importorskip("ase")
    atoms = make(1).to_ase()[0]
    atoms.positions += 0.1
    assert Structures.from_ase(atoms).energy is None


def test_to_pyg(make):
    pytest.importorskip("torch_geometric")
    s = make(3)
    items = s.to_pyg()
    assert [d.num_nodes for d in items] == s.num_atoms.tolist()
    assert torch.equal(torch.cat([d.forces for d in items]), s.forces)
    assert torch.equal(torch.cat([d.y for d in items]), s.energy)


def test_survives_worker_processes(make):
    s = make(3)
    same(pickle.loads(pickle.dumps(s)), s)


def test_replace_names_unknown_fields(make):
    with pytest.raises(InvalidInput, match="position"):
        make(1).replace(position=1)
