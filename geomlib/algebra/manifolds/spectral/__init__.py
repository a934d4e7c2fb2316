"""Functions of symmetric matrices with exact derivatives of any order."""

from __future__ import annotations

from geomlib.algebra.manifolds.checks import require_spd, require_symmetric, symmetrize
from geomlib.algebra.manifolds.spectral.symfun import apply_spectrum, decompose, derivative_symfun, symfun

__all__ = [
    "apply_spectrum",
    "decompose",
    "derivative_symfun",
    "require_spd",
    "require_symmetric",
    "symfun",
    "symmetrize",
]
