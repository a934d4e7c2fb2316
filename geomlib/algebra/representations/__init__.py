r"""Representations: how an element of a group acts on a tensor of a given type.

All matrices are made in float64 directly from the entries of the element's matrix. A representation is checked when it
is first used or registered: :math:`\rho(e) = 1`, :math:`\rho(gh) = \rho(g)\rho(h)` and
:math:`\rho(g^{-1})\rho(g) = 1` to 1e-12.

>>> import torch
>>> from geomlib.algebra.groups import Element, rotation
>>> turn = Element(rotation(torch.tensor([0.0, 0.0, 1.0]), torch.pi / 2), torch.zeros(3, dtype=torch.float64))
>>> act("vector", turn, torch.tensor([[1.0, 0.0, 0.0]])).round(decimals=6) + 0.0
tensor([[0., 1., 0.]])
"""

from __future__ import annotations

from geomlib.algebra.representations.action import act, count_nodes, infinitesimal, permute
from geomlib.algebra.representations.base import Contragredient, Representation
from geomlib.algebra.representations.euclidean import Affine, Linear, Sign, Subspace, TensorPower, Trivial
from geomlib.algebra.representations.exterior import Cochains, Multivectors, NodeAxes, compound
from geomlib.algebra.representations.registry import (
    TOLERANCE,
    check_representation,
    matrix,
    register_representation,
    representation,
)
from geomlib.algebra.representations.wigner import (
    Irreps,
    irrep_matrix,
    symmetric_traceless_basis,
    wigner_matrices,
)

__all__ = [
    "TOLERANCE",
    "Affine",
    "Cochains",
    "Contragredient",
    "Irreps",
    "Linear",
    "Multivectors",
    "NodeAxes",
    "Representation",
    "Sign",
    "Subspace",
    "TensorPower",
    "Trivial",
    "act",
    "check_representation",
    "compound",
    "count_nodes",
    "infinitesimal",
    "irrep_matrix",
    "matrix",
    "permute",
    "register_representation",
    "representation",
    "symmetric_traceless_basis",
    "wigner_matrices",
]
