"""Equivariant layers: plain tensors in, plain tensors out, usable in PyTorch Geometric models and in bare PyTorch."""

from geomlib.layers.activation import Activation
from geomlib.layers.augmented_covariance import AugmentedCovariance
from geomlib.layers.batch_norm import BatchNorm
from geomlib.layers.bilabelled_linear import BilabelledLinear
from geomlib.layers.bimap import BiMap
from geomlib.layers.bonds import Bonds
from geomlib.layers.bures_wasserstein_loss import BuresWassersteinLoss
from geomlib.layers.cartesian_message import CartesianMessage
from geomlib.layers.cemlp import CEMLP
from geomlib.layers.clifford_egcl import CliffordEGCL
from geomlib.layers.clifford_linear import CliffordConv1d, CliffordConv2d, CliffordConv3d, CliffordLinear
from geomlib.layers.clifford_norms import CliffordBatchNorm, CliffordGroupNorm
from geomlib.layers.equivariant_linear import EquivariantLinear
from geomlib.layers.equivariant_tensor import EquivariantTensorLayer
from geomlib.layers.gate import Gate
from geomlib.layers.gated_tensor import GatedTensor
from geomlib.layers.gaunt import GauntTensorProduct
from geomlib.layers.gaunt_convolution import GauntConvolution
from geomlib.layers.gaunt_many_body import GauntManyBody
from geomlib.layers.gaunt_self import GauntSelfInteraction
from geomlib.layers.geometric_attention import GeometricAttention
from geomlib.layers.geometric_product import MVGeometricProduct, MVGeometricProductFC
from geomlib.layers.gr_batch_norm import GrBatchNorm
from geomlib.layers.gr_fc import GrFC
from geomlib.layers.gr_mlr import GrMLR
from geomlib.layers.gr_pool import GrPool
from geomlib.layers.gr_scale import GrScale
from geomlib.layers.gr_translate import GrTranslate
from geomlib.layers.group_action import GroupActionLinear
from geomlib.layers.group_action_network import GroupActionMessagePassing, GroupActionMLP
from geomlib.layers.gyro_scale import GyroScale
from geomlib.layers.gyro_translate import GyroTranslate
from geomlib.layers.linear import Linear
from geomlib.layers.log_eig import LogEig
from geomlib.layers.momentum_norm import MomentumNorm
from geomlib.layers.multivector_activation import MVGELU, MVSiLU
from geomlib.layers.multivector_gate import MVAct, VectorSiLU
from geomlib.layers.multivector_linear import MVLinear
from geomlib.layers.multivector_norms import MVLayerNorm, MVNormalization, MVRMSNorm
from geomlib.layers.neighbour_table import neighbour_table
from geomlib.layers.norm_tensor import NormTensor
from geomlib.layers.norms import Norm, NormActivation
from geomlib.layers.phm import PHMLinear
from geomlib.layers.pointwise_tensor import PointwiseTensor
from geomlib.layers.radial import BesselBasis, ExpNormalBasis
from geomlib.layers.radius_graph import radius_graph
from geomlib.layers.re_eig import ReEig
from geomlib.layers.readout import CartesianReadout, ScalarHead, SymmetricHead, VectorHead
from geomlib.layers.rotation_convolution import (
    RotationConv1d,
    RotationConv2d,
    RotationConv3d,
    RotationConvTranspose1d,
    RotationConvTranspose2d,
    RotationConvTranspose3d,
)
from geomlib.layers.simplicial_embedding import SimplicialEmbedding
from geomlib.layers.simplicial_message_passing import SimplicialMessagePassing
from geomlib.layers.so2_convolution import SO2Convolution
from geomlib.layers.spd_batch_norm import SPDBatchNorm
from geomlib.layers.spd_conv import SPDConv
from geomlib.layers.spd_fc import SPDFC
from geomlib.layers.spd_mlr import SPDMLR
from geomlib.layers.spd_residual import SPDResidual
from geomlib.layers.spherical_harmonics import SphericalHarmonics
from geomlib.layers.symmetric_contraction import SymmetricContraction
from geomlib.layers.tensor_embedding import TensorEmbedding
from geomlib.layers.tensor_interaction import TensorInteraction
from geomlib.layers.tensor_product import (
    ChannelwiseTensorProduct,
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorProduct,
)
from geomlib.layers.tensor_product_conv import TensorProductConv
from geomlib.layers.tensor_product_layer import TensorProductLayer
from geomlib.layers.tensor_square import TensorSquare
from geomlib.layers.vector_group_norm import MVGroupNorm

__all__ = [
    "CEMLP",
    "MVGELU",
    "SPDFC",
    "SPDMLR",
    "Activation",
    "AugmentedCovariance",
    "BatchNorm",
    "BesselBasis",
    "BiMap",
    "BilabelledLinear",
    "Bonds",
    "BuresWassersteinLoss",
    "CartesianMessage",
    "CartesianReadout",
    "ChannelwiseTensorProduct",
    "CliffordBatchNorm",
    "CliffordConv1d",
    "CliffordConv2d",
    "CliffordConv3d",
    "CliffordEGCL",
    "CliffordGroupNorm",
    "CliffordLinear",
    "ElementwiseTensorProduct",
    "EquivariantLinear",
    "EquivariantTensorLayer",
    "ExpNormalBasis",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Gate",
    "GatedTensor",
    "GauntConvolution",
    "GauntManyBody",
    "GauntSelfInteraction",
    "GauntTensorProduct",
    "GeometricAttention",
    "GrBatchNorm",
    "GrFC",
    "GrMLR",
    "GrPool",
    "GrScale",
    "GrTranslate",
    "GroupActionLinear",
    "GroupActionMLP",
    "GroupActionMessagePassing",
    "GyroScale",
    "GyroTranslate",
    "Linear",
    "LogEig",
    "MVAct",
    "MVGeometricProduct",
    "MVGeometricProductFC",
    "MVGroupNorm",
    "MVLayerNorm",
    "MVLinear",
    "MVNormalization",
    "MVRMSNorm",
    "MVSiLU",
    "MomentumNorm",
    "Norm",
    "NormActivation",
    "NormTensor",
    "PHMLinear",
    "PointwiseTensor",
    "ReEig",
    "RotationConv1d",
    "RotationConv2d",
    "RotationConv3d",
    "RotationConvTranspose1d",
    "RotationConvTranspose2d",
    "RotationConvTranspose3d",
    "SO2Convolution",
    "SPDBatchNorm",
    "SPDConv",
    "SPDResidual",
    "ScalarHead",
    "SimplicialEmbedding",
    "SimplicialMessagePassing",
    "SphericalHarmonics",
    "SymmetricContraction",
    "SymmetricHead",
    "TensorEmbedding",
    "TensorInteraction",
    "TensorProduct",
    "TensorProductConv",
    "TensorProductLayer",
    "TensorSquare",
    "VectorHead",
    "VectorSiLU",
    "neighbour_table",
    "radius_graph",
]
