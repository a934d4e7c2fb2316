"""Groups and types of one's own, each proved to be what it claims before anything is judged by it."""

from __future__ import annotations

from geomlib.algebra.groups import register_group
from geomlib.algebra.representations import register_representation

__all__ = ["register_group", "register_representation"]
