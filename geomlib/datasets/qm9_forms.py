"""The forms QM9 is passed around in, one generator of molecules for each."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.arrays import read_npz
from geomlib.datasets.elements import atomic_number
from geomlib.datasets.extxyz import iterate_extxyz
from geomlib.datasets.units import HARTREE
from geomlib.errors import InvalidInput

__all__ = ["QM9_TARGETS", "molecules"]

QM9_TARGETS = {
    **dict.fromkeys(("A", "B", "C"), "GHz"),
    "mu": "Debye",
    "alpha": "Bohr^3",
    **dict.fromkeys(("homo", "lumo", "gap"), "eV"),
    "r2": "Bohr^2",
    **dict.fromkeys(("zpve", "U0", "U", "H", "G"), "eV"),
    "Cv": "cal/(mol K)",
}
"""Targets and their units after reading; what is in eV here is in Hartree in the raw files."""

_ALIASES = {
    "epsHOMO": "homo",
    "epsLUMO": "lumo",
    "epsgap": "gap",
    "<R2>": "r2",
    "u0": "U0",
    "u298": "U",
    "h298": "H",
    "g298": "G",
    "cv": "Cv",
}
_ORDER = tuple(QM9_TARGETS)
_COMPRESSION: dict[bytes, Any] = {b"BZh": bz2.open, b"\x1f\x8b": gzip.open, b"\xfd7zXZ": lzma.open}


def _convert(raw: dict[str, float], where: str) -> dict[str, float]:
    """Return the targets under their usual names, in the units of QM9_TARGETS."""
    result = {}
    for name, value in raw.items():
        name = _ALIASES.get(name, name)
        if name in QM9_TARGETS:
            if not np.isfinite(value):
                raise InvalidInput(f"{where}: {name} is {value}, expected a finite number.")
            result[name] = value * HARTREE if QM9_TARGETS[name] == "eV" else value
    return result


def molecules(path: Path) -> Iterator[dict[str, Any]]:
    """Yield molecules of a file or folder as dictionaries: z, pos, where, and targets in final units."""
    name = path.name.lower()
    if path.is_dir():
        files = sorted(path.glob("*.xyz"))
        sdf = sorted(path.glob("*.sdf"))
        if files:
            for file in files:
                yield _raw_xyz(decode(file.read_bytes(), str(file)), str(file))
        elif sdf:
            yield from _sdf(sdf[0], sdf[0].with_name(sdf[0].name + ".csv"))
        else:
            raise InvalidInput(f"{path}: no .xyz or .sdf files in this folder.")
    elif name.endswith((".tar", ".tar.bz2", ".tbz2", ".tar.gz", ".tgz")):
        yield from _tar(path)
    elif name.endswith(".sdf"):
        yield from _sdf(path, path.with_name(path.name + ".csv"))
    elif name.endswith(".csv"):
        sdf_path = path.with_name(path.name.removesuffix(".csv"))
        if sdf_path.suffix != ".sdf" or not sdf_path.exists():
            raise InvalidInput(
                f"{path}: a table of QM9 holds no positions; put gdb9.sdf beside it and load that."
            )
        yield from _sdf(sdf_path, path)
    elif name.endswith(".npz"):
        yield from _npz(path)
    elif name.endswith((".xyz", ".extxyz")):
        second = path.read_bytes()[:200].split(b"\n")[1:2]
        if second and second[0].startswith(b"gdb"):
            yield _raw_xyz(decode(path.read_bytes(), str(path)), str(path))
        else:
            yield from _extxyz(path)
    else:
        raise InvalidInput(f"{path}: not a form of QM9; expected a folder, .tar.bz2, .sdf, .npz or .xyz.")


def decode(blob: bytes, where: str) -> str:
    """Return text, or say which file is none."""
    try:
        return blob.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{where}: not a text file.") from None


class _Blocks:
    """A stream that remembers its last block, to tell the end of an archive from a damaged header.

    `tarfile` stops silently at a header it cannot read, unless it is the first one.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.last = stream, b""

    def read(self, size: int) -> bytes:
        self.last = self.stream.read(size)
        return self.last


