"""Irreps features at the door of a layer: checked, and cut into blocks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.errors import InvalidInput
from geomlib.kernels import recording
from geomlib.kernels.dispatch import traced
from geomlib.kernels.edge_index import check_edge_range, check_edge_shape

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


def checked_edges(edge_index: Tensor, sources: int, targets: int) -> tuple[Tensor, Tensor]:
    """Return sources and targets.

    Raises:
        InvalidInput: not integers (2, E), or an index that is no node.
    """
    check_edge_shape(edge_index)
    read_values(lambda found: check_edge_range(found, sources, targets), edge_index)
    return edge_index[0].long(), edge_index[1].long()


def read_values(check: Callable[[Tensor], None], value: Tensor) -> None:
    """Run a check of values: now, after every replay of a recorded step, or, in traced code, not at all."""
    if not traced(value):
        recording.deferred(check, value)


def blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """Return the blocks as (..., multiplicity, 2l + 1)."""
    parts = x.split([b.dim for b in irreps], dim=-1) if len(irreps) else ()
    return [p.unflatten(-1, (b.mul, b.ir.dim)) for p, b in zip(parts, irreps, strict=True)]
