"""From torch tensors to the arrays the CPU kernels read, without copying where the memory order allows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["array", "features", "major"]


def array(x: Tensor) -> Any:
    """Return a contiguous array that shares memory with ``x`` where it can."""
    return x.detach().contiguous().numpy()


def major(x: Tensor) -> Any:  # (N, 9, C) -> array (9, N, C)
    """Return the component-major array of features; free where they are stored that way."""
    return x.detach().transpose(0, 1).contiguous().numpy()


def features(like: Tensor) -> tuple[Tensor, Any]:
    """Return uninitialised (N, 9, C) features stored component-major, and the array (9, N, C) behind them."""
    out = torch.empty((9, like.shape[0], like.shape[2]), dtype=like.dtype)
    return out.transpose(0, 1), out.numpy()
