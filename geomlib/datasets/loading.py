"""`load`: one entry for all files and names."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geomlib.datasets.cache import cache_dir, load_structures, save_structures, sha256_of
from geomlib.datasets.embedded_sets import dataset_card, list_datasets, load_embedded
from geomlib.datasets.structures import Structures
from geomlib.errors import CheckpointError, InvalidInput

__all__ = ["FORMATS", "load"]

FORMATS: dict[str, tuple[str, str]] = {
    "extxyz": ("geomlib.datasets.extxyz", "read_extxyz"),
    "ase-db": ("geomlib.datasets.ase_db", "read_ase_db"),
    "md17": ("geomlib.datasets.md17", "read_md17"),
    "qm9": ("geomlib.datasets.qm9", "read_qm9"),
    "deepmd": ("geomlib.datasets.deepmd", "read_deepmd"),
    "comp6": ("geomlib.datasets.comp6", "read_comp6"),
    "geomlib": ("geomlib.datasets.cache", "load_structures"),
}
"""Formats and the functions that read them."""

_SUFFIXES = {
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".db": "ase-db",
    ".npz": "md17",
    ".h5": "comp6",
    ".hdf5": "comp6",
    ".csv": "qm9",
    ".sdf": "qm9",
    ".tar": "qm9",
    ".bz2": "qm9",
    ".tbz2": "qm9",
    ".gz": "qm9",
    ".tgz": "qm9",
    ".safetensors": "geomlib",
}


def load(
    name_or_path: str | Path, *, format: str | None = None, cache: bool = False, **options: Any
) -> Structures:
    """Load a data set by name, or a file or folder by its format.

    Args:
        name_or_path: "ethanol" (embedded), or a path: .xyz/.extxyz (extended XYZ), .db (ASE), .npz (MD17 and
            rMD17 layout), .h5 (COMP6), .tar.bz2/.csv/.sdf or a folder of .xyz (QM9), a folder with type.raw
            (DeePMD), .safetensors (ours).
        format: one of :data:`FORMATS`, where the suffix does not tell.
        cache: keep the parsed result in :func:`cache_dir`, keyed by the content of the file and the options.
        **options: passed to the reader: `units`, `energy_key`, `forces_key`, `on_nan`, ...

    Returns:
        Structures in eV and Å; `source` says which keys and units were found.

    Raises:
        InvalidInput: unknown name, format or option (with the closest one), or a damaged file (with file and
            line).
        CheckpointError: an embedded or cached file is damaged.

    Example:
        >>> from geomlib.datasets import load
        >>> load("ethanol")
        Structures(1200 structures, 10800 atoms, 3 elements, 0 periodic, labels: energy, forces)
    """
    path = Path(name_or_path)
    if format is None and isinstance(name_or_path, str) and name_or_path.lower() in list_datasets():
        if options:
            raise InvalidInput(
                f"load: the embedded set {name_or_path!r} takes no options; got {', '.join(options)}."
            )
        return load_embedded(name_or_path)
    if not path.exists():
        if path.suffix == "" and path.parent == Path():
            dataset_card(str(name_or_path))  # raises with the names that exist
        close = difflib.get_close_matches(path.name, [p.name for p in _siblings(path)], n=1)
        hint = f" Did you mean {path.with_name(close[0])}?" if close else ""
        raise InvalidInput(f"{path}: no such file.{hint} Embedded sets: {', '.join(list_datasets())}.")
    reader = _reader(format or _guess(path), options)
    if not cache or path.is_dir():
        return reader(path, **options)
    return _cached(path, format, reader, options)


def _siblings(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def _guess(path: Path) -> str:
    if path.is_dir():
        return "deepmd" if next(path.rglob("type.raw"), None) is not None else "qm9"
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InvalidInput(
            f"{path}: suffix {path.suffix!r} tells no format; expected one of {', '.join(_SUFFIXES)}, "
            f"or pass format= one of {', '.join(FORMATS)}."
        )
    if kind == "extxyz":
        with path.open("rb") as stream:
            stream.readline(64)
            if stream.readline(64).split()[:1] == [b"gdb"]:
                return "qm9"
    return kind


def _reader(kind: str, options: dict[str, Any]) -> Callable[..., Structures]:
    if kind not in FORMATS:
        close = difflib.get_close_matches(kind, FORMATS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidInput(f"load: format {kind!r} is unknown; expected one of {', '.join(FORMATS)}.{hint}")
    module, name = FORMATS[kind]
    reader = getattr(importlib.import_module(module), name)
    known = [p for p in inspect.signature(reader).parameters if p != "path"]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InvalidInput(
                f"load: option {option!r} is unknown for {kind} files; known: "
                f"{', '.join(known) or 'none'}.{hint}"
            )
    return reader


def _cached(
    path: Path, format: str | None, reader: Callable[..., Structures], options: dict[str, Any]
) -> Structures:
    key = json.dumps([sha256_of(path), format, sorted(options.items())], default=repr)
    stored = cache_dir() / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
    if stored.exists():
        try:
            return load_structures(stored)
        except CheckpointError as error:
            warnings.warn(f"the cached copy is rebuilt from {path}: {error}", UserWarning, stacklevel=3)
    result = reader(path, **options)
    save_structures(stored, result)
    return result
