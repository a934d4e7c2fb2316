"""Multivector features at the door of a layer, their types, and invariants that stay finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.geometric_product.lengths import finite_squares

M = TypeVar("M", bound=nn.Module)

__all__ = [
    "checked",
    "checked_field",
    "checked_held",
    "checked_sizes",
    "example_of",
    "finite_squares",
    "held_blades",
    "label",
    "rows_symmetry",
    "rows_symmetry_of",
    "shaken",
    "symmetry_of",
]


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
    _checked_type(layer, x, like)
    return x


def held_blades(
    layer: str, algebra: CliffordAlgebra, blades: Sequence[int] | Sequence[str] | None
) -> tuple[int, ...]:
    """Return the numbers of the blades that an input holds; all for None.

    Raises:
        InvalidInput: unknown blades, or blades that are not in increasing order.
    """
    if blades is None:
        return tuple(range(algebra.size))
    named = [b for b in blades if isinstance(b, str)]
    numbers = algebra.indices(blades=named) if named else [int(b) for b in blades]
    ordered = numbers == sorted(set(numbers)) and len(numbers) == len(blades)
    if not numbers or not ordered or numbers[0] < 0 or numbers[-1] >= algebra.size:
        raise InvalidInput(
            f"{layer}: blades {list(blades)}: expected different blades of {algebra} in increasing order, from "
            f"{', '.join(algebra.blade_names)} or their numbers."
        )
    return tuple(numbers)


def checked_held(
    layer: str, x: Tensor, channels: int, blades: tuple[int, ...], algebra: CliffordAlgebra, like: Tensor
) -> Tensor:
    """Return x, which holds some blades only.

    Raises:
        InvalidInput: x has other channels or blades than the layer, or another type than its weights.
    """
    if x.dim() < 2 or tuple(x.shape[-2:]) != (channels, len(blades)):
        names = ", ".join(algebra.blade_names[b] for b in blades)
        raise InvalidInput(
            f"{layer}: `x` has shape {tuple(x.shape)}, expected (..., {channels}, {len(blades)}): channels, then the blades "
            f"{names}."
        )
    _checked_type(layer, x, like)
    return x


def checked_field(layer: str, x: Tensor, channels: int, dims: int, size: int, like: Tensor) -> Tensor:
    """Return x, a batch of fields of multivectors or vectors on a grid.

    Raises:
        InvalidInput: x has other channels, axes or components than the layer, or another type than its weights.
    """
    if x.dim() != dims + 3 or x.shape[1] != channels or x.shape[-1] != size:
        axes = "".join(f"n{k}, " for k in range(1, dims + 1))
        raise InvalidInput(
            f"{layer}: `x` has shape {tuple(x.shape)}, expected (batch, {channels}, {axes}{size}): channels, then the {dims} "
            f"axes of space, then the components."
        )
    _checked_type(layer, x, like)
    return x


def _checked_type(layer: str, x: Tensor, like: Tensor) -> None:
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `x` is {x.dtype}; pass floating features, such as x.float().")
    if x.dtype != like.dtype:
        raise InvalidInput(
            f"{layer}: `x` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) or "
            f"x.to({like.dtype})."
        )


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


def label(algebra: CliffordAlgebra) -> str:
    """Return the group that moves the multivectors, or the algebra where its generators have another order."""
    return algebra.group_name if algebra.is_sorted else repr(algebra)


def symmetry_of(algebra: CliffordAlgebra) -> Symmetry:
    """Return the symmetry of a layer that maps rows of multivectors to rows of multivectors."""
    kind = f"node:{algebra.type_name}"
    return Symmetry(f"{algebra.group_name}*S_n", inputs={"x": kind}, outputs=kind)


def rows_symmetry() -> Symmetry:
    """Return the symmetry of a layer of learned templates: it treats rows alike, and no more."""
    return rows_symmetry_of("x")


def rows_symmetry_of(name: str) -> Symmetry:
    """Return the same for another name of the input."""
    return Symmetry("S_n", inputs={name: "node:inv"}, outputs="node:inv")


def shaken(layer: M, generator: torch.Generator) -> M:
    """Return the layer with noise on its parameters, so that none is zero or one."""
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return layer


def example_of(
    make: Callable[[], nn.Module], algebra: CliffordAlgebra, channels: int, generator: torch.Generator
) -> tuple[Any, dict[str, Any]]:
    """Return a layer whose parameters are random, and rows of random multivectors."""
    layer = shaken(make(), generator)
    return layer, {"x": torch.randn(6, channels, algebra.size, generator=generator)}
