"""Diagrams of equivariant linear maps between tensor powers: partitions, jellyfish, matchings; bases and dimensions."""

from __future__ import annotations

from geomlib.algebra.diagrams.bases import diagrams
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.dimensions import dim_hom, spanning_size
from geomlib.algebra.diagrams.groups import SO, A, B, Lorentz, O, S, Sp, TensorGroup, tensor_group

__all__ = [
    "SO",
    "A",
    "B",
    "Diagram",
    "Lorentz",
    "O",
    "S",
    "Sp",
    "TensorGroup",
    "diagrams",
    "dim_hom",
    "spanning_size",
    "tensor_group",
]
