"""Subspaces: the Grassmann manifold by frames and by projectors, without singular value decompositions."""

from __future__ import annotations

from geomlib.algebra.manifolds.grassmann.bases import dominant_frame, mean_subspace, projector
from geomlib.algebra.manifolds.grassmann.blocks import block, block_add, block_exp, block_rotate
from geomlib.algebra.manifolds.grassmann.frames import (
    angles,
    frame_exp,
    frame_log,
    frame_transport,
    horizontal,
    squared_angle,
)
from geomlib.algebra.manifolds.grassmann.manifold import Grassmann
from geomlib.algebra.manifolds.grassmann.means import karcher_mean
from geomlib.algebra.manifolds.grassmann.series import angle_over_sine, trigonometric

__all__ = [
    "Grassmann",
    "angle_over_sine",
    "angles",
    "block",
    "block_add",
    "block_exp",
    "block_rotate",
    "dominant_frame",
    "frame_exp",
    "frame_log",
    "frame_transport",
    "horizontal",
    "karcher_mean",
    "mean_subspace",
    "projector",
    "squared_angle",
    "trigonometric",
]
