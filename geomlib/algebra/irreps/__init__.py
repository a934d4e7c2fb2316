"""Irreducible representations of O(3): spherical harmonics, rotations and couplings."""

from __future__ import annotations

from geomlib.algebra.irreps.coefficients import (
    bracket,
    bracket_constant,
    gaunt_constant,
    real_gaunt,
    wigner_3j,
)
from geomlib.algebra.irreps.harmonics import solid_harmonics, spherical_harmonics
from geomlib.algebra.irreps.irreps import Irrep, Irreps, MulIrrep
from geomlib.algebra.irreps.symmetric import symmetric_basis, symmetric_tensors
from geomlib.algebra.irreps.wigner import wigner_D

__all__ = [
    "Irrep",
    "Irreps",
    "MulIrrep",
    "bracket",
    "bracket_constant",
    "gaunt_constant",
    "real_gaunt",
    "solid_harmonics",
    "spherical_harmonics",
    "symmetric_basis",
    "symmetric_tensors",
    "wigner_3j",
    "wigner_D",
]
