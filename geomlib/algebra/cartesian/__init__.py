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
from geomlib.algebra.cartesian.gradient import Gradient, invariant_to_equivariant
from geomlib.algebra.cartesian.networks import Network
from geomlib.algebra.cartesian.operation import Plan, TensorOp, evaluate
from geomlib.algebra.cartesian.operations import equivariant_operations, generators, independent_operations
from geomlib.algebra.cartesian.spec import TensorSpec
from geomlib.algebra.cartesian.spherical import from_spherical, spherical_basis, to_spherical

__all__ = [
    "PART_SLICES",
    "Gradient",
    "Network",
    "Plan",
    "TensorOp",
    "TensorSpec",
    "compose",
    "cross_matrix",
    "decompose",
    "directions",
    "equivariant_operations",
    "evaluate",
    "from_spherical",
    "generators",
    "independent_operations",
    "invariant_to_equivariant",
    "norm2",
    "orthonormal_basis",
    "part_norms2",
    "parts",
    "spherical_basis",
    "to_spherical",
]
