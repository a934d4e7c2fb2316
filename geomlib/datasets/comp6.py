"""COMP6 benchmark sets (HDF5), such as s66x8."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.elements import atomic_number
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import HARTREE
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["read_comp6"]


def read_comp6(path: str | Path) -> Structures:
    """Read a COMP6 file: per molecule, coordinates (Å), energies (Hartree) and forces (Hartree/Å).

    **The array called `forces` in these files is the gradient +dE/dx**; it is negated here, and `source`
    says so. Per-atom arrays (cm5, hirshfeld, ...) have one entry more than there are atoms, a total, which
    is left out. `text["group"]` is the name of the molecule.

    Args:
        path: the .h5 file.

    Raises:
        InvalidInput: damaged file, missing arrays, shapes that do not fit.
        MissingDependency: h5py is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise MissingDependency(
            f"read_comp6: h5py could not be imported ({error}); pip install h5py."
        ) from None
    parts: list[Structures] = []
    try:
        with h5py.File(path, "r") as stream:
            groups: list[Any] = []
            stream.visititems(lambda _, node: groups.append(node) if _is_molecule(node) else None)
            parts = [_group(node, path) for node in groups]
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path}: not a readable HDF5 file ({type(error).__name__}: {error}).") from None
    if not parts:
        raise InvalidInput(f"{path}: no group holds species, coordinates and energies.")
    joined = Structures.concatenate(parts)
    source = (
        f"{path}: {len(joined)} structures in {len(parts)} groups, energy from 'energies' (Hartree), "
        "forces from -'forces' (the file holds the gradient, Hartree/Å), converted to eV and Å"
    )
    return joined.replace(source=source)


def _is_molecule(node: Any) -> bool:
    return hasattr(node, "keys") and {"species", "coordinates", "energies"} <= set(node.keys())


def _group(node: Any, path: Path) -> Structures:
    where = f"{path}:{node.name}"
    symbols = [
        s.decode() if isinstance(s, bytes) else str(s) for s in node["species"][()].reshape(-1).tolist()
    ]
    z = np.array([atomic_number(s, where) for s in symbols], dtype=np.int64)
    n, coordinates = len(z), np.asarray(node["coordinates"][()], dtype=np.float64)
    if coordinates.ndim != 3 or coordinates.shape[1:] != (n, 3):
        raise InvalidInput(f"{where}: coordinates of shape {coordinates.shape}, expected (frames, {n}, 3).")
    b = len(coordinates)
    energies = np.asarray(node["energies"][()], dtype=np.float64)
    values: dict[str, Any] = {"energy": energies.reshape(-1) * HARTREE}
    if energies.size != b or not np.isfinite(energies).all():
        raise InvalidInput(f"{where}: {energies.size} energies for {b} frames, or some are not finite.")
    if "forces" in node:
        gradient = np.asarray(node["forces"][()], dtype=np.float64)
        if gradient.shape != coordinates.shape or not np.isfinite(gradient).all():
            raise InvalidInput(
                f"{where}: forces of shape {gradient.shape}, expected finite {coordinates.shape}."
            )
        values["forces"] = -gradient.reshape(-1, 3) * HARTREE
    extra = {}
    for name in ("cm5", "hirshfeld", "spindensities", "hirdipole"):
        if name in node and node[name].shape[:2] in ((b, n), (b, n + 1)):
            array = np.asarray(node[name][()], dtype=np.float64)[:, :n]
            extra[name] = array.reshape(b * n, *array.shape[2:])
    return Structures(
        z=np.tile(z, b),  # type: ignore[arg-type]
        pos=coordinates.reshape(-1, 3),  # type: ignore[arg-type]
        ptr=np.arange(b + 1) * n,  # type: ignore[arg-type]
        extra=extra,
        text={"group": (node.name.rsplit("/", 1)[-1],) * b},
        **values,
    )
