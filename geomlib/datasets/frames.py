"""From parsed frames to `Structures`: finding the labels, converting units, treating what is missing.

Every reader that meets free-form keys (extxyz, ASE databases, ASE objects) ends here, so that they all
accept the same names and all say which they used.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from geomlib.datasets.elements import all_electron_energy
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import ENERGY_UNITS, Units
from geomlib.errors import InvalidInput

__all__ = ["ENERGY_KEYS", "FORCES_KEYS", "STRESS_KEYS", "VIRIAL_KEYS", "Frame", "assemble", "stress_matrix"]

ENERGY_KEYS = (
    "energy",
    "REF_energy",
    "Energy",
    "ref_energy",
    "dft_energy",
    "DFT_energy",
    "total_energy",
    "energy_U0",
)
FORCES_KEYS = (
    "forces",
    "REF_forces",
    "force",
    "Forces",
    "ref_forces",
    "dft_forces",
    "DFT_forces",
    "atomic_forces",
)
STRESS_KEYS = ("stress", "REF_stress", "Stress", "ref_stress", "dft_stress", "DFT_stress")
VIRIAL_KEYS = ("virial", "REF_virial", "virials", "REF_virials", "dft_virial", "DFT_virial")
CHARGE_KEYS = ("charge", "total_charge", "tot_charge", "REF_charge")

OnNaN = Literal["error", "mask", "drop"]
_RESERVED = {"Lattice", "Properties", "pbc", "species", "pos", "energy", "forces", "stress", "virial"}


@dataclass
class Frame:
    """One structure as a file gave it, in the file's units."""

    z: np.ndarray
    pos: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    cell: np.ndarray | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    where: str = ""


