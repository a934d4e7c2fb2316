"""How geomlib writes its files: atomically, and sealed with a hash that any change breaks."""

from __future__ import annotations

from geomlib.files.atomic import write_atomic
from geomlib.files.folder import cache_dir
from geomlib.files.sealed import open_sealed, seal

__all__ = ["cache_dir", "open_sealed", "seal", "write_atomic"]
