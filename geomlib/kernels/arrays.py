"""From torch tensors to the arrays the CPU kernels read, without copying where the memory order allows."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.kernels import recording

__all__ = ["array", "empty", "features", "major", "room", "zeros"]

#: Bytes from which memory comes from numpy, which asks Linux for huge pages: the first touch is four times as fast.
_LARGE = 4 << 20
#: Sizes of room that a thread keeps.
_ROOMS = 64
_held = threading.local()
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return uninitialised memory for a kernel to write.

    >>> empty(2, 3, dtype=torch.float64).shape
    torch.Size([2, 3])
    """
    return (
        torch.from_numpy(np.empty(shape, _NUMPY[dtype]))
        if _large(shape, dtype)
        else torch.empty(shape, dtype=dtype)
    )


def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return zeros for a kernel to add to."""
    return (
        torch.from_numpy(np.zeros(shape, _NUMPY[dtype]))
        if _large(shape, dtype)
        else torch.zeros(shape, dtype=dtype)
    )


def room(rows: int, columns: int, *, dtype: torch.dtype) -> Any:
    """Return an array for what a kernel computes in between: until it returns, and in this thread."""
    if recording.active() is not None:
        return torch.empty((rows, columns), dtype=dtype).numpy()
    held: dict[Any, Any] = _held.__dict__
    key = rows, columns, dtype
    found = held.get(key)
    if found is None:
        if len(held) >= _ROOMS:
            held.clear()
        # By torch, whose memory begins at a cache line: numpy's makes every other access cross one.
        found = held[key] = torch.empty((rows, columns), dtype=dtype).numpy()
    return found


def _large(shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    # A recorder places what torch allocates in its own memory.
    return dtype in _NUMPY and math.prod(shape) * dtype.itemsize >= _LARGE and recording.active() is None


def array(x: Tensor) -> Any:
    """Return a contiguous array that shares memory with ``x`` where it can."""
    return (x if x.is_contiguous() else x.contiguous()).numpy(force=True)


def major(x: Tensor) -> Any:  # (N, 9, C) -> array (9, N, C)
    """Return the component-major array of features; free where they are stored that way."""
    return x.detach().transpose(0, 1).contiguous().numpy()


def features(like: Tensor) -> tuple[Tensor, Any]:
    """Return uninitialised (N, 9, C) features stored component-major, and the array (9, N, C) behind them."""
    out = torch.empty((9, like.shape[0], like.shape[2]), dtype=like.dtype)
    return out.transpose(0, 1), out.numpy()
