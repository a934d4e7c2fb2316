"""Irreps features at the door of a layer: checked, and cut into blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.errors import InvalidInput
from geomlib.kernels import recording
from geomlib.kernels.dispatch import traced

__all__ = ["blocks", "checked", "checked_edges", "read_values"]


def checked(layer: str, name: str, x: Tensor, irreps: Irreps, like: Tensor | None = None) -> Tensor:
    """Return x.

    Raises:
        InvalidInput: x is not floating, has another last dimension than the irreps, or another type than the weights.
    """
    if x.dim() < 1 or x.shape[-1] != irreps.dim:
        raise InvalidInput(
            f"{layer}: `{name}` has shape {tuple(x.shape)}, but {irreps or 'no irreps'} has dimension {irreps.dim}. "
            f"Pass (..., {irreps.dim}), multiplicities outermost in every block; see layer.symmetry."
        )
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `{name}` is {x.dtype}; pass floating features, such as {name}.float().")
    if like is not None and like.numel() and like.dtype != x.dtype:
        raise InvalidInput(
            f"{layer}: `{name}` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) "
            f"or {name}.to({like.dtype})."
        )
    return x


def checked_edges(layer: str, edge_index: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return sources and targets.

    Raises:
        InvalidInput: not integers (2, E), or an index that is no node.
    """
    if edge_index.dim() != 2 or len(edge_index) != 2 or edge_index.dtype not in (torch.int64, torch.int32):
        raise InvalidInput(
            f"{layer}: `edge_index` is {edge_index.dtype} of shape {tuple(edge_index.shape)}; pass integers (2, E), "
            "sources in row 0, targets in row 1."
        )

    def in_range(index: Tensor) -> None:
        outside = (index < 0) | (index >= nodes)
        if bool(outside.any()):
            edge = int(outside.any(0).nonzero()[0])
            raise InvalidInput(
                f"{layer}: edge {edge} of `edge_index` is {index[:, edge].tolist()}; nodes are 0..{nodes - 1}."
            )

    read_values(in_range, edge_index)
    return edge_index[0].long(), edge_index[1].long()


def read_values(check: Callable[[Tensor], None], value: Tensor) -> None:
    """Run a check of values: now, after every replay of a recorded step, or, in traced code, not at all."""
    if not traced(value):
        recording.deferred(check, value)


def blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """Return the blocks as (..., multiplicity, 2l + 1)."""
    parts = x.split([b.dim for b in irreps], dim=-1) if len(irreps) else ()
    return [p.unflatten(-1, (b.mul, b.ir.dim)) for p, b in zip(parts, irreps, strict=True)]
