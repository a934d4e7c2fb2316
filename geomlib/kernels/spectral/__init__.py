"""Functions of small symmetric matrices and distances of SPD matrices, many at once."""

from __future__ import annotations

from geomlib.kernels.spectral.distance import ai_sqdist
from geomlib.kernels.spectral.primitives import derivative, eigh, forward, symfun

__all__ = ["ai_sqdist", "derivative", "eigh", "forward", "symfun"]
