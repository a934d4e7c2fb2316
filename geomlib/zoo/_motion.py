"""Positions as points of the projective algebra, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput

__all__ = ["BLADES", "checked_blades", "coordinates_of", "points_of"]

#: What the features of a network hold: trivectors, those without e123, or all blades.
BLADES: dict[str, tuple[int, ...] | None] = {
    "points": (11, 12, 13, 14),
    "coordinates": (11, 12, 13),
    "all": None,
}


def checked_blades(model: str, blades: str, **sizes: int) -> None:
    """Check options.

    Raises:
        InvalidInput: unknown blades, or sizes that are not positive.
    """
    if blades not in BLADES:
        raise InvalidInput(f"{model}: blades={blades!r}, expected one of {', '.join(BLADES)}.")
    for name, size in sizes.items():
        if size < 1:
            raise InvalidInput(f"{model}: {name}={size}, expected at least 1.")


def points_of(pos: Tensor, blades: str) -> Tensor:  # (..., 3) -> (..., blades)
    """Return points: e012 = -z, e013 = y, e023 = -x, e123 = 1."""
    x, y, z = pos.unbind(-1)
    if blades == "coordinates":
        return torch.stack([-z, y, -x], -1)
    found = torch.stack([-z, y, -x, torch.ones_like(x)], -1)
    return nn.functional.pad(found, (11, 1)) if blades == "all" else found


def coordinates_of(features: Tensor, blades: str) -> Tensor:  # (..., blades) -> (..., 3)
    """Return the vectors that trivectors hold, whatever their e123."""
    start = 11 if blades == "all" else 0
    z, y, x = features[..., start : start + 3].unbind(-1)
    return torch.stack([-x, y, -z], -1)
