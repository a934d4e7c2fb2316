"""ASE databases (SQLite), read as plain tables: nothing is unpickled and no code of the file is run."""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.frames import FORCES_KEYS, Frame, OnNaN, assemble
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import Units
from geomlib.errors import InvalidInput

__all__ = ["read_ase_db"]

_COLUMNS = (
    "id",
    "numbers",
    "positions",
    "cell",
    "pbc",
    "energy",
    "free_energy",
    "forces",
    "stress",
    "dipole",
    "charges",
)
_JSON = ("key_value_pairs", "data")
_DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}


def read_ase_db(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    units: str | Mapping[str, str] | Units | None = None,
    on_nan: OnNaN = "error",
) -> Structures:
    """Read an ASE SQLite database, including those of SchNetPack.

    Labels come from ASE's own columns, from key-value pairs and from `data`: ASE's binary and JSON arrays,
    and SchNetPack's base64 strings with `_shape_` and `_dtype_` companions. Units stated in the metadata
    (`_property_unit_dict`, `_distance_unit`) are used unless `units` is given.

    Args:
        path: the file.
        energy_key: name of the energy, where the usual names do not fit.
        forces_key: name of the forces.
        stress_key: name of the stress or virial.
        units: units of the file.
        on_nan: "error", "mask" or "drop", as in :func:`geomlib.datasets.read_extxyz`.

    Raises:
        InvalidInput: not a database, damaged rows; the message names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            rows = list(_rows(connection, path))
            stated = _stated_units(connection)
    except (sqlite3.Error, OverflowError) as error:
        raise InvalidInput(f"{path}: not a readable ASE database ({error}).") from None
    frames = [_frame(row, path) for row in rows]
    _sort_arrays(frames)
    chosen = units
    if units is None and stated:
        chosen = _choose_units(stated, frames, energy_key, forces_key, path)
    return assemble(
        frames,
        str(path),
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        units=chosen,
        on_nan=on_nan,
    )


def _rows(connection: sqlite3.Connection, path: Path) -> Iterator[dict[str, Any]]:
    kinds = dict(connection.execute("SELECT name, type FROM sqlite_master").fetchall())
    if kinds.get("systems") != "table":  # a view could compute anything
        raise InvalidInput(
            f"{path}: has no table 'systems'; tables: {', '.join(k for k in kinds if k) or 'none'}."
        )
    present = {row[1] for row in connection.execute("PRAGMA table_info(systems)")}
    if not {"id", "numbers", "positions"} <= present:
        raise InvalidInput(
            f"{path}: table 'systems' lacks the columns id, numbers, positions of an ASE database."
        )
    names = [name for name in (*_COLUMNS, *_JSON) if name in present]
    for row in connection.execute(f"SELECT {', '.join(names)} FROM systems ORDER BY id"):
        yield dict(zip(names, row, strict=True))


def _stated_units(connection: sqlite3.Connection) -> dict[str, Any]:
    try:
        found = connection.execute("SELECT value FROM information WHERE name = 'metadata'").fetchone()
        content = json.loads(found[0]) if found and isinstance(found[0], str) else {}
    except (sqlite3.Error, ValueError, RecursionError):
        return {}  # older databases have no such table, and units are then the caller's
    if not isinstance(content, dict):
        return {}
    properties = content.get("_property_unit_dict")
    stated = (
        {k: v for k, v in properties.items() if isinstance(v, str) and v}
        if isinstance(properties, dict)
        else {}
    )
    if isinstance(content.get("_distance_unit"), str):
        stated["_distance_unit"] = content["_distance_unit"]
    return stated


def _choose_units(
    stated: dict[str, Any], frames: list[Frame], energy_key: str | None, forces_key: str | None, path: Path
) -> Units | None:
    from geomlib.datasets.frames import ENERGY_KEYS

    info = {k for f in frames for k in f.info}
    arrays = {k for f in frames for k in f.arrays}
    energy = energy_key or next((k for k in ENERGY_KEYS if k in info), "")
    forces = forces_key or next((k for k in FORCES_KEYS if k in arrays), "")
    fields = {"energy": stated.get(energy), "forces": stated.get(forces), "stress": stated.get("stress")}
    fields["length"] = stated.get("_distance_unit")
    try:
        return Units.parse({k: v for k, v in fields.items() if v})
    except InvalidInput as error:
        raise InvalidInput(
            f"{path}: the units in its metadata are not understood ({error}); pass units=."
        ) from None


def _numbers(value: Any, dtype: str, shape: tuple[int, ...], name: str, where: str) -> np.ndarray | None:
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise InvalidInput(f"{where}: column {name!r} holds {type(value).__name__}, expected bytes.")
    whole = len(value) % np.dtype(dtype).itemsize == 0
    array = np.frombuffer(value, dtype=dtype) if whole else np.empty(0)
    if not whole or (-1 not in shape and array.size != int(np.prod(shape))):
        raise InvalidInput(
            f"{where}: column {name!r} has {len(value)} bytes, expected {dtype} of shape {shape}."
        )
    return array.reshape(shape)


def _frame(row: dict[str, Any], path: Path) -> Frame:
    where = f"{path}:row {row['id']}"
    z = _numbers(row["numbers"], "<i4", (-1,), "numbers", where)
    if z is None or z.size == 0:
        raise InvalidInput(f"{where}: no atoms.")
    if z.min() < 1 or z.max() > 118:
        raise InvalidInput(
            f"{where}: atomic number {int(z.min() if z.min() < 1 else z.max())}, expected 1..118."
        )
    n = z.size
    pos = _numbers(row["positions"], "<f8", (n, 3), "positions", where)
    if pos is None or not np.isfinite(pos).all():
        raise InvalidInput(f"{where}: positions are missing or not finite.")
    cell = _numbers(row.get("cell"), "<f8", (3, 3), "cell", where)
    info: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name in ("energy", "free_energy"):
        if row.get(name) is not None:
            info[name] = row[name]
    for name, shape in (("stress", (6,)), ("dipole", (3,))):
        value = _numbers(row.get(name), "<f8", shape, name, where)
        if value is not None:
            info[name] = value
    for name, shape in (("forces", (n, 3)), ("charges", (n,))):
        value = _numbers(row.get(name), "<f8", shape, name, where)
        if value is not None:
            arrays[name] = value
    for column in _JSON:
        for name, value in _decode(row.get(column), f"{where}, {column}").items():
            info.setdefault(name, value)
    bits = row.get("pbc") or 0
    if not isinstance(bits, int) or not 0 <= bits <= 7:
        raise InvalidInput(f"{where}: pbc is {bits!r}, expected 0..7.")
    pbc = (bool(bits & 1), bool(bits & 2), bool(bits & 4))
    if any(pbc) and (cell is None or not np.isfinite(cell).all() or not cell[list(pbc)].any(axis=1).all()):
        raise InvalidInput(f"{where}: periodic, but its cell is missing or zero.")
    if cell is not None and not cell.any():
        cell = None
    return Frame(z.astype(np.int64), pos.astype(np.float64), info, arrays, cell, pbc, where)


def _decode(value: Any, where: str) -> dict[str, Any]:
    """Return the content of a JSON column: text, or ASE's binary form with arrays before the JSON."""
    if value in (None, "", "null"):
        return {}
    blob = b""
    try:
        if isinstance(value, bytes):
            blob = value
            offset = int.from_bytes(blob[:8], "little")
            if len(blob) < 8 or not 8 <= offset <= len(blob):
                raise ValueError(f"offset {offset} of {len(blob)} bytes")
            value = blob[offset:].decode("utf-8")
        content = json.loads(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{where}: damaged ({error}).") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidInput(f"{where}: holds {type(content).__name__}, expected a mapping.")
    decoded: dict[str, Any] = {}
    if "__ase_objtype__" in content:  # a serialised object of ASE's, not a mapping of names
        return decoded
    for name, entry in content.items():
        if name.startswith(("_shape_", "_dtype_")):
            continue
        dtype, shape = content.get(f"_dtype_{name}"), content.get(f"_shape_{name}")
        if isinstance(entry, dict) and "__ndarray__" in entry:
            decoded[name] = _ndarray(entry["__ndarray__"], blob, f"{where}, {name!r}")
        elif isinstance(entry, str) and dtype is not None:
            decoded[name] = _base64(entry, dtype, shape, f"{where}, {name!r}")
        elif isinstance(entry, (bool, int, float, str, list)):
            decoded[name] = entry
    return decoded


def _checked(dtype: Any, shape: Any, where: str) -> tuple[np.dtype, tuple[int, ...]]:
    good = isinstance(shape, list) and all(isinstance(s, int) and 0 <= s < 2**40 for s in shape)
    if dtype not in _DTYPES or not good:
        raise InvalidInput(
            f"{where}: array of type {str(dtype)[:30]!r} and shape {str(shape)[:60]} is not accepted."
        )
    return np.dtype(dtype).newbyteorder("<"), tuple(shape)


def _ndarray(entry: Any, blob: bytes, where: str) -> np.ndarray:
    if not isinstance(entry, list) or len(entry) != 3:
        raise InvalidInput(f"{where}: damaged array.")
    dtype, shape = _checked(entry[1], entry[0], where)
    size = int(np.prod(shape))
    if isinstance(entry[2], int):
        start = entry[2]
        if start < 8 or start + size * dtype.itemsize > len(blob):
            raise InvalidInput(
                f"{where}: array of {size * dtype.itemsize} bytes at {start} does not fit into its column."
            )
        return np.frombuffer(blob, dtype, size, start).reshape(shape)
    try:
        return np.array(entry[2], dtype=dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{where}: damaged array ({error}).") from None


def _base64(text: str, dtype: Any, shape: Any, where: str) -> np.ndarray:
    checked, dimensions = _checked(dtype, shape, where)
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), checked).reshape(dimensions)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where}: damaged base64 array ({error}).") from None


def _sort_arrays(frames: list[Frame]) -> None:
    """Move what has one row per atom in every frame to `arrays`; (1, 3, 3) stresses lose their first axis."""
    for name in dict.fromkeys(k for f in frames for k in f.info):
        values = [(f, f.info[name]) for f in frames if name in f.info]
        if any(isinstance(v, (str, bool, int, float)) for _, v in values):
            continue
        try:
            arrays = [(f, np.asarray(v)) for f, v in values]
        except ValueError:
            continue
        # (3,) could be a dipole of a triatomic: a vector is per atom only if sizes differ or the name says so
        per_atom = all(a.ndim >= 1 and a.shape[0] == len(f.z) and a.dtype.kind in "biuf" for f, a in arrays)
        told = (
            name in FORCES_KEYS
            or len({len(f.z) for f, _ in arrays}) > 1
            or not all(len(f.z) in (1, 3, 6, 9) for f, _ in arrays)
        )
        for frame, array in arrays:
            if per_atom and told:
                frame.arrays[name] = array
                del frame.info[name]
            elif array.ndim > 1 and array.shape[0] == 1:
                frame.info[name] = array[0]
            else:
                frame.info[name] = array
