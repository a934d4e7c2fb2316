"""Gate a value and its derivative in plain torch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dual_gate"]


def dual_gate(activate: bool, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.dual.dual_gate`."""
    h, bias, envelope = tensors
    value, slope = h[0] + bias, h[1]
    if activate:
        s = torch.sigmoid(value)
        slope = s * (1.0 + value * (1.0 - s)) * slope
        value = value * s
    c, dc = envelope[0, :, None], envelope[1, :, None]
    return torch.stack([c * value, dc * value + c * slope])
