"""DeePMD systems: a folder with type.raw and sets of .npy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.arrays import read_npy
from geomlib.datasets.elements import atomic_number
from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput

__all__ = ["read_deepmd"]

_TENSORS = {"dipole": (3,), "polarizability": (3, 3)}


def read_deepmd(
    path: str | Path, *, type_map: Sequence[str] | None = None, symmetrise: bool = True
) -> Structures:
    """Read one DeePMD system, or all systems below a folder (joined in the order of their names).

    Units are eV, Å, eV/Å. stress = -virial / V. Energies kept in float32 by the file are widened, which does
    not bring back what they lost. No box file means an open boundary.

    Args:
        path: folder with type.raw, or above such folders.
        type_map: symbols of the types, for systems without type_map.raw. The order of types differs between
            programs; it is never guessed.
        symmetrise: replace polarizabilities by their symmetric part.

    Raises:
        InvalidInput: a file is missing or damaged, or shapes do not fit.
    """
    path = Path(path)
    systems = sorted(p.parent for p in path.rglob("type.raw")) if path.is_dir() else []
    if not systems:
        raise InvalidInput(f"{path}: no DeePMD system here (a folder with type.raw and set.*/coord.npy).")
    joined = Structures.concatenate([_system(folder, type_map, symmetrise) for folder in systems])
    # One line however many systems: what each set said about itself, once.
    notes = dict.fromkeys(part.split(", ", 1)[1] for part in joined.source.split(" | ") if ", DeePMD" in part)
    source = f"{path}: {len(joined)} structures in {len(systems)} systems, {' | '.join(notes)}"
    return joined.replace(source=source)


def _types(folder: Path, type_map: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    path = folder / "type.raw"
    words = path.read_text(encoding="utf-8-sig").split()
    if not words or not all(w.isdecimal() for w in words):
        raise InvalidInput(f"{path}: expected one type number per atom, found {' '.join(words)[:40]!r}.")
    types = np.array([int(w) for w in words], dtype=np.int64)
    named = folder / "type_map.raw"
    if type_map is None:
        if not named.is_file():
            raise InvalidInput(f"{folder}: no type_map.raw; pass type_map=, such as ['O', 'H'].")
        type_map = named.read_text(encoding="utf-8-sig").split()
    numbers = np.array([atomic_number(s, str(named)) for s in type_map], dtype=np.int64)
    if types.max() >= len(numbers):
        raise InvalidInput(
            f"{path}: type {int(types.max())}, but the type map has {len(numbers)} entries: {list(type_map)}."
        )
    return types, numbers[types]


def _system(folder: Path, type_map: Sequence[str] | None, symmetrise: bool) -> Structures:
    types, z = _types(folder, type_map)
    sets = sorted(p for p in folder.glob("set.*") if p.is_dir())
    if not sets:
        raise InvalidInput(f"{folder}: has no set.* folder.")
    return Structures.concatenate([_set(part, types, z, symmetrise) for part in sets])


def _array(path: Path, frames: int | None, width: int | None) -> np.ndarray:
    array = read_npy(path)
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{path}: type {array.dtype}, expected numbers.")
    array = array.astype(np.float64)
    array = array.reshape(len(array), -1 if array.size else 0) if array.ndim else array.reshape(1, 1)
    wrong = (frames is not None and len(array) != frames) or (width is not None and array.shape[1] != width)
    if wrong or not len(array):
        raise InvalidInput(f"{path}: shape {array.shape}, expected ({frames or 'frames'}, {width or 'any'}).")
    if not np.isfinite(array).all():
        raise InvalidInput(
            f"{path}: frame {int(np.argwhere(~np.isfinite(array))[0][0])} holds NaN or infinity."
        )
    return array


def _set(part: Path, types: np.ndarray, z: np.ndarray, symmetrise: bool) -> Structures:
    n = len(z)
    coord = _array(part / "coord.npy", None, 3 * n)
    b = len(coord)
    values: dict[str, Any] = {"z": np.tile(z, b), "pos": coord.reshape(-1, 3), "ptr": np.arange(b + 1) * n}
    notes = []
    if (part / "box.npy").is_file() and not (part.parent / "nopbc").exists():
        values["cell"] = _array(part / "box.npy", b, 9).reshape(b, 3, 3)
        values["pbc"] = np.ones((b, 3), dtype=bool)
        volume = np.abs(np.linalg.det(values["cell"]))
        if volume.min() < 1e-8:
            raise InvalidInput(f"{part / 'box.npy'}: frame {int(volume.argmin())} has a cell without volume.")
    else:
        volume = None
        notes.append("open boundary")
    if (part / "energy.npy").is_file():
        values["energy"] = _array(part / "energy.npy", b, 1).reshape(b)
        if read_npy(part / "energy.npy").dtype == np.float32:
            notes.append("energies stored as float32")
    if (part / "force.npy").is_file():
        values["forces"] = _array(part / "force.npy", b, 3 * n).reshape(-1, 3)
    if (part / "virial.npy").is_file():
        if volume is None:
            raise InvalidInput(f"{part / 'virial.npy'}: a virial needs box.npy.")
        values["stress"] = -_array(part / "virial.npy", b, 9).reshape(b, 3, 3) / volume[:, None, None]
        notes.append("stress from -virial/V")
    extra, graph = {}, []
    for name, shape in _TENSORS.items():
        width = int(np.prod(shape))
        if (part / f"{name}.npy").is_file():
            extra[name] = _array(part / f"{name}.npy", b, width).reshape(b, *shape)
            graph.append(name)
        if (part / f"atomic_{name}.npy").is_file():
            extra[f"atomic_{name}"] = _atomic(part / f"atomic_{name}.npy", types, b, shape, notes)
    if symmetrise:
        for name in ("polarizability", "atomic_polarizability"):
            if name in extra:
                extra[name] = (extra[name] + extra[name].swapaxes(-1, -2)) / 2
                notes.append(f"{name} symmetrised")
    found = [
        f"{name} (eV{'' if name == 'energy' else '/Å'})" for name in ("energy", "forces") if name in values
    ]
    source = f"{part}: {b} structures, DeePMD, {', '.join(found) or 'no energy or forces'}"
    return Structures(
        **values, extra=extra, graph_extra=frozenset(graph), source="; ".join([source, *dict.fromkeys(notes)])
    )


def _atomic(path: Path, types: np.ndarray, b: int, shape: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """Return (B*n, *shape). Files may hold the atoms of one type only; the others get zeros."""
    array, n, width = _array(path, b, None), len(types), int(np.prod(shape))
    if array.shape[1] == n * width:
        return array.reshape(b * n, *shape)
    fitting = [t for t in np.unique(types) if array.shape[1] == int((types == t).sum()) * width]
    if len(fitting) != 1:
        raise InvalidInput(
            f"{path}: {array.shape[1]} columns fit neither {n} atoms nor the atoms of one type."
        )
    full = np.zeros((b, n, *shape))
    full[:, types == fitting[0]] = array.reshape(b, -1, *shape)
    notes.append(f"{path.stem} given for type {int(fitting[0])} only, zero elsewhere")
    return full.reshape(b * n, *shape)
