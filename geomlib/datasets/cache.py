"""Files of our own: packed structures in one checked safetensors file."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.structures import Structures
from geomlib.errors import CheckpointError
from geomlib.files.atomic import write_atomic
from geomlib.files.folder import cache_dir
from geomlib.files.sealed import BLANK, open_sealed, seal

__all__ = ["cache_dir", "load_structures", "save_structures", "sha256_of"]

_FORMAT = 1
_SLOT = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')  # quotes are escaped inside a JSON string
_LABELS = ("energy", "forces", "stress", "cell", "pbc", "charge")


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
    about |= {"format": f"geomlib-structures-{_FORMAT}", "sha256": BLANK}
    metadata = {"geomlib": json.dumps(about)}  # one entry: safetensors writes several in random order
    blob = bytearray(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata=metadata))
    seal(blob, _SLOT, str(path))
    write_atomic(path, [blob])
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

    blob, about = open_sealed(path, _SLOT, "structures file", "Delete it and make it again.")
    if sha256 is not None and hashlib.sha256(blob).hexdigest() != sha256:
        raise CheckpointError(
            f"{path}: sha256 is not {sha256[:12]}…; the file is not the one that was meant. Install geomlib or make "
            "it again."
        )
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
