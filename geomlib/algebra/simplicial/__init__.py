"""Simplicial complexes of points: lifts, boundary maps, and the graph of all simplices."""

from __future__ import annotations

from geomlib.algebra.simplicial.complexes import SimplicialComplex, from_simplices
from geomlib.algebra.simplicial.hulls import hull_complex
from geomlib.algebra.simplicial.lifts import clique_complex, skeleton_complex, vietoris_rips
from geomlib.algebra.simplicial.message_graph import to_message_graph

__all__ = [
    "SimplicialComplex",
    "clique_complex",
    "from_simplices",
    "hull_complex",
    "skeleton_complex",
    "to_message_graph",
    "vietoris_rips",
]
