"""The kernels of spectral functions, found in a way that torch.compile can follow."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from types import ModuleType

import torch

from geomlib._lazy import fast_path

__all__ = ["spectral_kernels"]


@torch.compiler.assume_constant_result  # torch.compile does not trace imports
def _loaded() -> bool:
    return fast_path("spectral") is not None


def spectral_kernels() -> ModuleType | None:
    """Return the module that computes the primitives of ``spectral`` faster, or None where none is registered.

    >>> spectral_kernels().__name__
    'geomlib.kernels.spectral'
    """
    return fast_path("spectral") if _loaded() else None
