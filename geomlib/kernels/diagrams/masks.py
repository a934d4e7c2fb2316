"""Padded nodes: what stands at them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["kept"]


def kept(x: Tensor, mask: Tensor) -> Tensor:  # (B, C, n, ..., n), (B, n)
    """Return x with zeros wherever an index is a node that is not there; what stood there, even NaN, is not read.

    >>> import torch
    >>> kept(torch.ones(1, 1, 2, 2), torch.tensor([[True, False]])).tolist()
    [[[[1.0, 0.0], [0.0, 0.0]]]]
    """
    for axis in range(2, x.dim()):
        shape = [1] * x.dim()
        shape[0], shape[axis] = mask.shape
        x = x.masked_fill(~mask.view(shape), 0.0)
    return x
