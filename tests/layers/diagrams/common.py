"""What the tests of layers of tensors share."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T", bound=nn.Module)


def randomised(layer: T) -> T:
    """Return the layer with normal weights, shifts and gates included."""
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    return layer


def doubled(layer: T) -> T:
    """Return the layer with normal weights in float64."""
    return randomised(layer).double()
