"""Factors against the constants of scipy and ASE, which have their own tables."""

from __future__ import annotations

import pytest

from geomlib import InvalidInput
from geomlib.datasets import Units, units
from geomlib.datasets.elements import NUMBERS, SYMBOLS, all_electron_energy, atomic_number


def test_exact_constants_are_those_of_the_si():
    constants = pytest.importorskip("scipy.constants")
    assert constants.e == units.ELEMENTARY_CHARGE
    assert constants.N_A == units.AVOGADRO
    assert pytest.approx(constants.k / constants.e, rel=1e-15) == units.BOLTZMANN
    assert pytest.approx(4184 / constants.e / constants.N_A, rel=1e-15) == units.KCAL_MOL
    assert pytest.approx(1e9 / constants.e * constants.angstrom**3, rel=1e-14) == units.GPA


def test_measured_constants():
    constants = pytest.importorskip("scipy.constants")
    # Editions of CODATA differ by 1e-9 relative.
    assert pytest.approx(constants.value("Hartree energy in eV"), rel=2e-9) == units.HARTREE
    assert pytest.approx(constants.value("Bohr radius") * 1e10, rel=2e-9) == units.BOHR


@pytest.mark.parametrize(
    ("given", "factor"),
    [
        ({"stress": "GPa"}, "GPa"),
        ({"stress": "bar"}, "bar"),
        ({"stress": "kbar"}, "kbar"),
        ({"stress": "eV/A^3"}, 1.0),
    ],
)
def test_pressures_against_ase(given, factor):
    ase_units = pytest.importorskip("ase.units")
    expected = {"GPa": ase_units.GPa, "bar": 1e5 * ase_units.Pascal, "kbar": 1e8 * ase_units.Pascal}.get(
        factor, factor
    )
    assert Units.parse(given).stress_factor == pytest.approx(expected, rel=1e-7)


def test_forces_follow_energy_and_length_unless_stated():
    assert Units.parse("kcal/mol").forces == "kcal/mol/Å"
    assert Units.parse({"energy": "Hartree", "length": "Bohr"}).forces_factor == pytest.approx(
        51.42206747, rel=1e-8
    )
    mixed = Units.parse({"energy": "Hartree", "forces": "Hartree/Bohr"})
    assert mixed.length_factor == 1.0
    assert mixed.forces_factor == pytest.approx(51.42206747, rel=1e-8)
    assert Units.parse("ev").is_default
    assert not Units.parse("meV").is_default


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("kcal", "kcal/mol"),
        ({"energy": "eV", "lenght": "Å"}, "lenght"),
        ({"forces": "eV"}, "energy/length"),
        ({"stress": "Gpascal"}, "Did you mean 'GPa'|expected one of"),
    ],
)
def test_unknown_units_are_named(given, words):
    with pytest.raises(InvalidInput, match=words):
        Units.parse(given)


def test_symbols_are_those_of_ase():
    data = pytest.importorskip("ase.data")
    assert list(SYMBOLS[1:]) == data.chemical_symbols[1:]
    assert all(NUMBERS[s] == z for s, z in data.atomic_numbers.items() if z)


@pytest.mark.parametrize("word", ["Xx", "CL", "0", "119", "", "²", "C1"])
def test_unknown_elements(word):
    with pytest.raises(InvalidInput, match="unknown element"):
        atomic_number(word)


@pytest.mark.parametrize(
    ("z", "energy", "tolerance"), [(1, -13.6, 0.1), (6, -1030.0, 0.02), (8, -2043.0, 0.01)]
)
def test_estimate_of_atomic_energies(z, energy, tolerance):
    assert all_electron_energy(z) == pytest.approx(energy, rel=tolerance)
