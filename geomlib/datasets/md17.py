"""MD17 and rMD17: one molecule, many frames, in an .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.arrays import read_npz
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import Units
from geomlib.errors import InvalidInput

__all__ = ["read_md17"]

_KEYS = {
    "rMD17": {"z": "nuclear_charges", "pos": "coords", "energy": "energies", "forces": "forces"},
    "MD17": {"z": "z", "pos": "R", "energy": "E", "forces": "F"},
}


def read_md17(
    path: str | Path, *, units: str | Mapping[str, str] | Units | None = None, on_nan: str = "error"
) -> Structures:
    """Read a raw .npz of MD17 (keys R, z, E, F) or rMD17 (coords, nuclear_charges, energies, forces).

    The published files are in kcal/mol and kcal/mol/Å, and are converted to eV and eV/Å; a file that names
    its units (`e_unit`, `r_unit`) is believed. The labels of MD17 itself are noisy (net forces up to 0.26
    kcal/mol/Å), those of rMD17 are not. An .npz in a QM9 layout is passed on to
    :func:`geomlib.datasets.read_qm9`.

    Args:
        path: the file.
        units: units of the file, where they are neither kcal/mol nor stated inside.
        on_nan: frames with NaN labels raise ("error") or are left out ("drop").

    Raises:
        InvalidInput: damaged file, missing keys, shapes that do not fit, object arrays.
    """
    path = Path(path)
    if on_nan not in ("error", "drop"):
        raise InvalidInput(f"read_md17: on_nan={on_nan!r}, expected 'error' or 'drop'.")
    data = read_npz(path)
    if {"N", "R", "Z"} <= data.keys() or {"num_atoms", "charges", "positions"} <= data.keys():
        from geomlib.datasets.qm9 import read_qm9

        return read_qm9(path)
    layout = next((name for name, keys in _KEYS.items() if {keys["z"], keys["pos"]} <= data.keys()), None)
    if layout is None:
        expected = " or ".join(f"{name} ({', '.join(keys.values())})" for name, keys in _KEYS.items())
        raise InvalidInput(
            f"{path}: holds {', '.join(data) or 'nothing'}; expected the layout of {expected}."
        )
    keys = _KEYS[layout]
    z, pos = data[keys["z"]].reshape(-1), data[keys["pos"]]
    if pos.ndim != 3 or pos.shape[2] != 3 or pos.shape[1] != z.size or z.dtype.kind not in "iu":
        raise InvalidInput(
            f"{path}: {keys['pos']} has shape {pos.shape}, {keys['z']} has {z.size} {z.dtype} entries; "
            "expected (frames, atoms, 3) and integers (atoms,)."
        )
    frames, n = pos.shape[:2]
    if frames == 0 or n == 0:
        raise InvalidInput(f"{path}: {keys['pos']} has shape {pos.shape}: no frames or no atoms.")
    stated = {field: _word(data.get(key)) for field, key in (("energy", "e_unit"), ("length", "r_unit"))}
    parsed = Units.parse(
        units if units is not None else {"energy": "kcal/mol"} | {k: v for k, v in stated.items() if v}
    )
    values: dict[str, Any] = {}
    keep = np.ones(frames, dtype=bool)
    for name, shape in (("energy", (frames,)), ("forces", (frames, n, 3))):
        if keys[name] not in data:
            continue
        value = data[keys[name]]
        # (frames, 1) is what the old files hold; anything else would broadcast into nonsense later.
        value = (
            value.reshape(frames) if name == "energy" and value.shape in ((frames, 1), (frames,)) else value
        )
        if value.shape != shape or value.dtype.kind not in "fiu":
            raise InvalidInput(
                f"{path}: {keys[name]} has shape {value.shape} and type {value.dtype}, expected {shape}."
            )
        bad = ~np.isfinite(value.reshape(frames, -1)).all(axis=1)
        if bad.any() and on_nan == "error":
            raise InvalidInput(
                f"{path}: {keys[name]} of frame {int(bad.argmax())} is not finite ({int(bad.sum())} frames); "
                "on_nan='drop' leaves them out."
            )
        keep &= ~bad
        values[name] = value.astype(np.float64) * (
            parsed.energy_factor if name == "energy" else parsed.forces_factor
        )
    if not keep.any():
        raise InvalidInput(f"{path}: on_nan='drop' leaves no frame.")
    if "forces" in values:
        values["forces"] = values["forces"][keep].reshape(-1, 3)
    if "energy" in values:
        values["energy"] = values["energy"][keep]
    kept = int(keep.sum())
    extra, graph = {}, []
    for key in ("old_indices", "old_energies"):
        if key in data and data[key].size == frames:
            factor = parsed.energy_factor if key == "old_energies" else 1
            extra[key] = data[key].reshape(frames)[keep] * factor
            graph.append(key)
    dropped = f"; dropped {frames - kept} frames (NaN)" if kept < frames else ""
    used = ", ".join(f"{name} from {keys[name]!r}" for name in ("energy", "forces") if name in values)
    values |= {
        "z": np.tile(z.astype(np.int64), kept),
        "pos": pos[keep].astype(np.float64).reshape(-1, 3) * parsed.length_factor,
        "ptr": np.arange(kept + 1) * n,
        "extra": extra,
    }
    layout += f" layout, {used or 'no labels'}, {parsed.energy} converted to eV"
    source = f"{path}: {kept} structures, {layout}{dropped}"
    return Structures(**values, graph_extra=frozenset(graph), source=source)


def _word(value: np.ndarray | None) -> str | None:
    if value is None or value.size != 1:
        return None
    word = value.reshape(-1)[0]
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
