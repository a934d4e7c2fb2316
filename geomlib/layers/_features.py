"""Irreps features at the door of a layer: checked, and cut into blocks."""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.errors import InvalidInput

__all__ = ["blocks", "checked"]


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


def blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """Return the blocks as (..., multiplicity, 2l + 1)."""
    parts = x.split([b.dim for b in irreps], dim=-1) if len(irreps) else ()
    return [p.unflatten(-1, (b.mul, b.ir.dim)) for p, b in zip(parts, irreps, strict=True)]
