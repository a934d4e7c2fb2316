"""A safetensors file that carries the SHA-256 of all its other bytes.

safetensors, zip and HDF5 notice no flipped bit. The hash stands in the header, inside a JSON text under the metadata
key "geomlib", and covers the whole file with its own 64 digits set to zero.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from geomlib.errors import CheckpointError, InvalidInput

__all__ = ["BLANK", "open_sealed", "seal"]

#: What stands in the place of the hash while it is computed.
BLANK = "0" * 64


def seal(blob: bytearray, slot: re.Pattern[bytes], what: str) -> str:
    """Put the hash of a safetensors file into its header, and return it.

    Args:
        blob: the file, with :data:`BLANK` where the hash will stand; changed in place.
        slot: finds the digits in the header; its first group must match exactly once.
        what: names the file in errors.

    Raises:
        CheckpointError: the header has no such place, or several.
    """
    start = _find(blob, slot, what)
    digest = hashlib.sha256(blob).hexdigest()
    blob[start : start + 64] = digest.encode()
    return digest


def open_sealed(
    path: str | Path, slot: re.Pattern[bytes], kind: str, hint: str
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a sealed file and the JSON text of its header, once its hash is known to be right.

    Args:
        path: the file.
        slot: finds the hash in the header.
        kind: what the file should be, for errors.
        hint: what to do about a damaged one, for errors.

    Raises:
        InvalidInput: the file cannot be read.
        CheckpointError: it is cut, changed or foreign.
    """
    path = Path(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error}).") from None
    start = _find(blob, slot, f"{path}: not a complete geomlib {kind} (a damaged, cut or foreign file)")
    view, digest = memoryview(blob), hashlib.sha256()
    for part in (view[:start], BLANK.encode(), view[start + 64 :]):
        digest.update(part)
    if digest.hexdigest().encode() != blob[start : start + 64]:
        raise CheckpointError(f"{path}: the content does not match its sha256; the file is damaged. {hint}")
    try:
        header = json.loads(json.loads(view[8 : 8 + _header_size(blob)].tobytes())["__metadata__"]["geomlib"])
        if not isinstance(header, dict):
            raise TypeError("not a JSON object")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its header cannot be read ({type(error).__name__}: {error})."
        ) from None
    return blob, header


def _header_size(blob: bytes | bytearray) -> int:
    return int.from_bytes(blob[:8], "little") if len(blob) >= 8 else 0


def _find(blob: bytes | bytearray, slot: re.Pattern[bytes], what: str) -> int:
    size = _header_size(blob)
    found = [m.start(1) for m in slot.finditer(blob, 8, 8 + size)] if 2 <= size <= len(blob) - 8 else []
    if len(found) != 1:
        raise CheckpointError(f"{what}: no place for a sha256 in its header.")
    return found[0]
