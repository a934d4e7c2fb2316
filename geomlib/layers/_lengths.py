"""Lengths of rows, of any size and of any order of derivative."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lengths"]


def lengths(x: Tensor) -> Tensor:  # (..., dim) -> (...)
    """Return the lengths, of tiny and huge rows too; the derivatives of any order are zero where a row is zero."""
    if x.shape[-1] == 0 or x.numel() == 0:
        return x.sum(-1)
    largest = x.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    scale = torch.where(zero, torch.ones_like(largest), largest)
    scaled = x / scale
    somewhere = torch.where(zero, torch.ones_like(scaled), scaled)
    return torch.where(zero, torch.zeros_like(largest), scale).squeeze(-1) * torch.linalg.vector_norm(
        somewhere, dim=-1
    )
