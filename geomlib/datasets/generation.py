"""Make labelled molecular-dynamics data with a semi-empirical method, from a molecule to frames."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["METHODS", "MOLECULES", "generate", "single_points"]

METHODS = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB"}
"""Accepted methods and the names the tblite package uses."""

MOLECULES = {
    "3bpa": "Nc1ncccc1OCc1ccccc1",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "benzene": "c1ccccc1",
    "ethanol": "CCO",
    "malonaldehyde": "O=CCC=O",
    "methanol": "CO",
    "naphthalene": "c1ccc2ccccc2c1",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "salicylic-acid": "O=C(O)c1ccccc1O",
    "toluene": "Cc1ccccc1",
    "uracil": "O=c1cc[nH]c(=O)[nH]1",
}
"""Names that stand for a SMILES string."""


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"generate: {module.split('.')[0]} is needed and could not be imported ({error}). "
            'Install the extra: pip install "geomlib-torch[generate]" (from the source tree: pip install '
            '".[generate]").'
        ) from None


def _calculator(method: str, charge: float, numbers: Any) -> Any:
    if method.lower() not in METHODS:
        raise InvalidInput(f"generate: method {method!r} is unknown; expected one of {', '.join(METHODS)}.")
    if charge > numbers.sum():
        raise InvalidInput(f"generate: charge {charge:g}, but the nuclei have only {numbers.sum()} protons.")
    tblite = _need("tblite.ase")
    return tblite.TBLite(
        method=METHODS[method.lower()],
        accuracy=0.1,
        electronic_temperature=300.0,
        charge=charge,
        max_iterations=500,
        verbosity=0,
    )


def _from_smiles(smiles: str, seed: int) -> tuple[Any, float]:
    """Return atoms of one MMFF-optimised conformer and the formal charge."""
    chem, all_chem, rdkit_base = _need("rdkit.Chem"), _need("rdkit.Chem.AllChem"), _need("rdkit.rdBase")
    ase = _need("ase")
    with rdkit_base.BlockLogs():  # RDKit prints its parse errors; ours says the same
        molecule = chem.MolFromSmiles(smiles)
        if molecule is None:
            raise InvalidInput(
                f"generate: {smiles!r} is neither a SMILES string, a file, nor one of {', '.join(MOLECULES)}."
            )
        molecule = chem.AddHs(molecule)
        if all_chem.EmbedMolecule(molecule, randomSeed=seed) != 0:
            raise InvalidInput(
                f"generate: RDKit found no 3D conformer of {smiles!r}; pass a structure instead."
            )
        all_chem.MMFFOptimizeMolecule(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    positions = molecule.GetConformer().GetPositions()
    return ase.Atoms(numbers=numbers, positions=positions), float(chem.GetFormalCharge(molecule))


def _start(molecule: Any, conformer_seed: int) -> tuple[Any, float, str]:
    """Return atoms to start from, their charge and a name."""
    ase = _need("ase")
    if isinstance(molecule, ase.Atoms):
        return molecule.copy(), float(molecule.info.get("charge", 0.0)), molecule.get_chemical_formula()
    if isinstance(molecule, (str, Path)) and (isinstance(molecule, Path) or Path(molecule).is_file()):
        from geomlib.datasets.loading import load

        molecule = load(molecule)
    if isinstance(molecule, Structures):
        if len(molecule) < 1:
            raise InvalidInput("generate: got no structure to start from.")
        first = molecule[0]
        start = ase.Atoms(numbers=first.z.numpy(), positions=first.pos.double().numpy())
        start.set_cell(first.cell[0].double().numpy())
        start.set_pbc(first.pbc[0].numpy())
        return start, float(first.charge[0]), start.get_chemical_formula()
    if not isinstance(molecule, str):
        raise InvalidInput(
            f"generate: got {type(molecule).__name__}, expected a SMILES string, a molecule name, a file, "
            "Structures or ase.Atoms."
        )
    atoms, charge = _from_smiles(MOLECULES.get(molecule.lower(), molecule), conformer_seed)
    return atoms, charge, molecule


def generate(
    molecule: Any,
    method: str = "gfn2-xtb",
    temperature: float = 500.0,
    frames: int = 1200,
    interval: int = 20,
    timestep_fs: float = 0.5,
    friction_per_fs: float = 0.01,
    equilibration_ps: float = 2.0,
    seed: int = 1,
    charge: float | None = None,
    conformer_seed: int = 7,
    relax_fmax: float = 0.01,
    relax_steps: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> Structures:
    """Run Langevin dynamics of one molecule on GFN-xTB and return labelled frames.

    Recipe: RDKit conformer, MMFF, BFGS on the method itself, Maxwell–Boltzmann velocities without net
    momentum and rotation, ASE Langevin with ``fixcm=False`` (ASE's default removes the centre-of-mass noise and
    runs far too hot), equilibration, then one frame every `interval` steps, recentred on the centre of mass. Energy, forces,
    dipole (e Å) and Mulliken charges are those of the method.

    Args:
        molecule: SMILES, a name in :data:`MOLECULES`, a file, `Structures` (its first one) or `ase.Atoms`.
        method: "gfn2-xtb" or "gfn1-xtb".
        temperature: target in K.
        frames: number of frames returned.
        interval: steps between frames.
        timestep_fs: step in fs.
        friction_per_fs: Langevin friction in 1/fs.
        equilibration_ps: time discarded at the start, in ps.
        seed: of velocities and noise.
        charge: total charge; default: the formal charge of the SMILES, or the one stored with the structure.
        conformer_seed: of the RDKit embedding.
        relax_fmax: stop of the relaxation, eV/Å.
        relax_steps: most relaxation steps; 0 starts from the structure as given.
        progress: called as ``progress(done, frames)`` after every frame.

    Returns:
        `frames` structures with energy, forces, and extras `dipole` (B, 3), `charges` (N,), `time_fs` (B,),
        `temperature` (B,), the instantaneous temperature over 3N degrees of freedom.

    Raises:
        InvalidInput: unknown method or molecule, a number out of range, or a calculation that does not
            converge.
        MissingDependency: tblite, ASE or RDKit is not installed.

    Source: C. Bannwarth, S. Ehlert, S. Grimme, "GFN2-xTB", J. Chem. Theory Comput. 15, 1652 (2019).
    """
    for name, value, low in (
        ("temperature", temperature, 0.0),
        ("timestep_fs", timestep_fs, 0.0),
        ("friction_per_fs", friction_per_fs, 0.0),
    ):
        if not value > low:
            raise InvalidInput(f"generate: {name} = {value}, expected a number above {low}.")
    if frames < 1 or interval < 1 or equilibration_ps < 0:
        raise InvalidInput(
            f"generate: frames = {frames}, interval = {interval}, equilibration_ps = {equilibration_ps}; "
            "expected at least 1, 1 and 0."
        )
    ase_units, velocities = _need("ase.units"), _need("ase.md.velocitydistribution")
    langevin, bfgs = _need("ase.md.langevin"), _need("ase.optimize")
    failed = _need("ase.calculators.calculator").CalculatorError

    atoms, found_charge, name = _start(molecule, conformer_seed)
    total_charge = found_charge if charge is None else float(charge)
    atoms.calc = _calculator(method, total_charge, atoms.numbers)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    try:
        if relax_steps > 0:
            bfgs.BFGS(atoms, logfile=None).run(fmax=relax_fmax, steps=relax_steps)
        spread = np.sqrt(atoms.get_masses() * ase_units.kB * temperature)  # Maxwell-Boltzmann, per component
        atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * spread[:, None])
        # An atom has nothing to remove, and a crystal no rotation. Linear molecules divide 0 by 0 inside ASE,
        # harmlessly.
        if len(atoms) > 1:
            velocities.Stationary(atoms)
            if not atoms.pbc.any():
                with np.errstate(divide="ignore", invalid="ignore"):
                    velocities.ZeroRotation(atoms)
        dynamics = langevin.Langevin(
            atoms,
            timestep_fs * ase_units.fs,
            temperature_K=temperature,
            friction=friction_per_fs / ase_units.fs,
            fixcm=False,
            rng=rng,
        )
        dynamics.run(round(equilibration_ps * 1000 / timestep_fs))
        for frame in range(frames):
            dynamics.run(interval)
            rows.append(_record(atoms, (frame + 1) * interval * timestep_fs + equilibration_ps * 1000))
            if progress is not None:
                progress(frame + 1, frames)
    except failed as error:
        raise InvalidInput(
            f"generate: {METHODS[method.lower()]} failed for {name!r} after {len(rows)} frames ({error}). "
            "Check the charge, start from a relaxed structure, or take a smaller timestep."
        ) from error
    recipe = (
        f"{METHODS[method.lower()]} Langevin of {name!r} (charge {total_charge:g}) at {temperature:g} K, "
        f"{timestep_fs:g} fs, "
        f"friction {friction_per_fs:g}/fs, {equilibration_ps:g} ps equilibration, every {interval} steps, "
        f"seed {seed}; "
        "energy eV, forces eV/Å, dipole e Å"
    )
    return _pack(atoms, rows, total_charge, f"generated: {recipe}")


def _record(atoms: Any, time_fs: float) -> dict[str, Any]:
    results = {
        name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "dipole", "charges")
    }
    row = {k: np.array(v, dtype=np.float64) for k, v in results.items()}
    if not all(np.isfinite(v).all() for v in row.values()):
        raise InvalidInput(
            "generate: the method returned NaN or infinity; check the structure and the timestep."
        )
    row["pos"] = atoms.get_positions() - (0.0 if atoms.pbc.any() else atoms.get_center_of_mass())
    row["time_fs"] = np.array(time_fs)
    row["temperature"] = np.array(atoms.get_temperature())
    return row


def _pack(atoms: Any, rows: list[dict[str, Any]], charge: float, source: str) -> Structures:
    count, n = len(rows), len(atoms)
    values: dict[str, Any] = dict(
        z=np.tile(atoms.get_atomic_numbers(), count),
        pos=np.concatenate([r["pos"] for r in rows]),
        ptr=np.arange(count + 1) * n,
        energy=np.array([r["energy"] for r in rows]),
        forces=np.concatenate([r["forces"] for r in rows]),
        cell=np.tile(np.asarray(atoms.cell), (count, 1, 1)),
        pbc=np.tile(atoms.pbc, (count, 1)),
        charge=np.full(count, charge),
        extra={
            "dipole": np.array([r["dipole"] for r in rows]),
            "charges": np.concatenate([r["charges"] for r in rows]),
            "time_fs": np.array([r["time_fs"] for r in rows]),
            "temperature": np.array([r["temperature"] for r in rows]),
        },
    )
    return Structures(**values, graph_extra=frozenset({"dipole", "time_fs", "temperature"}), source=source)


def single_points(structures: Structures, method: str = "gfn2-xtb") -> Structures:
    """Label structures with energy, forces, dipole and charges of a GFN-xTB single point.

    Raises:
        InvalidInput: unknown method, or a calculation that does not converge.
        MissingDependency: tblite or ASE is not installed.
    """
    ase, failed = _need("ase"), _need("ase.calculators.calculator").CalculatorError
    labelled = []
    for index, one in enumerate(structures):
        atoms = ase.Atoms(numbers=one.z.numpy(), positions=one.pos.double().numpy())
        atoms.set_cell(one.cell[0].double().numpy())
        atoms.set_pbc(one.pbc[0].numpy())
        atoms.calc = _calculator(method, float(one.charge[0]), atoms.numbers)
        try:
            row = _record(atoms, 0.0)
        except failed as error:
            raise InvalidInput(f"single_points: structure {index} failed ({error}).") from error
        row["pos"] = one.pos.double().numpy()
        labelled.append(_pack(atoms, [row], float(one.charge[0]), f"{METHODS[method.lower()]} single points"))
    return Structures.concatenate(labelled)