def _tar(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        magic = stream.read(6)
    opener = next((o for m, o in _COMPRESSION.items() if magic.startswith(m)), open)
    try:
        with opener(path, "rb") as stream:
            blocks = _Blocks(stream)
            with tarfile.open(fileobj=blocks, mode="r|", bufsize=tarfile.BLOCKSIZE) as archive:  # type: ignore[call-overload]
                for member in archive:
                    molecule = _member(archive, member, path)
                    if molecule is not None:
                        yield molecule
            if blocks.last != bytes(tarfile.BLOCKSIZE):
                raise InvalidInput(f"{path}: damaged archive (no end mark; cut, or a damaged member header).")
            while stream.read(1 << 20):  # the checksum of a compressed file is at its very end
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InvalidInput(f"{path}: damaged archive ({type(error).__name__}: {error}).") from None


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> dict[str, Any] | None:
    """Return the molecule in one member; None for folders and other files."""
    name = member.name[:80]
    parts = Path(member.name.replace("\\", "/")).parts
    if member.name.startswith(("/", "\\")) or ".." in parts or ":" in member.name:
        raise InvalidInput(f"{path}: member {name!r} points outside the archive; refused.")
    if not (member.isfile() or member.isdir()):
        raise InvalidInput(f"{path}: member {name!r} is a link or a device; refused.")
    if not member.isfile() or not member.name.endswith(".xyz"):
        return None
    if member.size > 1 << 20:
        raise InvalidInput(f"{path}: member {name!r} has {member.size} bytes; a molecule has ~1,000.")
    content, where = archive.extractfile(member), f"{path}:{member.name}"
    return None if content is None else _raw_xyz(decode(content.read(), where), where)


def _number(word: str, where: str) -> float:
    try:
        return float(word.replace("*^", "e"))
    except ValueError:
        raise InvalidInput(f"{where}: got {word[:40]!r}, expected a number.") from None


def _raw_xyz(text: str, path: str) -> dict[str, Any]:
    lines = text.splitlines()
    if not lines or not lines[0].strip().isdecimal():
        raise InvalidInput(f"{path}:1: expected the number of atoms.")
    n = int(lines[0])
    if n < 1 or len(lines) < n + 2:
        raise InvalidInput(
            f"{path}:{len(lines)}: file ends early: {n} atoms declared, {max(len(lines) - 2, 0)} lines "
            "follow."
        )
    words = lines[1].split()
    if len(words) != 2 + len(_ORDER) or words[0] != "gdb" or not words[1].isdecimal():
        raise InvalidInput(
            f"{path}:2: expected 'gdb', an index and {len(_ORDER)} targets, got {len(words)} words."
        )
    raw = {name: _number(word, f"{path}:2") for name, word in zip(_ORDER, words[2:], strict=True)}
    z, numbers = [], []
    for i, line in enumerate(lines[2 : n + 2]):
        row = line.split()
        if len(row) != 5:
            raise InvalidInput(f"{path}:{i + 3}: {len(row)} columns, expected element, x, y, z, charge.")
        z.append(atomic_number(row[0], f"{path}:{i + 3}"))
        numbers.append([_number(word, f"{path}:{i + 3}") for word in row[1:]])
    table = np.array(numbers)
    if not np.isfinite(table).all():
        raise InvalidInput(f"{path}:{int(np.argwhere(~np.isfinite(table))[0][0]) + 3}: not finite.")
    smiles = lines[n + 3].split()[:1] if len(lines) > n + 3 else []
    return {
        "z": np.array(z, dtype=np.int64),
        "pos": table[:, :3],
        "charges": table[:, 3],
        "gdb_index": int(words[1]),
        "where": path,
        **({"smiles": smiles[0]} if smiles else {}),
        **_convert(raw, f"{path}:2"),
    }


def _extxyz(path: Path) -> Iterator[dict[str, Any]]:
    for frame in iterate_extxyz(path):
        raw = {
            k: float(v)
            for k, v in frame.info.items()
            if isinstance(v, (int, float)) and not isinstance(v, bool)
        }
        targets = _convert(raw, frame.where)
        if not {"U0", "U", "H", "G"} & targets.keys():
            raise InvalidInput(
                f"{frame.where}: no QM9 targets here; found {', '.join(frame.info) or 'nothing'}."
            )
        yield {"z": frame.z, "pos": frame.pos, "where": frame.where, **targets}


def _npz(path: Path) -> Iterator[dict[str, Any]]:
    data = read_npz(path)
    flat = {"N", "R", "Z"} <= data.keys()
    if not flat and not {"num_atoms", "charges", "positions"} <= data.keys():
        raise InvalidInput(
            f"{path}: holds {', '.join(data)}; expected N, R, Z or num_atoms, charges, positions."
        )
    counts = data["N" if flat else "num_atoms"].reshape(-1).astype(np.int64)
    z, pos = (data["Z"], data["R"]) if flat else (data["charges"], data["positions"])
    total = int(counts.sum())
    fits = (
        z.shape == (total,) and pos.shape == (total, 3)
        if flat
        else z.shape == pos.shape[:2] and len(z) == len(counts)
    )
    if not fits or (counts < 1).any() or (not flat and counts.max() > z.shape[1]):
        raise InvalidInput(
            f"{path}: shapes do not fit: {len(counts)} molecules, z {z.shape}, positions {pos.shape}."
        )
    # The flat layout circulates in eV, the padded one in the raw Hartree.
    columns = {
        _ALIASES.get(k, k): v
        for k, v in data.items()
        if _ALIASES.get(k, k) in QM9_TARGETS and v.shape == counts.shape
    }
    index = data.get("id", data.get("index"))
    start = 0
    for i, n in enumerate(counts.tolist()):
        rows = slice(start, start + n) if flat else (i, slice(0, n))
        start += n
        raw = {k: float(v[i]) for k, v in columns.items()}
        yield {
            "z": z[rows].astype(np.int64),
            "pos": pos[rows].astype(np.float64),
            "where": f"{path}:molecule {i}",
            "gdb_index": int(index[i]) if index is not None and index.shape == counts.shape else None,
            **(raw if flat else _convert(raw, f"{path}:molecule {i}")),
        }


def _sdf(path: Path, table: Path) -> Iterator[dict[str, Any]]:
    if not table.is_file():
        raise InvalidInput(f"{path}: the targets are in {table.name}, which is not beside it.")
    with path.open(encoding="utf-8-sig") as geometry, table.open(encoding="utf-8-sig", newline="") as targets:
        rows = csv.DictReader(targets)
        line = 0
        for number, row in enumerate(rows, start=2):
            block = []
            for text in geometry:
                line += 1
                if text.startswith("$$$$"):
                    break
                block.append(text)
            where = f"{path}:{line - len(block)}"
            try:
                n = int(block[3][:3])
                atoms = [block[4 + i].split() for i in range(n)]
                pos = np.array([[float(w) for w in a[:3]] for a in atoms]).reshape(n, 3)
            except (IndexError, ValueError):
                raise InvalidInput(
                    f"{where}: damaged or missing molecule for line {number} of {table.name}."
                ) from None
            name = block[0].strip()
            if row.get("mol_id") not in (None, name):
                raise InvalidInput(
                    f"{where}: molecule {name!r}, but line {number} of {table.name} is {row['mol_id']!r}."
                )
            raw = {
                k: _number(v, f"{table}:{number}")
                for k, v in row.items()
                if _ALIASES.get(k, k) in QM9_TARGETS and v
            }
            tail = name.rpartition("_")[2]
            yield {
                "z": np.array([atomic_number(a[3], where) for a in atoms], dtype=np.int64),
                "pos": pos,
                "where": where,
                "gdb_index": int(tail) if tail.isdecimal() else None,
                **_convert(raw, f"{table}:{number}"),
            }
