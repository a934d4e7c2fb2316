"""`Structures` to and from ASE and PyTorch Geometric objects; both packages are imported here only."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from geomlib.datasets.frames import Frame, assemble
from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["from_ase", "to_ase", "to_pyg"]


def _need(module: str, install: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"{module} is needed and could not be imported ({error}); {install}."
        ) from None


def to_ase(structures: Structures) -> list[Any]:
    """Return one `ase.Atoms` per structure; see :meth:`Structures.to_ase`."""
    ase = _need("ase", 'pip install "geomlib-torch[ase]"')
    calculator = importlib.import_module("ase.calculators.singlepoint").SinglePointCalculator
    result = []
    for one in structures:
        cell = one.cell[0].numpy()
        atoms = ase.Atoms(
            numbers=one.z.numpy(),
            positions=one.pos.double().numpy(),
            cell=cell if cell.any() else None,
            pbc=one.pbc[0].numpy(),
        )
        labels: dict[str, Any] = {}
        if one.energy is not None:
            labels["energy"] = float(one.energy[0])
        if one.forces is not None:
            labels["forces"] = one.forces.double().numpy()
        if one.stress is not None:
            s = one.stress[0].double().numpy()
            labels["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
        if labels:
            atoms.calc = calculator(atoms, **labels)
        if bool(one.charge.any()):
            atoms.info["charge"] = float(one.charge[0])
        for name, value in one.extra.items():
            if name in one.graph_extra:
                atoms.info[name] = value[0].item() if value.dim() == 1 else value[0].numpy()
            else:
                atoms.set_array(name, value.numpy())
        atoms.info.update({name: value[0] for name, value in one.text.items() if value[0]})
        result.append(atoms)
    return result


def from_ase(atoms: Any, **options: Any) -> Structures:
    """Build structures from `ase.Atoms`; see :meth:`Structures.from_ase`."""
    listed: Sequence[Any] = [atoms] if hasattr(atoms, "get_atomic_numbers") else list(atoms)
    frames = []
    for i, one in enumerate(listed):
        if not hasattr(one, "get_atomic_numbers"):
            raise InvalidInput(f"from_ase: entry {i} is {type(one).__name__}, expected ase.Atoms.")
        info = {str(k): v for k, v in one.info.items()}
        arrays = {k: np.asarray(v) for k, v in one.arrays.items() if k not in ("numbers", "positions")}
        results = getattr(one.calc, "results", None) or {}
        # Stale results belong to other positions; ASE's own test decides.
        if results and not one.calc.check_state(one):
            for name in ("energy", "stress", "dipole", "free_energy"):
                if results.get(name) is not None:
                    info[name] = results[name]
            for name in ("forces", "charges", "energies"):
                if results.get(name) is not None:
                    arrays[name] = np.asarray(results[name])
        cell = np.asarray(one.cell)
        frames.append(
            Frame(
                z=one.get_atomic_numbers().astype(np.int64),
                pos=np.asarray(one.get_positions(), dtype=np.float64),
                info=info,
                arrays=arrays,
                cell=cell.copy() if cell.any() else None,
                pbc=(bool(one.pbc[0]), bool(one.pbc[1]), bool(one.pbc[2])),
                where=f"atoms[{i}]",
            )
        )
    return assemble(frames, "ase.Atoms", **options)


def to_pyg(structures: Structures) -> list[Any]:
    """Return one `torch_geometric.data.Data` per structure; see :meth:`Structures.to_pyg`."""
    data = _need("torch_geometric.data", "pip install torch-geometric")
    result = []
    for one in structures:
        item = data.Data(z=one.z, pos=one.pos, cell=one.cell, pbc=one.pbc, charge=one.charge)
        if one.energy is not None:
            item.y = one.energy
        if one.forces is not None:
            item.forces = one.forces
        if one.stress is not None:
            item.stress = one.stress
        for name, value in one.extra.items():
            item[name] = value
        result.append(item)
    return result
