"""Multivector features at the door of a layer, their types, and invariants that stay finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.geometric_product import grade_squares

__all__ = ["checked", "checked_sizes", "example_of", "finite_squares", "label", "symmetry_of"]


def checked(layer: str, x: Tensor, algebra: CliffordAlgebra, channels: int, like: Tensor) -> Tensor:
    """Return x.

    Raises:
        InvalidInput: x has other channels or blades than the layer, or another type than its weights.
    """
    if x.dim() < 2 or tuple(x.shape[-2:]) != (channels, algebra.size):
        raise InvalidInput(
            f"{layer}: `x` has shape {tuple(x.shape)}, expected (..., {channels}, {algebra.size}): channels, then the blades "
            f"of {algebra}. algebra.embed places vectors or scalars."
        )
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `x` is {x.dtype}; pass floating features, such as x.float().")
    if x.dtype != like.dtype:
        raise InvalidInput(
            f"{layer}: `x` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) or "
            f"x.to({like.dtype})."
        )
    return x


def checked_sizes(layer: str, algebra: Any, **sizes: int) -> None:
    """Raise unless the algebra is one and all sizes are positive.

    Raises:
        InvalidInput: otherwise.
    """
    if not isinstance(algebra, CliffordAlgebra):
        raise InvalidInput(
            f"{layer}: expected a CliffordAlgebra, such as CliffordAlgebra(3), got {algebra!r}."
        )
    for name, size in sizes.items():
        if size < 1:
            raise InvalidInput(f"{layer}: {name}={size}, expected at least 1.")


def finite_squares(
    x: Tensor, algebra: CliffordAlgebra, *, scalar_as_is: bool = False
) -> Tensor:  # (..., n + 1)
    """Return the quadratic form of every grade, capped where it would overflow."""
    if algebra.q_:  # infinities of both signs would cancel to NaN
        limit = (torch.finfo(x.dtype).max / (4 * algebra.size)) ** 0.5
        x = x.clamp(-limit, limit)
    largest = torch.finfo(x.dtype).max / (algebra.n + 2)
    return grade_squares(x, algebra, scalar_as_is=scalar_as_is).clamp(-largest, largest)


def label(algebra: CliffordAlgebra) -> str:
    """Return the group that moves the multivectors, or the algebra where its generators have another order."""
    return algebra.group_name if algebra.is_sorted else repr(algebra)


def symmetry_of(algebra: CliffordAlgebra) -> Symmetry:
    """Return the symmetry of a layer that maps rows of multivectors to rows of multivectors."""
    kind = f"node:{algebra.type_name}"
    return Symmetry(f"{algebra.group_name}*S_n", inputs={"x": kind}, outputs=kind)


def example_of(
    make: Callable[[], nn.Module], algebra: CliffordAlgebra, channels: int, generator: torch.Generator
) -> tuple[Any, dict[str, Any]]:
    """Return a layer whose parameters are random, and rows of random multivectors."""
    layer = make()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return layer, {"x": torch.randn(6, channels, algebra.size, generator=generator)}
