"""Fields on grids (batch, channels, *space, components): as channels of an ordinary convolution, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput

__all__ = [
    "CONVOLUTIONS",
    "PADDING_MODES",
    "TRANSPOSED",
    "checked_groups",
    "checked_padding_mode",
    "convolution_options",
    "convolved",
    "merged",
    "padded",
    "per_axis",
    "shaken_field",
    "split_channels",
]

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: nn.functional.conv1d,
    2: nn.functional.conv2d,
    3: nn.functional.conv3d,
}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: nn.functional.conv_transpose1d,
    2: nn.functional.conv_transpose2d,
    3: nn.functional.conv_transpose3d,
}
PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


def merged(x: Tensor) -> Tensor:  # (B, C, *space, D) -> (B, C D, *space)
    """Return the field with the components of every channel next to one another, so that groups stay together."""
    return x.movedim(-1, 2).flatten(1, 2)


def split_channels(x: Tensor, components: int) -> Tensor:  # (B, C D, *space) -> (B, C, *space, D)
    """Return the inverse of :func:`merged`."""
    return x.unflatten(1, (-1, components)).movedim(2, -1)


def per_axis(layer: str, name: str, value: int | Sequence[int], dims: int, least: int) -> tuple[int, ...]:
    """Return one number per axis.

    Raises:
        InvalidInput: another count, or numbers below ``least``.
    """
    found = (int(value),) * dims if isinstance(value, int) else tuple(int(v) for v in value)
    if len(found) != dims or min(found) < least:
        raise InvalidInput(f"{layer}: {name}={value!r}, expected {least} or more, one number or {dims}.")
    return found


def checked_groups(layer: str, groups: int, **channels: int) -> None:
    """Raise unless channels and groups are positive and groups divide channels.

    Raises:
        InvalidInput: otherwise.
    """
    for name, count in channels.items():
        if count < 1:
            raise InvalidInput(f"{layer}: {name}={count}, expected at least 1.")
        if groups < 1 or count % groups:
            raise InvalidInput(f"{layer}: groups={groups} does not divide {name}={count}.")


def checked_padding_mode(layer: str, mode: str) -> str:
    """Return the mode.

    Raises:
        InvalidInput: it is not one of :data:`PADDING_MODES`.
    """
    if mode not in PADDING_MODES:
        raise InvalidInput(f"{layer}: padding_mode={mode!r}, expected one of {', '.join(PADDING_MODES)}.")
    return mode


def convolution_options(layer: str, dims: int, groups: int, **numbers: int | Sequence[int]) -> dict[str, Any]:
    """Return the options of a convolution: paddings per axis from 0, the others (stride, dilation) from 1, and the groups.

    Raises:
        InvalidInput: another count than one per axis, or numbers that are too small.
    """
    least = {name: 0 if name.endswith("padding") else 1 for name in numbers}
    options = {name: per_axis(layer, name, value, dims, least[name]) for name, value in numbers.items()}
    return {**options, "groups": groups}


def padded(x: Tensor, padding: Sequence[int], mode: str) -> Tensor:
    """Return the field with values beyond its border, as ``nn.functional.pad`` makes them."""
    both: list[int] = [p for pad in reversed(padding) for p in (pad, pad)]
    return nn.functional.pad(x, both, mode=mode)


def convolved(
    x: Tensor, kernel: Tensor, bias: Tensor | None, options: dict[str, Any], mode: str, dims: int
) -> Tensor:
    """Return the convolution of merged channels, with any padding."""
    if mode == "zeros":
        return CONVOLUTIONS[dims](x, kernel, bias, **options)
    unpadded = {**options, "padding": 0}
    return CONVOLUTIONS[dims](padded(x, options["padding"], mode), kernel, bias, **unpadded)


def shaken_field(
    layer: nn.Module, generator: torch.Generator, channels: int, dims: int, components: int
) -> tuple[Any, dict[str, Any]]:
    """Return the layer with noise on its parameters, and a batch of random fields."""
    from geomlib.layers._multivectors import shaken

    space = (4, 5, 3)[:dims]
    return shaken(layer, generator), {"x": torch.randn(3, channels, *space, components, generator=generator)}