def stress_matrix(value: Any, where: str) -> np.ndarray:
    """Return a (3, 3) matrix from 3x3, 9 numbers (row by row) or 6 Voigt numbers (xx yy zz yz xz xy)."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape == (6,):
        xx, yy, zz, yz, xz, xy = array
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.size == 9:
        return array.reshape(3, 3)
    raise InvalidInput(
        f"{where}: stress or virial of shape {array.shape}, expected 6 (xx yy zz yz xz xy), 9 or 3x3."
    )


def _find(
    kind: str, asked: str | None, candidates: Sequence[str], present: Iterable[str], path: str
) -> list[str]:
    """Return the keys to use for a label: the one asked for, or every known name that occurs, best first."""
    names = set(present)
    if asked is None:
        return [name for name in candidates if name in names]
    if asked in names:
        return [asked]
    close = difflib.get_close_matches(asked, sorted(names), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InvalidInput(
        f"{path}: {kind}_key={asked!r} is in no frame; the file has "
        f"{', '.join(sorted(names)) or 'none'}.{hint}"
    )


def _unambiguous(kind: str, keys: list[str], frames: Sequence[Frame], where: str) -> None:
    """Refuse to choose between two sets of labels that differ."""
    if len(keys) < 2:
        return
    first, second = keys[:2]
    for frame in frames:
        source = frame.arrays if where == "arrays" else frame.info
        if first in source and second in source:
            a, b = np.asarray(source[first], dtype=np.float64), np.asarray(source[second], dtype=np.float64)
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True):
                raise InvalidInput(
                    f"{frame.where}: both {first!r} and {second!r} are present and differ; "
                    f"choose with {kind}_key={first!r} or {kind}_key={second!r}."
                )


def _scalar(value: Any, key: str, where: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise InvalidInput(f"{where}: {key!r} is {str(value)[:40]!r}, expected one number.")
    return float(array.reshape(()))


class _Missing:
    """Collects what is absent or not a number, and applies the policy."""

    def __init__(self, policy: str, path: str) -> None:
        if policy not in ("error", "mask", "drop"):
            raise InvalidInput(f"on_nan={policy!r}, expected 'error', 'mask' or 'drop'.")
        self.policy, self.path = policy, path
        self.frames: dict[str, set[int]] = {}

    def report(self, kind: str, index: int, where: str, what: str) -> None:
        if self.policy == "error":
            raise InvalidInput(
                f"{where}: {what}. Repair the file, or read it with on_nan='mask' (the label becomes NaN) "
                "or on_nan='drop' (the frame is left out)."
            )
        self.frames.setdefault(kind, set()).add(index)

    def __str__(self) -> str:
        if not self.frames:
            return ""
        counts = ", ".join(f"{kind} in {len(where)} frames" for kind, where in self.frames.items())
        every = len(set().union(*self.frames.values()))
        done = f"masked {counts}" if self.policy == "mask" else f"dropped {every} frames ({counts})"
        return f"; {done} (missing or NaN)"


def assemble(
    frames: Sequence[Frame],
    path: str,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    units: str | Mapping[str, str] | Units | None = None,
    on_nan: OnNaN = "error",
) -> Structures:
    """Pack frames, in geomlib's units.

    Args:
        frames: what the reader found.
        path: named in errors and in `source`.
        energy_key: name of the energy; default: the first known name that occurs.
        forces_key: name of the forces.
        stress_key: name of the stress, or of the virial (then stress = -virial / volume).
        units: units of the file, see :class:`geomlib.datasets.Units`.
        on_nan: "error", "mask" (labels become NaN) or "drop" (frames are left out), for labels absent or NaN.

    Raises:
        InvalidInput: no frames, unknown or ambiguous key, label missing or NaN in some frames, wrong shape.
    """
    if not frames:
        raise InvalidInput(f"{path}: no structures found.")
    parsed = Units.parse(units)
    missing = _Missing(on_nan, path)
    info_keys = list(dict.fromkeys(k for f in frames for k in f.info))
    array_keys = list(dict.fromkeys(k for f in frames for k in f.arrays))
    energy_keys = _find("energy", energy_key, ENERGY_KEYS, info_keys, path)
    forces_keys = _find("forces", forces_key, FORCES_KEYS, array_keys, path)
    if stress_key is None:
        stress_keys = [k for k in STRESS_KEYS if k in info_keys]
        virial_keys = [] if stress_keys else [k for k in VIRIAL_KEYS if k in info_keys]
    else:
        virial_keys = [stress_key] if "virial" in stress_key.lower() else []
        stress_keys = [] if virial_keys else [stress_key]
        _find("stress", stress_key, (), info_keys, path)
    for kind, keys, where in (("energy", energy_keys, "info"), ("forces", forces_keys, "arrays")):
        _unambiguous(kind, keys, frames, where)
    _unambiguous("stress", stress_keys or virial_keys, frames, "info")

    labels: dict[str, list[Any]] = {"energy": [], "forces": [], "stress": []}
    charges: list[float] = []
    for i, frame in enumerate(frames):
        n = len(frame.z)
        if energy_keys:
            labels["energy"].append(_energy(frame, i, energy_keys, missing))
        if forces_keys:
            labels["forces"].append(_forces(frame, i, forces_keys, missing, n))
        if stress_keys or virial_keys:
            labels["stress"].append(_stress(frame, i, stress_keys, virial_keys, missing, parsed))
        charges.append(_charge(frame))
    used = set(energy_keys[:1]) | set(forces_keys[:1]) | set((stress_keys or virial_keys)[:1])
    extra, graph_extra, text, left_out = _extras(frames, info_keys, array_keys, used)
    b = len(frames)
    ptr = np.concatenate([[0], np.cumsum([len(f.z) for f in frames])])
    notes = [
        f"energy from {energy_keys[0]!r} ({parsed.energy})" if energy_keys else "no energy",
        f"forces from {forces_keys[0]!r} ({parsed.forces})" if forces_keys else "no forces",
    ]
    if stress_keys or virial_keys:
        how = "-virial/V of " if virial_keys else ""
        notes.append(f"stress from {how}{(stress_keys or virial_keys)[0]!r}")
    if not parsed.is_default:
        notes.append("converted to eV and Å")
    if left_out:
        notes.append(f"left out: {', '.join(left_out)}")
    result = Structures(
        z=np.concatenate([f.z for f in frames]),  # type: ignore[arg-type]
        pos=np.concatenate([f.pos for f in frames]) * parsed.length_factor,  # type: ignore[arg-type]
        ptr=ptr,  # type: ignore[arg-type]
        energy=np.array(labels["energy"]) * parsed.energy_factor if energy_keys else None,  # type: ignore[arg-type]
        forces=np.concatenate(labels["forces"]) * parsed.forces_factor if forces_keys else None,  # type: ignore[arg-type]
        stress=np.array(labels["stress"]) if labels["stress"] else None,  # type: ignore[arg-type]
        cell=np.array(  # type: ignore[arg-type]
            [np.zeros((3, 3)) if f.cell is None else f.cell * parsed.length_factor for f in frames]
        ),
        pbc=np.array([f.pbc for f in frames], dtype=bool),  # type: ignore[arg-type]
        charge=np.array(charges),  # type: ignore[arg-type]
        extra=extra,
        graph_extra=frozenset(graph_extra),
        text=text,
        source=f"{path}: {b} structures, {', '.join(notes)}{missing}",
    )
    if on_nan == "drop" and missing.frames:
        bad = set().union(*missing.frames.values())
        result = result[[i for i in range(b) if i not in bad]]
        if len(result) == 0:
            raise InvalidInput(f"{path}: on_nan='drop' leaves no structure{missing}.")
    if units is None:
        _doubt(result, path)
    return result


def _energy(frame: Frame, i: int, keys: list[str], missing: _Missing) -> float:
    key = next((k for k in keys if frame.info.get(k) is not None), None)
    if key is None:
        missing.report("energy", i, frame.where, f"no {keys[0]!r}, other frames have it")
        return float("nan")
    value = _scalar(frame.info[key], key, frame.where)
    if not np.isfinite(value):
        missing.report("energy", i, frame.where, f"{key!r} is {value}")
        return float("nan")
    return value


def _forces(frame: Frame, i: int, keys: list[str], missing: _Missing, n: int) -> np.ndarray:
    key = next((k for k in keys if k in frame.arrays), None)
    if key is None:
        missing.report("forces", i, frame.where, f"no {keys[0]!r}, other frames have them")
        return np.full((n, 3), np.nan)
    value = np.asarray(frame.arrays[key])
    if value.shape != (n, 3) or value.dtype.kind not in "iuf":
        raise InvalidInput(f"{frame.where}: {key!r} has shape {value.shape}, expected numbers ({n}, 3).")
    bad = ~np.isfinite(value)
    if bad.any():
        atom = int(np.argwhere(bad)[0][0])
        missing.report("forces", i, frame.where, f"{key!r} of atom {atom} is {value[atom].tolist()}")
        return np.full((n, 3), np.nan)
    return value.astype(np.float64)


def _stress(
    frame: Frame, i: int, stress_keys: list[str], virial_keys: list[str], missing: _Missing, units: Units
) -> np.ndarray:
    key = next((k for k in stress_keys + virial_keys if frame.info.get(k) is not None), None)
    if key is None:
        missing.report(
            "stress", i, frame.where, f"no {(stress_keys + virial_keys)[0]!r}, other frames have it"
        )
        return np.full((3, 3), np.nan)
    value = stress_matrix(frame.info[key], frame.where)
    if not np.isfinite(value).all():
        missing.report("stress", i, frame.where, f"{key!r} is not finite")
        return np.full((3, 3), np.nan)
    if key in stress_keys:
        return value * units.stress_factor
    volume = 0.0 if frame.cell is None else abs(float(np.linalg.det(frame.cell))) * units.length_factor**3
    if volume < 1e-8:
        raise InvalidInput(
            f"{frame.where}: {key!r} needs a cell with a volume to become a stress; the frame has none."
        )
    return -value * units.energy_factor / volume


def _charge(frame: Frame) -> float:
    key = next((k for k in CHARGE_KEYS if frame.info.get(k) is not None), None)
    if key is None:
        return 0.0
    value = _scalar(frame.info[key], key, frame.where)
    if not np.isfinite(value):
        raise InvalidInput(f"{frame.where}: total charge {key!r} is {value}.")
    return value


def _extras(
    frames: Sequence[Frame], info_keys: list[str], array_keys: list[str], used: set[str]
) -> tuple[dict[str, Any], list[str], dict[str, tuple[str, ...]], list[str]]:
    extra: dict[str, Any] = {}
    text: dict[str, tuple[str, ...]] = {}
    graph: list[str] = []
    left_out: list[str] = []
    for key in info_keys:
        if key in used or key in CHARGE_KEYS:
            continue
        name = f"file_{key}" if key in _RESERVED else key
        values = [f.info.get(key) for f in frames]
        present = [v for v in values if v is not None]
        if present and all(isinstance(v, str) for v in present):
            text[name] = tuple("" if v is None else v for v in values)
            continue
        column = _stack(values, rows=[1] * len(frames))
        if column is None:
            left_out.append(key)
        else:
            extra[name] = torch.from_numpy(column)
            graph.append(name)
    for key in array_keys:
        if key in used:
            continue
        name = f"file_{key}" if key in _RESERVED else key
        name = f"atomic_{name}" if name in extra else name
        values = [f.arrays.get(key) for f in frames]
        column = _stack(values, rows=[len(f.z) for f in frames], per_atom=True)
        if column is None:
            left_out.append(key)
        else:
            extra[name] = torch.from_numpy(column)
    return extra, graph, text, left_out


def _stack(values: Sequence[Any], rows: Sequence[int], per_atom: bool = False) -> np.ndarray | None:
    """Return one array for all frames, NaN where a frame lacks the value; None if they do not fit."""
    arrays: list[np.ndarray | None] = []
    for value in values:
        try:
            arrays.append(None if value is None else np.asarray(value))
        except ValueError:  # ragged lists are no array
            return None
    present = [a for a in arrays if a is not None]
    if not present or any(a.dtype.kind not in "biuf" for a in present):
        return None
    shapes = {a.shape[1:] if per_atom else a.shape for a in present}
    if len(shapes) != 1:
        return None
    shape = shapes.pop()
    kinds = {"f" if a.dtype.kind == "f" else "b" if a.dtype.kind == "b" else "i" for a in present}
    complete = len(present) == len(arrays)
    dtype = (
        {"i": np.int64, "b": np.bool_}.get(next(iter(kinds)), np.float64)
        if complete and len(kinds) == 1
        else np.float64
    )
    blocks = [
        np.full((r, *shape), np.nan) if a is None else (a if per_atom else a[None]).astype(dtype)
        for a, r in zip(arrays, rows, strict=True)
    ]
    return np.concatenate(blocks)


def _doubt(result: Structures, path: str) -> None:
    """Warn when all energies look like all-electron energies in another unit than eV."""
    if result.energy is None or not bool(torch.isfinite(result.energy).any()):
        return
    estimate = torch.zeros(119, dtype=torch.float64)
    estimate[1:] = torch.tensor([all_electron_energy(float(z)) for z in range(1, 119)], dtype=torch.float64)
    expected = torch.zeros(len(result), dtype=torch.float64).index_add_(0, result.batch, estimate[result.z])
    ratio = float(torch.nanmedian(result.energy.double() / expected))
    for unit, factor in ENERGY_UNITS.items():
        if unit in ("kcal/mol", "kJ/mol", "Hartree") and abs(ratio * factor - 1) < 0.03:
            warnings.warn(
                f"{path}: the energies are {ratio:.3g} times what all-electron energies in eV would be: "
                "they look like "
                f"{unit}. They were read as eV; pass units={unit!r} to convert, or units='eV' to silence "
                "this.",
                UserWarning,
                stacklevel=4,
            )
