"""Functions of small symmetric matrices and distances of SPD matrices, many at once."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.kernels.spectral.primitives import derivative, eigh, forward, symfun

__all__ = ["ai_sqdist", "derivative", "eigh", "forward", "symfun"]


def ai_sqdist(P: Tensor, Q: Tensor, eig_dtype: torch.dtype, backend: str | None) -> Tensor | None:
    """Return the squared affine-invariant distance, or None where the reference is to be taken."""
    return None
