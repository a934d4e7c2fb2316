"""Bridges to other programs: checkpoints, weights of torchmd-net, ASE, molecular dynamics, manifolds of geoopt.

Everything is imported on first use, so that no optional package is needed before it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader

if TYPE_CHECKING:
    from geomlib.interop.ase_calculator import ASECalculator
    from geomlib.interop.checkpoint import load_model, save_model
    from geomlib.interop.dynamics import MDResult, run_md
    from geomlib.interop.e3nn import from_e3nn
    from geomlib.interop.ensemble import Ensemble
    from geomlib.interop.geoopt import geoopt_manifold
    from geomlib.interop.torchmdnet import load_torchmdnet, to_torchmdnet_state_dict

__all__ = [
    "ASECalculator",
    "Ensemble",
    "MDResult",
    "from_e3nn",
    "geoopt_manifold",
    "load_model",
    "load_torchmdnet",
    "run_md",
    "save_model",
    "to_torchmdnet_state_dict",
]

_HOME = {
    "ASECalculator": "ase_calculator",
    "Ensemble": "ensemble",
    "MDResult": "dynamics",
    "from_e3nn": "e3nn",
    "geoopt_manifold": "geoopt",
    "load_model": "checkpoint",
    "load_torchmdnet": "torchmdnet",
    "run_md": "dynamics",
    "save_model": "checkpoint",
    "to_torchmdnet_state_dict": "torchmdnet",
}

__getattr__ = attribute_loader("geomlib.interop", _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
