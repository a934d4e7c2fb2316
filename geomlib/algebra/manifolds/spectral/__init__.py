"""Functions of symmetric matrices with exact derivatives of any order."""

from __future__ import annotations

from geomlib.algebra.manifolds.checks import require_spd, require_symmetric, symmetrize
from geomlib.algebra.manifolds.spectral.iterative import iterative_root, sign_lyapunov
from geomlib.algebra.manifolds.spectral.projectors import flag_projectors, top_projector
from geomlib.algebra.manifolds.spectral.roots import lyapunov, polar, sym_sqrt_pair
from geomlib.algebra.manifolds.spectral.spectrum import spectrum
from geomlib.algebra.manifolds.spectral.symfun import apply_spectrum, decompose, derivative_symfun, symfun

__all__ = [
    "apply_spectrum",
    "decompose",
    "derivative_symfun",
    "flag_projectors",
    "iterative_root",
    "lyapunov",
    "polar",
    "require_spd",
    "require_symmetric",
    "sign_lyapunov",
    "spectrum",
    "sym_sqrt_pair",
    "symfun",
    "symmetrize",
    "top_projector",
]
