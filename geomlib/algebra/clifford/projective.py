r"""Points, planes, rotors, translators and motors of the projective algebra Cl(3,0,1), metric (0, 1, 1, 1).

A plane :math:`n \cdot x = d` is :math:`n_i e_i - d\, e_0`; a point (x, y, z) has blades e123 = 1, e023 = -x, e013 = y,
e012 = -z. Motors M move anything by :math:`M x \tilde M`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.clifford.algebra import CliffordAlgebra
from geomlib.errors import InvalidInput

__all__ = ["PGA", "motor", "plane", "point", "point_coordinates", "reflect", "rotor", "translator"]

#: The projective algebra of space.
PGA = CliffordAlgebra(3, 0, 1)


def _triples(what: str, x: Tensor) -> Tensor:
    if x.dim() < 1 or x.shape[-1] != 3 or not x.is_floating_point():
        raise InvalidInput(f"{what}: expected floating (..., 3), got {x.dtype} of shape {tuple(x.shape)}.")
    return x


def plane(normal: Tensor, distance: Tensor) -> Tensor:  # (..., 3), (...) -> (..., 16)
    """Return the plane ``normal . x = distance``."""
    _triples("plane", normal)
    return PGA.embed(torch.cat([-distance.unsqueeze(-1), normal], -1), 1)


def point(x: Tensor) -> Tensor:  # (..., 3) -> (..., 16)
    """Return points.

    >>> point_coordinates(point(torch.tensor([1.0, 2.0, 3.0])))
    tensor([1., 2., 3.])
    """
    x, y, z = _triples("point", x).unbind(-1)
    return PGA.embed(torch.stack([-z, y, -x, torch.ones_like(x)], -1), 3)


def point_coordinates(x: Tensor) -> Tensor:  # (..., 16) -> (..., 3)
    """Return the coordinates of points of any weight."""
    z, y, x_, w = PGA.extract(x, 3).unbind(-1)
    return torch.stack([-x_, y, -z], -1) / w.unsqueeze(-1)


def translator(shift: Tensor) -> Tensor:  # (..., 3) -> (..., 16)
    """Return the motor that shifts by the vector."""
    _triples("translator", shift)
    planes = PGA.embed(-shift / 2, blades=("e01", "e02", "e03"))
    return planes + PGA.blade("1", shift)


def rotor(axis: Tensor, angle: Tensor) -> Tensor:  # (..., 3), (...) -> (..., 16)
    """Return the motor that turns by ``angle`` about an axis of length 1 through the origin."""
    x, y, z = _triples("rotor", axis).unbind(-1)
    half = (angle / 2).unsqueeze(-1)
    turns = PGA.embed(torch.stack([-z, y, -x], -1), blades=("e12", "e13", "e23"))
    return torch.cos(half) * PGA.blade("1", axis) + torch.sin(half) * turns


def motor(axis: Tensor, angle: Tensor, shift: Tensor) -> Tensor:  # -> (..., 16)
    """Return the motor that turns about an axis through the origin, then shifts."""
    return PGA.gp(translator(shift), rotor(axis, angle))


def reflect(mirror: Tensor, x: Tensor) -> Tensor:  # (..., 16), (..., 16) -> (..., 16)
    """Return multivectors mirrored in planes; vectors become -p x p^-1."""
    return PGA.versor_action(mirror, x, parity=1)
