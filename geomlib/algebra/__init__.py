"""Pure functions and small frozen classes: groups, representations, Cartesian tensors."""

from __future__ import annotations

from geomlib.algebra.cartesian import compose, cross_matrix, decompose, norm2, part_norms2, parts
from geomlib.algebra.groups import Element, Flow, Group, parse_group, register_group, stratified
from geomlib.algebra.representations import (
    Representation,
    act,
    infinitesimal,
    matrix,
    register_representation,
)
from geomlib.algebra.symmetry import Symmetry, TensorType, parse_type

__all__ = [
    "Element",
    "Flow",
    "Group",
    "Representation",
    "Symmetry",
    "TensorType",
    "act",
    "compose",
    "cross_matrix",
    "decompose",
    "infinitesimal",
    "matrix",
    "norm2",
    "parse_group",
    "parse_type",
    "part_norms2",
    "parts",
    "register_group",
    "register_representation",
    "stratified",
]
