"""Unit conversions to geomlib's units: Å, eV, eV/Å, eV/Å³.

The SI of 2019 fixes e, N_A and k_B exactly, and a thermochemical calorie is 4.184 J by definition, so
kcal/mol, kJ/mol, kelvin, bar and pascal convert exactly (up to one rounding). Hartree and Bohr are the
CODATA 2022 values.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from geomlib.errors import InvalidInput

__all__ = [
    "AVOGADRO",
    "BOHR",
    "BOLTZMANN",
    "ELEMENTARY_CHARGE",
    "ENERGY_UNITS",
    "GPA",
    "HARTREE",
    "KCAL_MOL",
    "KJ_MOL",
    "LENGTH_UNITS",
    "PRESSURE_UNITS",
    "Units",
]

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
AVOGADRO = 6.02214076e23  # 1/mol, exact
BOLTZMANN = 1.380649e-23 / ELEMENTARY_CHARGE  # eV/K, exact
HARTREE = 27.211386245981  # eV, CODATA 2022
BOHR = 0.529177210544  # Å, CODATA 2022
KJ_MOL = 1000.0 / (ELEMENTARY_CHARGE * AVOGADRO)  # eV, exact
KCAL_MOL = 4.184 * KJ_MOL  # eV, exact
GPA = 1e9 * 1e-30 / ELEMENTARY_CHARGE  # eV/Å³, exact

ENERGY_UNITS = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": KCAL_MOL,
    "kJ/mol": KJ_MOL,
    "Hartree": HARTREE,
    "Rydberg": HARTREE / 2,
}
LENGTH_UNITS = {"Å": 1.0, "Bohr": BOHR, "nm": 10.0}
PRESSURE_UNITS = {
    "eV/Å^3": 1.0,
    "GPa": GPA,
    "MPa": 1e-3 * GPA,
    "kbar": 0.1 * GPA,
    "bar": 1e-4 * GPA,
    "Pa": 1e-9 * GPA,
}
_ALIASES = {
    "a": "Å",
    "ang": "Å",
    "angstrom": "Å",
    "a.u.": "Hartree",
    "ha": "Hartree",
    "ry": "Rydberg",
    "ev/a^3": "eV/Å^3",
    "ev/ang/ang/ang": "eV/Å^3",
    "ev/å³": "eV/Å^3",
    "kb": "kbar",
    "bohrs": "Bohr",
}


def _lookup(name: str, table: Mapping[str, float], what: str) -> tuple[str, float]:
    folded = name.strip().lower()
    canonical = _ALIASES.get(folded)
    if canonical is not None and canonical in table:
        return canonical, table[canonical]
    for known, factor in table.items():
        if known.lower() == folded:
            return known, factor
    close = difflib.get_close_matches(name, table, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InvalidInput(
        f"units: {name!r} is not a known {what} unit; expected one of {', '.join(table)}.{hint}"
    )


@dataclass(frozen=True)
class Units:
    """The units of the numbers in a file, and the factors that turn them into eV and Å.

    Args:
        energy: one of :data:`ENERGY_UNITS`.
        length: one of :data:`LENGTH_UNITS`.
        forces: "energy/length", default: the two units above.
        stress: one of :data:`PRESSURE_UNITS`, default: energy per cubed length.

    Raises:
        InvalidInput: unknown unit, with the closest known one.

    Example:
        >>> from geomlib.datasets.units import Units
        >>> round(Units.parse("kcal/mol").energy_factor, 9)
        0.043364104
        >>> round(Units.parse({"energy": "Hartree", "forces": "Hartree/Bohr"}).forces_factor, 5)
        51.42207
    """

    energy: str = "eV"
    length: str = "Å"
    forces: str | None = None
    stress: str | None = None

    def __post_init__(self) -> None:
        for field, table in (("energy", ENERGY_UNITS), ("length", LENGTH_UNITS)):
            object.__setattr__(self, field, _lookup(getattr(self, field), table, field)[0])
        if self.stress is not None:
            object.__setattr__(self, "stress", _lookup(self.stress, PRESSURE_UNITS, "stress")[0])
        if self.forces is None:
            object.__setattr__(self, "forces", f"{self.energy}/{self.length}")
        else:
            energy, slash, length = self.forces.rpartition("/")
            if not slash:
                raise InvalidInput(
                    f"units: forces unit {self.forces!r} is not energy/length, such as 'Hartree/Bohr'."
                )
            energy, length = (
                _lookup(energy, ENERGY_UNITS, "energy")[0],
                _lookup(length, LENGTH_UNITS, "length")[0],
            )
            object.__setattr__(self, "forces", f"{energy}/{length}")

    @classmethod
    def parse(cls, units: str | Mapping[str, str] | Units | None) -> Units:
        """Return `units` as Units: the name of an energy unit, a mapping of fields, or Units itself."""
        if units is None:
            return cls()
        if isinstance(units, Units):
            return units
        if isinstance(units, str):
            return cls(energy=units)
        unknown = set(units) - {"energy", "length", "forces", "stress"}
        if unknown:
            raise InvalidInput(
                f"units: unknown fields {sorted(unknown)}; expected energy, length, forces and stress."
            )
        return cls(**units)

    @property
    def energy_factor(self) -> float:
        """Factor from the file's energies to eV."""
        return ENERGY_UNITS[self.energy]

    @property
    def length_factor(self) -> float:
        """Factor from the file's lengths to Å."""
        return LENGTH_UNITS[self.length]

    @property
    def forces_factor(self) -> float:
        """Factor from the file's forces to eV/Å."""
        energy, _, length = str(self.forces).rpartition("/")
        return ENERGY_UNITS[energy] / LENGTH_UNITS[length]

    @property
    def stress_factor(self) -> float:
        """Factor from the file's stresses to eV/Å³."""
        if self.stress is not None:
            return PRESSURE_UNITS[self.stress]
        return self.energy_factor / self.length_factor**3

    @property
    def is_default(self) -> bool:
        """Whether nothing has to be converted."""
        return (
            self.energy == "eV"
            and self.length == "Å"
            and self.forces == "eV/Å"
            and self.stress in (None, "eV/Å^3")
        )
