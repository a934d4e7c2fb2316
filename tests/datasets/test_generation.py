from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from geomlib import InvalidInput, MissingDependency
from geomlib.datasets import Structures, generate, generation, load, single_points, write_extxyz
from tests.datasets.conftest import make_structures

SHORT = {"frames": 3, "interval": 2, "equilibration_ps": 0.005, "relax_steps": 5}


@pytest.fixture
def tools():
    for name in ("tblite.ase", "ase", "rdkit"):
        pytest.importorskip(name)


@pytest.mark.usefixtures("tools")
def test_short_run():
    seen = []
    s = generate(
        "CO", temperature=300, seed=3, progress=lambda done, total: seen.append((done, total)), **SHORT
    )
    assert len(s) == 3
    assert s.z[:6].tolist() == [6, 8, 1, 1, 1, 1]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert s.extra["time_fs"].tolist() == [6.0, 7.0, 8.0]
    assert float(s.forces.reshape(3, 6, 3).sum(1).abs().max()) < 1e-9
    again = generate("methanol", temperature=300, seed=3, **SHORT)
    np.testing.assert_allclose(again.pos.numpy(), s.pos.numpy(), atol=1e-8)
    other = generate("CO", temperature=300, seed=4, **SHORT)
    assert not torch.allclose(other.pos, s.pos, atol=1e-3)


@pytest.mark.usefixtures("tools")
def test_start_from_structures_files_and_atoms(tmp_path):
    water = generate("O", **SHORT)[-1].replace(extra={}, graph_extra=frozenset())
    write_extxyz(tmp_path / "w.xyz", water)
    short = SHORT | {"relax_steps": 0, "frames": 1, "interval": 1, "equilibration_ps": 0.0}
    results = [
        generate(start, **short)
        for start in (water, tmp_path / "w.xyz", str(tmp_path / "w.xyz"), water.to_ase()[0])
    ]
    for one in results:
        np.testing.assert_allclose(one.pos.numpy(), results[0].pos.numpy(), atol=1e-10)
    assert float(results[0].energy[0]) == pytest.approx(float(water.energy[0]), abs=0.5)


@pytest.mark.usefixtures("tools")
def test_charges_and_methods():
    s = generate("[NH4+]", method="gfn1-xtb", **SHORT)
    assert s.charge.tolist() == [1.0] * 3
    assert float(s.extra["charges"].reshape(3, 5).sum(1).mean()) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(InvalidInput, match="method 'pm7'"):
        generate("O", method="pm7")
    one = s[[0]]
    assert float(single_points(one, "gfn1-xtb").energy[0]) == pytest.approx(float(one.energy[0]), abs=1e-5)
    assert float(single_points(one, "gfn2-xtb").energy[0]) != pytest.approx(float(one.energy[0]), abs=0.1)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("molecule", "words"),
    [
        ("not a molecule", "neither a SMILES"),
        ("C(", "neither a SMILES"),
        (7, "got int"),
        (make_structures(2)[[]], "no structure"),
    ],
)
def test_bad_molecules(molecule, words):
    with pytest.raises(InvalidInput, match=words):
        generate(molecule)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"timestep_fs": -1.0},
        {"friction_per_fs": float("nan")},
        {"frames": 0},
        {"interval": 0},
        {"equilibration_ps": -1},
    ],
)
def test_bad_numbers(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        generate("O", **options)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("symbols", ["H2", "Og"])
def test_calculations_that_fail_say_so(symbols):
    atoms = importlib.import_module("ase").Atoms(symbols)  # H2: both atoms at the origin
    with pytest.raises(InvalidInput, match=r"failed for .* after 0 frames"):
        generate(atoms, relax_steps=0, frames=1, equilibration_ps=0.0)
    with pytest.raises(InvalidInput, match="structure 0 failed"):
        single_points(Structures.from_ase(atoms))


@pytest.mark.usefixtures("tools")
def test_more_charge_than_protons():
    with pytest.raises(InvalidInput, match="charge 5, but the nuclei have only 2 protons"):
        generate(importlib.import_module("ase").Atoms("He"), charge=5, **SHORT)


@pytest.mark.usefixtures("tools")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("symbols", ["He", "N2"])
def test_atoms_and_linear_molecules(symbols):
    atoms = importlib.import_module("ase").Atoms(
        symbols, positions=[[0, 0, 1.1 * i] for i in range(2 if "2" in symbols else 1)]
    )
    s = generate(atoms, **SHORT)
    assert bool(torch.isfinite(s.extra["temperature"]).all())
    assert float(s.extra["temperature"].min()) > 0


@pytest.mark.parametrize("missing", ["tblite", "rdkit", "ase"])
def test_missing_packages_are_named(monkeypatch, missing):
    real = importlib.import_module

    def fake(name, *args):
        if name.split(".")[0] == missing:
            raise ImportError(f"No module named {missing!r}")
        return real(name, *args)

    if missing != "ase":
        pytest.importorskip("ase")
    if missing == "tblite":
        pytest.importorskip("rdkit")
    monkeypatch.setattr(generation.importlib, "import_module", fake)
    with pytest.raises(MissingDependency, match=rf"{missing} is needed.*\[generate\]"):
        generate("O", **SHORT)


def test_a_periodic_structure_keeps_its_box(tools):
    atoms = importlib.import_module("ase").Atoms(
        "H2", positions=[[0, 0, 0], [0, 0, 0.74]], cell=[6, 6, 6], pbc=True
    )
    s = generate(atoms, relax_steps=0, frames=1, interval=1, equilibration_ps=0.0, temperature=100)
    assert bool(s.pbc.all())
    assert torch.equal(s.cell[0], 6 * torch.eye(3, dtype=torch.float64))


def test_names_of_molecules_are_smiles(tools):
    chem = importlib.import_module("rdkit.Chem")
    for name, smiles in generation.MOLECULES.items():
        assert chem.MolFromSmiles(smiles) is not None, name
    assert generation.MOLECULES["ethanol"] == "CCO"


def test_what_is_generated_is_what_is_written(tools, tmp_path):
    s = generate("O", **SHORT)
    write_extxyz(tmp_path / "a.extxyz", s)
    again = load(tmp_path / "a.extxyz")
    assert torch.equal(again.forces, s.forces)
    assert torch.equal(again.extra["charges"], s.extra["charges"])
