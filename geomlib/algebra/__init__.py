"""Pure functions and small frozen classes: groups, representations, Cartesian tensors."""

from __future__ import annotations

from geomlib.algebra.cartesian import compose, cross_matrix, decompose, norm2, part_norms2, parts
from geomlib.algebra.groups import Element, Group, parse_group, stratified
from geomlib.algebra.representations import Representation, act, matrix, register_representation
from geomlib.algebra.symmetry import Symmetry, TensorType, parse_type

__all__ = [
    "Element",
    "Group",
    "Representation",
    "Symmetry",
    "TensorType",
    "act",
    "compose",
    "cross_matrix",
    "decompose",
    "matrix",
    "norm2",
    "parse_group",
    "parse_type",
    "part_norms2",
    "parts",
    "register_representation",
    "stratified",
]
