"""Clifford algebras: products, versors, exponentials, projective geometry; pure functions on tensors (..., 2^n)."""

from __future__ import annotations

from geomlib.algebra.clifford.algebra import MAX_GENERATORS, CliffordAlgebra
from geomlib.algebra.clifford.conversions import from_irreps, from_quaternion, to_irreps, to_quaternion
from geomlib.algebra.clifford.projective import (
    PGA,
    motor,
    plane,
    point,
    point_coordinates,
    reflect,
    rotor,
    translator,
)
from geomlib.algebra.clifford.spaces import GradeSpace

__all__ = [
    "MAX_GENERATORS",
    "PGA",
    "CliffordAlgebra",
    "GradeSpace",
    "from_irreps",
    "from_quaternion",
    "motor",
    "plane",
    "point",
    "point_coordinates",
    "reflect",
    "rotor",
    "to_irreps",
    "to_quaternion",
    "translator",
]
