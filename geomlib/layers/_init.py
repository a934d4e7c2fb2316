"""Initial values shared by layers."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["part_weight"]


def part_weight(channels: int) -> nn.Parameter:
    """Return one channel-mixing matrix per irreducible part, (3, C, C), with the values of ``nn.Linear``."""
    weight = torch.empty(3, channels, channels)
    for w in weight:
        nn.init.kaiming_uniform_(w, a=math.sqrt(5))
    return nn.Parameter(weight)
