"""Constants that stay exact whatever type the module is cast to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["Float64Buffers"]


class Float64Buffers(nn.Module):
    """A module whose own floating buffers move between devices but are never cast below float64.

    They are cast where they are used, so ``module.float().double()`` loses nothing.
    """

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        kept = {n: b for n, b in self._buffers.items() if b is not None and b.dtype == torch.float64}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            moved = self._buffers[name]
            if moved is not None:
                self._buffers[name] = buffer.to(device=moved.device)
        return self
