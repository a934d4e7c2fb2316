"""Where data lie that are not ours to ship: a path that was given, or a folder that an environment variable names."""

from __future__ import annotations

import os
from pathlib import Path

from geomlib.errors import InvalidInput

__all__ = ["shared_path"]


def shared_path(name: str, path: str | Path | None, default: str | Path, how: str) -> Path:
    """Return ``path``, or ``default`` below ``$GEOMLIB_SHARED``, or below a folder ``shared`` beside the checkout.

    Args:
        name: of the data, for errors.
        path: where the user says they are.
        default: where they are below the shared folder.
        how: how to get them, for errors.

    Raises:
        InvalidInput: there is nothing; the message says how to get it.
    """
    beside = Path(__file__).resolve().parents[3] / "shared"
    found = Path(path) if path else Path(os.environ.get("GEOMLIB_SHARED", beside)) / default
    if not found.exists():
        raise InvalidInput(
            f"{name}: {found} is not there. {how} Put it at $GEOMLIB_SHARED/{default}, or pass its place as `path`."
        )
    return found
