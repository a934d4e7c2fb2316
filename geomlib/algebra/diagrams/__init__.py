"""Diagrams of equivariant linear maps between tensor powers: partitions, jellyfish, matchings; bases and dimensions."""

from __future__ import annotations

from geomlib.algebra.diagrams.bases import diagrams
from geomlib.algebra.diagrams.bilabelled import BilabelledGraph, apply_homomorphisms, homomorphism_matrix
from geomlib.algebra.diagrams.bilabelled_span import bilabelled_graphs, independent_graphs, span_dimension
from geomlib.algebra.diagrams.category import (
    Composition,
    compose,
    functor,
    identity,
    permuting,
    tensor,
    transpose,
    transpose_sign,
)
from geomlib.algebra.diagrams.combinations import compose_terms
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.dimensions import dim_hom, spanning_size
from geomlib.algebra.diagrams.gram import condition_number, exact_rank, gram, orthonormal_transform
from geomlib.algebra.diagrams.groups import SO, A, B, Lorentz, O, S, Sp, TensorGroup, tensor_group
from geomlib.algebra.diagrams.moebius import orbit_diagrams, orbit_transform
from geomlib.algebra.diagrams.orbit_category import compose_maps
from geomlib.algebra.diagrams.orbit_groups import AutGraph, PermGroup, Product, Wreath
from geomlib.algebra.diagrams.orbits import Orbits, count_orbits, orbits
from geomlib.algebra.diagrams.symmetric import symmetric_transform

__all__ = [
    "SO",
    "A",
    "AutGraph",
    "B",
    "BilabelledGraph",
    "Composition",
    "Diagram",
    "Lorentz",
    "O",
    "Orbits",
    "PermGroup",
    "Product",
    "S",
    "Sp",
    "TensorGroup",
    "Wreath",
    "apply_homomorphisms",
    "bilabelled_graphs",
    "compose",
    "compose_maps",
    "compose_terms",
    "condition_number",
    "count_orbits",
    "diagrams",
    "dim_hom",
    "exact_rank",
    "functor",
    "gram",
    "homomorphism_matrix",
    "identity",
    "independent_graphs",
    "orbit_diagrams",
    "orbit_transform",
    "orbits",
    "orthonormal_transform",
    "permuting",
    "span_dimension",
    "spanning_size",
    "symmetric_transform",
    "tensor",
    "tensor_group",
    "transpose",
    "transpose_sign",
]
