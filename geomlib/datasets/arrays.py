"""Reading .npy and .npz files without ever unpickling."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from geomlib.errors import InvalidInput

__all__ = ["read_npy", "read_npz"]

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,
    MemoryError,
    OverflowError,
)


def read_npy(path: str | Path) -> np.ndarray:
    """Return the array of a .npy file.

    Raises:
        InvalidInput: no such file, damaged, or an object array (which only an unpickler could read).
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    try:
        array = np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise InvalidInput(f"{path}: cannot be read as .npy ({type(error).__name__}: {error}).") from None
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{path}: is an archive, expected one array.")
    return array


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file.

    Raises:
        InvalidInput: no such file, damaged (the archive's checksums are verified), or it holds object arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    if not zipfile.is_zipfile(path):
        raise InvalidInput(f"{path}: not an .npz archive (cut, or another format).")
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            result = {}
            for name in archive.files:
                result[name] = np.asarray(archive[name])
            return result
    except _DAMAGE as error:
        entry = f", entry {name!r}" if name else ""
        raise InvalidInput(
            f"{path}{entry}: cannot be read ({type(error).__name__}: {str(error)[:200]})."
        ) from None
