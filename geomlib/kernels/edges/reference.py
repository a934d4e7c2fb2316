"""The edge operations in plain torch: their specification."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.kernels.edges.graph import EdgeList

__all__ = ["edge_embedding", "edge_message"]


def _spread(weight: Tensor) -> Tensor:  # (P, 3, C) -> (P, 9, C)
    return torch.cat([weight[:, :1], weight[:, 1:2].expand(-1, 3, -1), weight[:, 2:].expand(-1, 5, -1)], 1)


def edge_message(edges: EdgeList, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.edges.edge_message`."""
    weight, x = tensors
    spread = _spread(weight)
    i, j, p = edges.i, edges.j, edges.num_pairs
    out = torch.zeros_like(x).index_add(0, i, spread[:p] * x[j])
    if edges.both:
        out = out.index_add(0, j, spread[:p] * x[i])
    return out + spread[p] * x if edges.loops else out


def edge_embedding(edges: EdgeList, tensors: tuple[Tensor, ...]) -> Tensor:
    """See :func:`geomlib.kernels.edges.edge_embedding`."""
    weight, direction, receiver, sender = tensors
    i, j, p = edges.i, edges.j, edges.num_pairs
    parity = torch.ones(9, dtype=weight.dtype, device=weight.device)
    parity[1:4] = -1.0
    spread = _spread(weight[:p])
    base = spread * direction[:, :, None]
    out = receiver.new_zeros(edges.num_nodes, 9, receiver.shape[-1])
    out = out.index_add(0, i, base * parity[:, None] * (receiver[i] + sender[j])[:, None])
    if edges.both:
        out = out.index_add(0, j, base * (receiver[j] + sender[i])[:, None])
    if edges.loops:
        own = math.sqrt(3.0) * weight[p, 0] * (receiver + sender)
        out = out + torch.nn.functional.pad(own[:, None], (0, 0, 0, 8))
    return out
