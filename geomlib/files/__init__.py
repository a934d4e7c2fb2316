"""How geomlib writes its files: atomically, and sealed with a hash that any change breaks."""

from __future__ import annotations

from geomlib.files.atomic import write_atomic
from geomlib.files.sealed import open_sealed, seal

__all__ = ["open_sealed", "seal", "write_atomic"]
