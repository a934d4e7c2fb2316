"""Constants of a plan: made once on the CPU, kept for each device and type they were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Constant"]


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that never changes.

    Args:
        value: on the CPU; float64 if it is not a table of integers.

    >>> Constant(torch.ones(2, dtype=torch.float64)).like(torch.zeros(1)).dtype
    torch.float32
    """

    value: Tensor

    def like(self, t: Tensor) -> Tensor:
        """Return the constant on the device of ``t``, and in its type unless it counts."""
        dtype = t.dtype if self.value.is_floating_point() else self.value.dtype
        if torch.compiler.is_compiling():
            return self.value.to(t.device, dtype)  # kept, it would belong to the trace
        return _moved(self, t.device, dtype)


@lru_cache(maxsize=1024)
def _moved(constant: Constant, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return constant.value.to(device, dtype)
