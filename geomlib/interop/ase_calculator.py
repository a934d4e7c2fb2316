"""geomlib models as calculators of ASE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from geomlib.errors import InvalidInput, MissingDependency
from geomlib.interop.ensemble import Ensemble, as_dtype, as_potential, cutoff_of, geometry_dtype
from geomlib.kernels.neighbors import VerletPairs

try:
    from ase.calculators.calculator import Calculator, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError as error:
    raise MissingDependency(
        'ASECalculator needs ASE, which is not installed: pip install "geomlib-torch[ase]".'
    ) from error

__all__ = ["ASECalculator"]


class ASECalculator(Calculator):
    """Energy, per-atom energies, forces and stress of a geomlib model, for any ASE program.

    Units are ASE's: eV, eV/Å, and eV/Å^3 with positive tension (Voigt order xx yy zz yz xz xy). The cell and
    ``pbc`` are read at every call; any cell works. The total charge is ``atoms.info["charge"]``, 0 if absent.
    An ensemble gives means, and ``energy_std`` and ``forces_std`` (standard deviation over the members, M -
    1) in ``calculator.results``.

    Args:
        model: a model, or a list of models (an ensemble). It is copied: training it further changes nothing
            here.
        dtype: "float64" or "float32", the precision of the evaluation. Results are float64 arrays.
        device: where to evaluate.
        skin: Å; the neighbour list is kept until an atom moved half of it or the cell changed. 0 keeps
            nothing.

    Raises:
        InvalidInput: NaN or infinite positions, atomic numbers the model does not know, a singular cell.
        MissingDependency: ASE is not installed.

    Example:
        >>> import geomlib
        >>> from ase.build import molecule
        >>> from geomlib.interop import ASECalculator
        >>> atoms = molecule("CH3CH2OH")
        >>> atoms.calc = ASECalculator(geomlib.create_model("tensornet", channels=8, layers=1))
        >>> atoms.get_forces().shape
        (9, 3)
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        dtype: str | torch.dtype = "float64",
        device: str | torch.device = "cpu",
        skin: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.dtype = as_dtype(dtype, "ASECalculator")
        self.device = torch.device(device)
        self.model = as_potential(model, self.dtype, self.device)
        self.neighbors = VerletPairs(cutoff_of(self.model), skin)
        self._charge = 0.0
        members = self.model.models if isinstance(self.model, Ensemble) else [self.model]
        if all("dipole" in getattr(m, "heads", ()) for m in members):
            self.implemented_properties = [*type(self).implemented_properties, "dipole"]

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """Return what changed since the last evaluation; a new total charge counts."""
        changes = list(super().check_state(atoms, tol=tol))
        if self.atoms is not None and _total_charge(atoms) != self._charge:
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model and fill ``results``."""
        super().calculate(atoms, list(properties), system_changes)
        atoms = self.atoms
        periodic = bool(atoms.pbc.any())
        with_stress = periodic and atoms.cell.rank == 3
        if "stress" in properties and not with_stress:
            raise InvalidInput(
                "ASECalculator: `stress` needs a periodic structure with a volume, found "
                f"pbc={atoms.pbc.tolist()} "
                f"and a cell of rank {atoms.cell.rank}. Set atoms.cell and atoms.pbc, or do not ask for "
                "stress."
            )
        self._charge = _total_charge(atoms)
        pos = torch.tensor(atoms.positions, dtype=torch.float64, device=self.device)
        wanted = geometry_dtype(self.model, self.dtype)
        cell = pbc = None
        pairs_of: tuple[Any, ...] = (pos,)
        if periodic:
            exact = torch.tensor(atoms.cell.array, dtype=torch.float64, device=self.device)[None]
            pbc = torch.tensor(atoms.pbc, device=self.device)[None]
            pairs_of = (pos, None, exact, pbc)
            cell = exact.to(wanted)
        out = self.model(
            torch.tensor(atoms.numbers, dtype=torch.int64, device=self.device),
            pos.to(wanted),
            pairs=self.neighbors(*pairs_of),
            cell=cell,
            pbc=pbc,
            charge=torch.tensor([self._charge], dtype=self.dtype, device=self.device),
            num_graphs=1,
            forces=True,
            stress=with_stress,
        )
        self.results = _results(out)


def _results(out: dict[str, torch.Tensor]) -> dict[str, Any]:
    arrays = {k: v.detach().to("cpu", torch.float64).numpy() for k, v in out.items()}
    energy = float(arrays["energy"][0])
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": arrays["forces"]}
    if "atomic_energy" in arrays:
        results["energies"] = arrays["atomic_energy"].reshape(-1)
    if "stress" in arrays:
        results["stress"] = full_3x3_to_voigt_6_stress(arrays["stress"][0])
    if "dipole" in arrays:
        results["dipole"] = arrays["dipole"][0]
    if "energy_std" in arrays:
        results["energy_std"] = float(arrays["energy_std"][0])
        results["forces_std"] = arrays["forces_std"]
    if "stress_std" in arrays:
        std = arrays["stress_std"][0]
        results["stress_std"] = np.array([std[0, 0], std[1, 1], std[2, 2], std[1, 2], std[0, 2], std[0, 1]])
    return results


def _total_charge(atoms: Any) -> float:
    charge = atoms.info.get("charge", 0.0)
    try:
        value = float(charge)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise InvalidInput(
            f"ASECalculator: atoms.info['charge'] is {charge!r}, expected the total charge as one finite "
            "number."
        )
    return value
