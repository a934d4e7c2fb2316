"""Matrices of the methods: made once in float64, cast once per type and device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["cast_once", "real_columns"]

Made = TypeVar("Made")


def cast_once(make: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Turn a maker of float64 arrays into one that takes a type and a device behind its own arguments.

    Values that are neither arrays nor lists of arrays stay as they are; integers stay integers.
    """
    exact = lru_cache(maxsize=512)(make)

    @lru_cache(maxsize=512)
    def cast(dtype: torch.dtype, device: torch.device, *args: Any) -> dict[str, Any]:
        # A cache that outlives the call must not hold what an inference-mode call makes.
        with torch.inference_mode(False), torch.no_grad():
            return {name: _cast(value, dtype, device) for name, value in exact(*args).items()}

    @wraps(make)
    def wrapper(*args: Any, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
        return cast(dtype, device, *args)

    return wrapper


def _cast(value: Any, dtype: torch.dtype, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_cast(v, dtype, device) for v in value]
    if not isinstance(value, np.ndarray):
        return value
    tensor: Tensor = torch.from_numpy(np.ascontiguousarray(value))
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else tensor.dtype)


def real_columns(wave: Any) -> np.ndarray:  # complex (..., n) -> real (..., 2 n)
    """Return real and imaginary parts side by side, as ``view_as_complex`` reads them."""
    return np.stack([wave.real, wave.imag], axis=-1).reshape(*wave.shape[:-1], -1)
