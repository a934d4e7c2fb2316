"""Cartesian tensors: their irreducible parts, and all equivariant operations between tensors of given ranks."""

from __future__ import annotations

from geomlib.algebra.cartesian.compact import (
    PART_SLICES,
    compose,
    cross_matrix,
    decompose,
    directions,
    norm2,
    orthonormal_basis,
    part_norms2,
    parts,
)

__all__ = [
    "PART_SLICES",
    "compose",
    "cross_matrix",
    "decompose",
    "directions",
    "norm2",
    "orthonormal_basis",
    "part_norms2",
    "parts",
]
