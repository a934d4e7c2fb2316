"""Extended XYZ: reading. One frame is a count, a comment of key=value pairs, and one line per atom.

Format: https://github.com/libAtoms/extxyz. The writer is in `extxyz_write.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from geomlib.datasets.elements import NUMBERS, atomic_number
from geomlib.datasets.frames import Frame, OnNaN, assemble
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import Units
from geomlib.errors import InvalidInput

__all__ = ["iterate_extxyz", "read_extxyz"]

_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_PAIR = re.compile(
    rf"""\s*(?P<key>{_QUOTED}|'[^']*'|[^\s="']+)          # key, quoted or bare
         (?:\s*=\s*(?P<value>{_QUOTED}|'[^']*'|\{{[^}}]*\}}|\[[^\]"]*\](?!\S)|[^\s"]+))?""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_INTEGER = re.compile(r"[+-]?\d+\Z")
_BOOLEANS = {
    "T": True,
    "F": False,
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
}
_KINDS = {"S", "R", "I", "L"}


def read_extxyz(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    units: str | Mapping[str, str] | Units | None = None,
    on_nan: OnNaN = "error",
    expect: int | None = None,
) -> Structures:
    r"""Read all frames of an extended XYZ file.

    Energy, forces and stress (or virial, stress = -virial / V) are found under their usual names, and
    `source` says which were used. `pbc` decides what is periodic; a Lattice without `pbc` means periodic in
    all directions. Other columns and numbers go to `extra` (in the file's units), strings to `text`. Gzip is
    not read.

    Args:
        path: the file.
        energy_key: name of the energy in the comment line, where the usual names do not fit.
        forces_key: name of the column with forces.
        stress_key: name of the stress or virial.
        units: units of energies and lengths in the file: "eV" (default), "kcal/mol", "Hartree", ..., or a
            mapping such as ``{"energy": "Hartree", "forces": "Hartree/Bohr"}``.
        on_nan: labels that are NaN or absent in some frames raise ("error"), become NaN ("mask") or remove
            the frame ("drop").
        expect: number of frames the file must hold; catches files cut between two frames.

    Raises:
        InvalidInput: the file is damaged; the message names file and line.

    Example:
        >>> import tempfile, pathlib
        >>> from geomlib.datasets import read_extxyz
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "h2.xyz"
        >>> comment = "Properties=species:S:1:pos:R:3 REF_energy=-31.7"
        >>> _ = path.write_text(f"2\n{comment}\nH 0 0 0\nH 0 0 0.74\n")
        >>> s = read_extxyz(path)
        >>> s.energy.tolist(), s.source.split(": ")[1]
        ([-31.7], "1 structures, energy from 'REF_energy' (eV), no forces")
    """
    path = Path(path)
    frames = list(iterate_extxyz(path))
    if expect is not None and len(frames) != expect:
        raise InvalidInput(
            f"{path}: {len(frames)} frames, expected {expect}; the file is cut or another one."
        )
    return assemble(
        frames,
        str(path),
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        units=units,
        on_nan=on_nan,
    )


def iterate_extxyz(path: str | Path) -> Iterator[Frame]:
    """Yield the frames of an extended XYZ file one by one, unconverted, in constant memory.

    Raises:
        InvalidInput: the file is damaged; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    try:
        with path.open(encoding="utf-8-sig", newline=None) as stream:
            yield from _frames(stream, str(path))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not a text file ({error.reason} at byte {error.start}).") from None


def _frames(stream: TextIO, path: str) -> Iterator[Frame]:
    line, found = 0, 0
    while True:
        head = stream.readline(4096)
        line += 1
        if not head:
            break
        if not head.strip():
            if any(rest.strip() for rest in stream):
                raise InvalidInput(
                    f"{path}:{line}: empty line, expected the number of atoms of frame {found}."
                )
            break
        if not _INTEGER.match(head.strip()):
            raise InvalidInput(
                f"{path}:{line}: got {head.strip()[:60]!r}, expected the number of atoms of frame {found}."
            )
        n = int(head) if len(head) < 20 else -1
        if n < 1:
            raise InvalidInput(
                f"{path}:{line}: frame {found} declares {head.strip()[:40]} atoms, expected 1 or more."
            )
        comment = stream.readline()
        if not comment:
            raise InvalidInput(
                f"{path}:{line + 1}: file ends where the comment line of frame {found} should be."
            )
        rows = [row.split() for row in islice(stream, n)]
        if len(rows) < n:
            raise InvalidInput(
                f"{path}:{line + 1 + len(rows)}: file ends inside frame {found}: {len(rows)} of {n} atoms "
                f"declared in line {line}."
            )
        yield _frame(comment, rows, path, line)
        line += n + 1
        found += 1
    if not found:
        raise InvalidInput(f"{path}:1: empty file, expected at least one frame.")


def _frame(comment: str, rows: list[list[str]], path: str, line: int) -> Frame:
    where = f"{path}:{line + 1}"
    info = _comment(comment, where)
    columns = _properties(info.pop("Properties", None), rows[0], where)
    width = sum(count for _, _, count in columns)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(
                f"{path}:{line + 2 + i}: {len(row)} columns, expected {width} for {_describe(columns)}."
            )
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name, kind, count in columns:
        values = [row[start : start + count] for row in rows] if count > 1 else [row[start] for row in rows]
        arrays[name] = _column(values, kind, count, name, f"{path}:", line + 2)
        start += count
    z = _species(arrays, path, line + 2)
    pos = arrays.pop("pos", arrays.pop("positions", None))
    if pos is None or pos.shape != (len(rows), 3) or pos.dtype.kind not in "if":
        raise InvalidInput(f"{where}: Properties has no column pos:R:3; found {_describe(columns)}.")
    bad = ~np.isfinite(pos).all(axis=1)
    if bad.any():
        atom = int(bad.argmax())
        raise InvalidInput(
            f"{path}:{line + 2 + atom}: position of atom {atom} is {pos[atom].tolist()}, expected finite "
            "numbers."
        )
    cell, pbc = _cell(info, where)
    return Frame(z, pos.astype(np.float64), info, arrays, cell, pbc, where)


def _comment(text: str, where: str) -> dict[str, Any]:
    info: dict[str, Any] = {}
    text, at = text.strip(), 0
    has_pairs = "=" in text
    while at < len(text) and has_pairs:
        match = _PAIR.match(text, at)
        if match is None or (match.end() < len(text) and not text[match.end()].isspace()):
            near = text[at : at + 40].strip()
            raise InvalidInput(
                f"{where}: cannot read the comment at {near!r}; expected key=value (quotes closed?)."
            )
        key, raw = _unquote(match["key"]), match["value"]
        value = True if raw is None else _value(raw, key, where)
        if key in info and not _same(info[key], value):
            raise InvalidInput(f"{where}: key {key!r} occurs twice with different values.")
        info[key] = value
        at = match.end()
        while at < len(text) and text[at].isspace():
            at += 1
    return info


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def _unquote(raw: str) -> str:
    if raw[0] == '"':
        return _ESCAPE.sub(r"\1", raw[1:-1]) if "\\" in raw else raw[1:-1]
    return raw[1:-1] if raw[0] == "'" else raw


def _value(raw: str, key: str, where: str) -> Any:
    """Return bool, int, float, str, or an array of them; JSON after the marker `_JSON`."""
    listed = raw[0] in "{["
    text = raw[1:-1].replace(",", " ") if listed and not raw.startswith("[[") else _unquote(raw)
    if text.startswith("_JSON "):
        try:
            return json.loads(text[6:])
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{where}: key {key!r} holds damaged JSON ({error}).") from None
    if text.startswith("[["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    words = text.split()
    if not words:
        return text
    values: list[Any] | None
    if all(w in _BOOLEANS for w in words):
        values = [_BOOLEANS[w] for w in words]
    elif all(_is_int64(w) for w in words):
        values = [int(w) for w in words]
    else:
        values = _floats(words)
    if values is None:
        return text
    return values[0] if len(values) == 1 and not listed else np.array(values)


def _is_int64(word: str) -> bool:
    return bool(_INTEGER.match(word)) and len(word) <= 20 and -(2**63) <= int(word) < 2**63


def _floats(words: list[str]) -> list[float] | None:
    try:
        return None if any("_" in w for w in words) else [float(w) for w in words]
    except ValueError:
        return None


def _properties(raw: Any, first: list[str], where: str) -> list[tuple[str, str, int]]:
    if raw is None:  # plain XYZ
        if len(first) != 4:
            raise InvalidInput(
                f"{where}: no Properties=... in the comment and {len(first)} columns; plain XYZ has 4."
            )
        return [("species", "S", 1), ("pos", "R", 3)]
    fields = str(raw).split(":")
    if len(fields) % 3 or not isinstance(raw, str):
        raise InvalidInput(f"{where}: Properties={str(raw)[:80]!r} is not a list of name:type:count.")
    columns = []
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if kind not in _KINDS or not count.isdecimal() or not 1 <= int(count) <= 100_000 or not name:
            raise InvalidInput(
                f"{where}: Properties has {name}:{kind}:{count}, expected name:[S,R,I or L]:count."
            )
        columns.append((name, kind, int(count)))
    names = [c[0] for c in columns]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise InvalidInput(f"{where}: Properties names the column {twice!r} twice.")
    return columns


def _describe(columns: list[tuple[str, str, int]]) -> str:
    return ":".join(f"{n}:{k}:{c}" for n, k, c in columns)


def _column(values: list[Any], kind: str, count: int, name: str, path: str, line: int) -> np.ndarray:
    def convert(word: str) -> Any:
        if kind == "R":
            if "_" in word:  # float() takes 1_000
                raise ValueError(word)
            return float(word)
        if kind == "I":
            if not _is_int64(word):
                raise ValueError(word)
            return int(word)
        return _BOOLEANS[word]

    if kind == "S":
        return np.array(values, dtype=str)
    dtype = {"R": np.float64, "I": np.int64, "L": np.bool_}[kind]
    try:
        if kind == "R" and count > 1:
            return (
                np.array([list(map(float, row)) for row in values], dtype=dtype)
                if not _underscore(values)
                else _bad()
            )
        if count > 1:
            return np.array([[convert(w) for w in row] for row in values], dtype=dtype)
        return np.array([convert(w) for w in values], dtype=dtype)
    except (ValueError, KeyError, OverflowError):
        for i, row in enumerate(values):
            for word in row if count > 1 else [row]:
                try:
                    dtype(convert(word))
                except (ValueError, KeyError, OverflowError):
                    raise InvalidInput(
                        f"{path}{line + i}: {name!r} is {word[:40]!r}, expected type {kind}."
                    ) from None
        raise InvalidInput(f"{path}{line}: column {name!r} cannot be read as type {kind}.") from None


def _underscore(rows: list[list[str]]) -> bool:
    return any("_" in word for row in rows for word in row)


def _bad() -> np.ndarray:
    raise ValueError("underscore in a number")


def _species(arrays: dict[str, np.ndarray], path: str, line: int) -> np.ndarray:
    name = next((n for n in ("species", "element", "Z", "numbers") if n in arrays), None)
    if name is None:
        raise InvalidInput(
            f"{path}:{line - 1}: Properties has no column species:S:1; found {', '.join(arrays)}."
        )
    words = arrays.pop(name)
    if name == "species":
        for duplicate in ("Z", "numbers"):
            arrays.pop(duplicate, None)
    if words.ndim != 1:
        raise InvalidInput(f"{path}:{line - 1}: column {name!r} must have one entry per atom.")
    listed = words.tolist()
    try:
        return np.array([NUMBERS[w] for w in listed], dtype=np.int64)
    except (KeyError, TypeError):
        return np.array(
            [atomic_number(str(w), f"{path}:{line + i}") for i, w in enumerate(listed)], dtype=np.int64
        )


def _cell(info: dict[str, Any], where: str) -> tuple[np.ndarray | None, tuple[bool, bool, bool]]:
    raw, flags = info.pop("Lattice", None), info.pop("pbc", None)
    cell = None
    if raw is not None:
        try:
            cell = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            cell = np.empty(0)
        cell = np.diag(cell) if cell.shape == (3,) else cell
        if cell.size != 9 or not np.isfinite(cell).all():
            raise InvalidInput(
                f"{where}: Lattice is {str(raw)[:60]!r}, expected 9 finite numbers, vector by vector."
            )
        cell = cell.reshape(3, 3)
    if flags is None:
        pbc = np.full(3, cell is not None and bool(cell.any()))
    else:
        pbc = np.asarray(flags)
        pbc = np.repeat(pbc, 3) if pbc.size == 1 else pbc
        if (
            pbc.shape != (3,)
            or pbc.dtype.kind not in "bi"
            or not all(flag in (0, 1) for flag in pbc.tolist())
        ):
            raise InvalidInput(f"{where}: pbc is {str(flags)[:40]!r}, expected three of T or F.")
    pbc = pbc.astype(bool)
    if pbc.any():
        vectors = np.zeros((0, 3)) if cell is None else cell[pbc]
        scale = np.prod(np.linalg.norm(vectors, axis=1)) if len(vectors) else 0.0
        if scale == 0.0 or np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0)) < 1e-8 * scale:
            raise InvalidInput(
                f"{where}: pbc is {flags} but the lattice vectors of these directions are missing or "
                "dependent."
            )
    return cell, (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
