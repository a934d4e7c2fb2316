r"""Groups: named sets of transformations that can be sampled, composed and inverted.

Sampling is *stratified*: a group lists its connected components and is asked for an element of each one, so a
test never misses the reflections by chance.

>>> import torch
>>> group = parse_group("O(3)*S_n").sized(5)
>>> [element.label for element in stratified(group, 4, torch.Generator().manual_seed(0))]
['proper, even', 'proper, odd', 'improper, even', 'improper, odd']
"""

from __future__ import annotations

from geomlib.algebra.groups.automorphisms import Automorphisms
from geomlib.algebra.groups.base import ENUMERATED, Group, stratified
from geomlib.algebra.groups.classical import GeneralLinear, Indefinite, Symplectic, metric, symplectic_form
from geomlib.algebra.groups.element import Element, Flow, compose, contragredient, inverse
from geomlib.algebra.groups.euclidean import AxisRotations, Euclidean, Scalings, haar_orthogonal, rotation
from geomlib.algebra.groups.kronecker import Kronecker
from geomlib.algebra.groups.laws import check_group, group_error
from geomlib.algebra.groups.names import EXAMPLES, parse_group, register_group
from geomlib.algebra.groups.permutations import Permutations, parity
from geomlib.algebra.groups.point_groups import PointGroup
from geomlib.algebra.groups.product import Product
from geomlib.algebra.groups.signed_permutations import SignedPermutations
from geomlib.algebra.groups.versors import Versors

__all__ = [
    "ENUMERATED",
    "EXAMPLES",
    "Automorphisms",
    "AxisRotations",
    "Element",
    "Euclidean",
    "Flow",
    "GeneralLinear",
    "Group",
    "Indefinite",
    "Kronecker",
    "Permutations",
    "PointGroup",
    "Product",
    "Scalings",
    "SignedPermutations",
    "Symplectic",
    "Versors",
    "check_group",
    "compose",
    "contragredient",
    "group_error",
    "haar_orthogonal",
    "inverse",
    "metric",
    "parity",
    "parse_group",
    "register_group",
    "rotation",
    "stratified",
    "symplectic_form",
]
