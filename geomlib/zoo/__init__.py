"""Models: one file each, and the registry that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader
from geomlib.zoo.registry import create_model, list_models, model_card, model_class, register_model

if TYPE_CHECKING:
    from geomlib.zoo.aut_network import AutNetwork
    from geomlib.zoo.captured import CapturedPotential
    from geomlib.zoo.cgenn_hull import CGENNHull
    from geomlib.zoo.cgenn_lorentz import CGENNLorentz
    from geomlib.zoo.cgenn_nbody import CGENNNBody
    from geomlib.zoo.cgenn_o3 import CGENNO3
    from geomlib.zoo.cgenn_o5 import CGENNO5
    from geomlib.zoo.equivariant_tensor_net import EquivariantTensorNet
    from geomlib.zoo.euclidean_kge import EuclideanKGE
    from geomlib.zoo.gaanet import GAANet
    from geomlib.zoo.gca_gnn import GCAGNN
    from geomlib.zoo.gca_mlp import GCAMLP
    from geomlib.zoo.gca_unet import GCAResNet, GCAUNet
    from geomlib.zoo.grassmann_kge import GrassmannKGE
    from geomlib.zoo.gyro_recurrent import GyroRecurrent
    from geomlib.zoo.gyro_spdnet import GyroSPDNet
    from geomlib.zoo.gyrogr_net import GyroGrNet
    from geomlib.zoo.hamiltonian_tensor_net import HamiltonianTensorNet
    from geomlib.zoo.kign import KIGN
    from geomlib.zoo.moment_net import MomentNet
    from geomlib.zoo.ppgn import PPGN
    from geomlib.zoo.spd_eegnet import SPDEEGNet
    from geomlib.zoo.spd_kge import SPDKGE
    from geomlib.zoo.spdnet import SPDNet
    from geomlib.zoo.tensor_basis import TensorBasisNN
    from geomlib.zoo.tensornet import TensorNet

__all__ = [
    "CGENNO3",
    "CGENNO5",
    "GCAGNN",
    "GCAMLP",
    "KIGN",
    "PPGN",
    "SPDKGE",
    "AutNetwork",
    "CGENNHull",
    "CGENNLorentz",
    "CGENNNBody",
    "CapturedPotential",
    "EquivariantTensorNet",
    "EuclideanKGE",
    "GAANet",
    "GCAResNet",
    "GCAUNet",
    "GrassmannKGE",
    "GyroGrNet",
    "GyroRecurrent",
    "GyroSPDNet",
    "HamiltonianTensorNet",
    "MomentNet",
    "SPDEEGNet",
    "SPDNet",
    "TensorBasisNN",
    "TensorNet",
    "create_model",
    "list_models",
    "model_card",
    "model_class",
    "register_model",
]

_LAZY = {
    "AutNetwork": "aut_network",
    "CGENNHull": "cgenn_hull",
    "CGENNLorentz": "cgenn_lorentz",
    "CGENNNBody": "cgenn_nbody",
    "CGENNO3": "cgenn_o3",
    "CGENNO5": "cgenn_o5",
    "CapturedPotential": "captured",
    "EquivariantTensorNet": "equivariant_tensor_net",
    "EuclideanKGE": "euclidean_kge",
    "GAANet": "gaanet",
    "GCAGNN": "gca_gnn",
    "GCAMLP": "gca_mlp",
    "GCAResNet": "gca_unet",
    "GCAUNet": "gca_unet",
    "GrassmannKGE": "grassmann_kge",
    "GyroGrNet": "gyrogr_net",
    "GyroRecurrent": "gyro_recurrent",
    "GyroSPDNet": "gyro_spdnet",
    "HamiltonianTensorNet": "hamiltonian_tensor_net",
    "KIGN": "kign",
    "PPGN": "ppgn",
    "SPDEEGNet": "spd_eegnet",
    "SPDKGE": "spd_kge",
    "SPDNet": "spdnet",
    "TensorBasisNN": "tensor_basis",
    "MomentNet": "moment_net",
    "TensorNet": "tensornet",
}

__getattr__ = attribute_loader("geomlib.zoo", _LAZY)
