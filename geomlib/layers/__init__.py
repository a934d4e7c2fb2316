"""Equivariant layers: plain tensors in, plain tensors out, usable in PyTorch Geometric models and in bare PyTorch."""

from geomlib.layers.bonds import Bonds
from geomlib.layers.radial import BesselBasis, ExpNormalBasis
from geomlib.layers.radius_graph import radius_graph
from geomlib.layers.readout import CartesianReadout, ScalarHead, SymmetricHead, VectorHead
from geomlib.layers.tensor_embedding import TensorEmbedding
from geomlib.layers.tensor_interaction import TensorInteraction

__all__ = [
    "BesselBasis",
    "Bonds",
    "CartesianReadout",
    "ExpNormalBasis",
    "ScalarHead",
    "SymmetricHead",
    "TensorEmbedding",
    "TensorInteraction",
    "VectorHead",
    "radius_graph",
]
