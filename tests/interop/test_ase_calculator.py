"""The ASE calculator: derivatives, cells, charges, ensembles, and nothing kept that should not be."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

import geomlib
from geomlib import InvalidInput, MissingDependency
from geomlib.interop import ASECalculator

build = pytest.importorskip("ase.build")

MOLECULES = ("CH3CH2OH", "H2O", "CO2", "CH3CONH2", "NH3")
CELLS = ("Cu primitive", "NaCl", "Si rattled", "slab", "triclinic")
# Five point stencil. Small steps, because pairs cross the cutoff, where the energy is only twice
# differentiable.
STEP, STENCIL = 2e-4, ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def potential(seed=0, **options):
    torch.manual_seed(seed)
    options = {"channels": 8, "layers": 1, "num_radial": 8, "cutoff": 4.0, "max_z": 30} | options
    model = geomlib.create_model("tensornet", **options)
    model.set_reference({1: -1.0, 6: -3.0, 8: -2.0}, scale=4.0, shift=0.5)
    return model


@pytest.fixture(scope="module")
def calculator():
    return ASECalculator(potential(), skin=0.3)


def structure(name):
    rng = np.random.default_rng(7)
    if name in MOLECULES:
        atoms = build.molecule(name)
    elif name == "Cu primitive":
        atoms = build.bulk("Cu")
    elif name == "NaCl":
        atoms = build.bulk("NaCl", "rocksalt", a=5.64)
    elif name == "Si rattled":
        atoms = build.bulk("Si", cubic=True)
    elif name == "slab":
        atoms = build.fcc111("Al", (1, 1, 3), vacuum=6.0)
        atoms.pbc = (True, True, False)
    else:
        atoms = build.bulk("Mg") * (1, 1, 1)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.2 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
    return atoms


def energy_at(atoms, calculator, positions, cell=None):
    moved = atoms.copy()
    if cell is not None:
        moved.set_cell(cell)
    moved.positions = positions
    moved.calc = calculator
    return moved.get_potential_energy()


def derivative(energy):
    return sum(w * energy(k * STEP) for k, w in STENCIL) / STEP


@pytest.mark.parametrize("name", MOLECULES + CELLS)
def test_forces_are_minus_the_slope_of_the_energy(calculator, name):
    atoms = structure(name)
    atoms.calc = calculator
    forces = atoms.get_forces()
    numeric = np.zeros_like(forces)
    for index in np.ndindex(*forces.shape):
        unit = np.zeros_like(forces)
        unit[index] = 1.0
        numeric[index] = -derivative(
            lambda h, unit=unit: energy_at(atoms, calculator, atoms.positions + h * unit)
        )
    assert np.abs(numeric - forces).max() <= 1e-8 * max(np.sqrt((forces**2).mean()), 1e-3)


@pytest.mark.parametrize("name", CELLS)
def test_stress_is_the_slope_under_strain(calculator, name):
    atoms = structure(name)
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False)
    numeric = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5

        def energy(h, strain=strain):
            bend = np.eye(3) + h * strain
            return energy_at(atoms, calculator, atoms.positions @ bend, atoms.cell.array @ bend)

        numeric[a, b] = derivative(energy) / atoms.get_volume()
    assert np.abs(numeric - stress).max() <= 1e-8 * np.sqrt((stress**2).mean())


@pytest.mark.parametrize("name", CELLS)
def test_supercells_and_rotated_cells(calculator, name):
    atoms = structure(name)
    repeats = (2, 2, 1) if name == "slab" else (2, 2, 2)
    big, turned = atoms * repeats, atoms.copy()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]  # improper ones occur too
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=False)
    turned.positions = atoms.positions @ rotation.T
    for one in (atoms, big, turned):
        one.calc = ASECalculator(potential(), skin=0.0)
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    scale, count = max(np.abs(forces).max(), 1.0), int(np.prod(repeats))
    shift = 0.5
    expected = count * (atoms.get_potential_energy() - shift)
    assert abs(big.get_potential_energy() - shift - expected) < 1e-12 * max(abs(expected), 1.0)
    assert np.abs(big.get_forces() - np.tile(forces, (count, 1))).max() < 1e-12 * scale
    assert np.abs(big.get_stress(voigt=False) - stress).max() < 1e-12
    assert np.abs(turned.get_forces() - forces @ rotation.T).max() < 1e-12 * scale
    assert np.abs(turned.get_stress(voigt=False) - rotation @ stress @ rotation.T).max() < 1e-12


def test_results_hang_together(calculator):
    atoms = structure("CH3CH2OH")
    atoms.calc = calculator
    assert atoms.get_potential_energies().sum() + 0.5 == pytest.approx(
        atoms.get_potential_energy(), abs=1e-12
    )
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert calculator.results["forces"].dtype == np.float64
    with pytest.raises(InvalidInput, match="`stress` needs a periodic"):
        atoms.get_stress()


def test_kept_list_changes_nothing_along_a_trajectory():
    kept, fresh = ASECalculator(potential(), skin=0.8), ASECalculator(potential(), skin=0.0)
    atoms = structure("Si rattled")
    rng = np.random.default_rng(0)
    for step in range(30):
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        if step == 20:
            atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
        if step == 25:
            atoms.pbc = (True, False, True)
        results = []
        for calculator in (kept, fresh):
            atoms.calc = calculator
            results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        assert results[0][0] == results[1][0]
        assert np.array_equal(results[0][1], results[1][1]) and np.array_equal(results[0][2], results[1][2])
    assert kept.neighbors.searches < 20 < fresh.neighbors.searches


def test_cell_and_periodicity_are_read_every_time(calculator):
    atoms = structure("Cu primitive")
    atoms.calc = calculator
    energies = [atoms.get_potential_energy()]
    atoms.set_cell(atoms.cell.array * 1.05)
    energies.append(atoms.get_potential_energy())
    atoms.pbc = False
    energies.append(atoms.get_potential_energy())
    assert len({round(e, 6) for e in energies}) == 3
    lone = build.molecule("H")
    lone.numbers[:] = 29
    assert energies[2] == pytest.approx(energy_at(lone, calculator, lone.positions), abs=1e-12)


def test_charge_comes_from_info_and_a_change_is_noticed(calculator):
    atoms = structure("H2O")
    atoms.calc = calculator
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    charged = atoms.get_potential_energy()
    atoms.info["charge"] = np.float64(0.0)
    assert charged != neutral
    assert atoms.get_potential_energy() == neutral
    z, pos = torch.tensor(atoms.numbers), torch.tensor(atoms.positions)
    expected = potential().double()(z, pos, charge=torch.ones(1, dtype=torch.float64))["energy"]
    assert charged == pytest.approx(float(expected.detach()), abs=1e-13)
    for wrong in ("plus one", float("nan"), [1, 2]):
        atoms.info["charge"] = wrong
        with pytest.raises(InvalidInput, match="charge"):
            atoms.get_potential_energy()


def test_ensemble_means_and_spread():
    members = [potential(seed) for seed in range(3)] + [potential(9, cutoff=3.0)]
    atoms = structure("triclinic")
    energies, forces = [], []
    for member in members:
        atoms.calc = ASECalculator(member)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    atoms.calc = ASECalculator(members)
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-13)
    assert np.allclose(atoms.get_forces(), np.mean(forces, 0), atol=1e-13)
    results = atoms.calc.results
    assert results["energy_std"] == pytest.approx(np.std(energies, ddof=1), rel=1e-10)
    assert np.allclose(results["forces_std"], np.std(forces, 0, ddof=1), atol=1e-13)
    assert results["stress_std"].shape == (6,)
    single = ASECalculator([members[0]])
    atoms.calc = single
    assert atoms.get_potential_energy() == energies[0] and "energy_std" not in single.results
    with pytest.raises(InvalidInput, match="empty"):
        ASECalculator([])


def test_dipole_where_there_is_a_head(calculator):
    atoms = structure("H2O")
    atoms.calc = ASECalculator(potential(heads=("energy", "dipole")))
    assert atoms.get_dipole_moment().shape == (3,)
    atoms.calc = calculator
    assert "dipole" not in calculator.implemented_properties
    with pytest.raises(Exception, match="dipole"):
        atoms.get_dipole_moment()


def test_precision_and_independence_of_the_model():
    model, atoms = potential(), structure("CH3CH2OH")
    results = {}
    for dtype in ("float64", "float32", torch.float64):
        atoms.calc = ASECalculator(model, dtype=dtype)
        results[str(dtype)] = (atoms.get_potential_energy(), atoms.get_forces())
    exact, single = results["float64"], results["float32"]
    assert 0 < abs(exact[0] - single[0]) < 1e-5 * abs(exact[0])
    assert np.abs(exact[1] - single[1]).max() < 5e-5 * np.sqrt((exact[1] ** 2).mean())
    assert next(model.parameters()).dtype == torch.float32 and model.training
    assert all(p.requires_grad for p in model.parameters())
    calculator = ASECalculator(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    atoms.calc = calculator
    assert atoms.get_potential_energy() == exact[0]
    with pytest.raises(InvalidInput, match="float16"):
        ASECalculator(model, dtype="float16")
    with pytest.raises(InvalidInput, match="cutoff"):
        ASECalculator(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite(calculator, bad):
    atoms = structure("H2O")
    atoms.calc = calculator
    atoms.get_potential_energy()
    atoms.positions[1, 2] = bad
    with pytest.raises(InvalidInput, match="atom 1"):
        atoms.get_potential_energy()
    atoms = structure("H2O")
    atoms.calc = calculator
    atoms.numbers[0] = 99
    with pytest.raises(InvalidInput, match="99"):
        atoms.get_potential_energy()


def test_single_atom_and_singular_cell(calculator):
    atoms = build.molecule("O")
    atoms.calc = calculator
    assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))
    atoms = structure("Cu primitive")
    atoms.calc = calculator
    atoms.set_cell(np.ones((3, 3)))
    with pytest.raises(InvalidInput, match="singular"):
        atoms.get_potential_energy()


def test_relaxation_with_a_cell_filter_lowers_the_energy():
    optimize, filters = pytest.importorskip("ase.optimize"), pytest.importorskip("ase.filters")
    atoms = structure("Si rattled")
    atoms.calc = ASECalculator(potential(), skin=0.5)
    before = atoms.get_potential_energy()
    optimize.BFGS(filters.FrechetCellFilter(atoms), logfile=None).run(fmax=1e-2, steps=15)
    assert atoms.get_potential_energy() < before


def test_without_ase_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    for name in [n for n in sys.modules if n.startswith("ase.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "geomlib.interop.ase_calculator", raising=False)
    with pytest.raises(MissingDependency, match=r"geomlib-torch\[ase\]"):
        importlib.import_module("geomlib.interop.ase_calculator")
