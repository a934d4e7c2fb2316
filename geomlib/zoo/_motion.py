"""Frames of points: as points of the projective algebra and back, and what a network adds to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput

__all__ = ["BLADES", "STARTS", "checked_options", "coordinates_of", "framed", "motion_symmetry", "points_of"]

#: What the features of a network hold: trivectors, those without e123, or all blades.
BLADES: dict[str, tuple[int, ...] | None] = {
    "points": (11, 12, 13, 14),
    "coordinates": (11, 12, 13),
    "all": None,
}

#: What a network adds to: every point going on as in the last two frames, the last frame, or nothing.
STARTS = ("velocity", "last", "zero")


def checked_options(model: str, blades: str, start: str, **sizes: int) -> None:
    """Check options.

    Raises:
        InvalidInput: unknown blades or start, or sizes that are not positive.
    """
    if blades not in BLADES:
        raise InvalidInput(f"{model}: blades={blades!r}, expected one of {', '.join(BLADES)}.")
    if start not in STARTS:
        raise InvalidInput(f"{model}: start={start!r}, expected one of {', '.join(STARTS)}.")
    if start == "velocity" and sizes.get("frames_in", 2) == 1:
        raise InvalidInput(f"{model}: one frame has no velocity; pass start='last' or frames_in=2 or more.")
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


def framed(pos: Tensor, frames_out: int, start: str, centred: bool) -> tuple[Tensor, Tensor | None]:
    """Return positions as the network reads them, and what its output is added to, (B, frames_out, points, 3)."""
    last = pos[:, -1:]
    seen = pos - last.mean(2, keepdim=True) if centred else pos
    if start == "zero":
        return seen, None
    if start == "last":
        return seen, last
    ahead = torch.arange(1, frames_out + 1, dtype=pos.dtype, device=pos.device).view(-1, 1, 1)
    return seen, last + ahead * (last - pos[:, -2:-1])


def motion_symmetry(start: str, centred: bool) -> Symmetry:
    """Return permutations of samples, and translations for a network that sees no absolute position."""
    if centred and start != "zero":
        return Symmetry("T(3)*S_n", inputs={"pos": "node:point"}, outputs="node:point", conservative=False)
    return Symmetry("S_n", inputs={"pos": "node:inv"}, outputs="node:inv")
