"""Symmetric positive definite matrices: five metrics, their gyrovector operations, means and hyperplanes."""

from __future__ import annotations

from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist
from geomlib.algebra.manifolds.spd.bures_wasserstein import bw_sqdist, optimal_map
from geomlib.algebra.manifolds.spd.space import METRICS, SPD

__all__ = ["METRICS", "SPD", "ai_sqdist", "bw_sqdist", "optimal_map"]
