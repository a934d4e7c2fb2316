"""Files of our own: packed structures in one checked safetensors file, and the folder where they are kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.structures import Structures
from geomlib.errors import CheckpointError, InvalidInput

__all__ = ["cache_dir", "load_structures", "save_structures", "sha256_of"]

_FORMAT = 1
_BLANK = "0" * 64
_SLOT = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')  # quotes are escaped inside a JSON string
_LABELS = ("energy", "forces", "stress", "cell", "pbc", "charge")


def cache_dir(create: bool = True) -> Path:
    """Return the folder for derived data: $GEOMLIB_DATA, or ~/.cache/geomlib.

    Raises:
        InvalidInput: the folder cannot be made.
    """
    path = Path(os.environ.get("GEOMLIB_DATA") or Path.home() / ".cache" / "geomlib").expanduser()
    if create:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"cache_dir: cannot make {path} ({error}); set GEOMLIB_DATA to a writable folder."
            ) from None
    return path


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def save_structures(path: str | Path, structures: Structures, compact: bool = False) -> str:
    """Write structures to one .safetensors file, and return its SHA-256.

    The header carries a SHA-256 of every other byte, since safetensors itself notices no flipped bit. The
    file appears under its name only when it is complete and has been read back.

    Args:
        path: file to write or replace.
        structures: what to write.
        compact: store all floats but energies and the charge as float32.

    Raises:
        CheckpointError: the file could not be written.
    """
    from safetensors.torch import save

    path = Path(path)
    tensors: dict[str, Tensor] = {
        "z": structures.z.to(torch.uint8),
        "ptr": structures.ptr,
        "pos": structures.pos,
    }
    for name in _LABELS:
        value = getattr(structures, name)
        if value is not None and (name in ("energy", "forces", "stress") or bool(value.any())):
            tensors[name] = value
    tensors |= {f"extra.{k}": v for k, v in structures.extra.items()}
    if compact:
        exact = {"energy", "charge", "extra.time_fs"}
        tensors = {
            k: v.float() if v.is_floating_point() and k not in exact else v for k, v in tensors.items()
        }
    about: dict[str, Any] = {
        "graph_extra": sorted(structures.graph_extra),
        "text": {k: list(v) for k, v in structures.text.items()},
        "source": structures.source,
    }
    about |= {"format": f"geomlib-structures-{_FORMAT}", "sha256": _BLANK}
    metadata = {"geomlib": json.dumps(about)}  # one entry: safetensors writes several in random order
    blob = bytearray(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata=metadata))
    slot = _find_slot(bytes(blob), path)
    blob[slot : slot + 64] = hashlib.sha256(blob).hexdigest().encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(blob)
            stream.flush()
            os.fsync(stream.fileno())
        if temporary.read_bytes() != bytes(blob):
            raise CheckpointError(f"{path}: what was written does not read back; is the disk full?")
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return hashlib.sha256(blob).hexdigest()


def load_structures(path: str | Path, sha256: str | None = None) -> Structures:
    """Read a file of :func:`save_structures`; floats come back as float64.

    Args:
        path: the file.
        sha256: of the whole file, where it is known from elsewhere.

    Raises:
        InvalidInput: no such file.
        CheckpointError: the file is damaged or of a newer format; no tensor is built before this is known.
    """
    from safetensors.torch import load

    path = Path(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error}).") from None
    if sha256 is not None and hashlib.sha256(blob).hexdigest() != sha256:
        raise CheckpointError(
            f"{path}: sha256 is not {sha256[:12]}…; the file is damaged. Install geomlib or make it again."
        )
    slot = _find_slot(blob, path)
    blank = blob[:slot] + _BLANK.encode() + blob[slot + 64 :]
    if hashlib.sha256(blank).hexdigest().encode() != blob[slot : slot + 64]:
        raise CheckpointError(
            f"{path}: its content does not match its sha256; the file is damaged. Delete it and make it "
            "again."
        )
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]
    about = json.loads(header["geomlib"])
    if about["format"] != f"geomlib-structures-{_FORMAT}":
        raise CheckpointError(
            f"{path}: format {about['format']!r}, this version reads geomlib-structures-{_FORMAT}. "
            "Upgrade geomlib."
        )
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in load(blob).items()}
    values: dict[str, Any] = {k: v for k, v in tensors.items() if not k.startswith("extra.")}
    return Structures(
        **values,
        extra={k.removeprefix("extra."): v for k, v in tensors.items() if k.startswith("extra.")},
        graph_extra=frozenset(about["graph_extra"]),
        text={k: tuple(v) for k, v in about["text"].items()},
        source=about["source"],
    )


def _find_slot(blob: bytes, path: Path) -> int:
    """Return the offset of the hash inside the header."""
    size = int.from_bytes(blob[:8], "little") if len(blob) >= 8 else 0
    found = [m.start(1) for m in _SLOT.finditer(blob, 8, min(8 + size, len(blob)))]
    if not 2 <= size <= len(blob) - 8 or len(found) != 1:
        raise CheckpointError(f"{path}: not a complete geomlib structures file (no sha256 in its header).")
    return found[0]
