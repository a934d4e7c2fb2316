"""The folder for what geomlib derives and keeps: parsed data and compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path

from geomlib.errors import InvalidInput

__all__ = ["cache_dir"]


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
