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
    r"""Return the plane ``normal . x = distance``.

    .. math:: p = n_1 e_1 + n_2 e_2 + n_3 e_3 - d\, e_0

    Raises:
        InvalidInput: normals that are not floating (..., 3).

    >>> mirror = plane(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(2.0))
    >>> point_coordinates(reflect(mirror, point(torch.tensor([0.0, 1.0, 1.0]))))
    tensor([4., 1., 1.])
    """
    _triples("plane", normal)
    return PGA.embed(torch.cat([-distance.unsqueeze(-1), normal], -1), 1)


def point(x: Tensor) -> Tensor:  # (..., 3) -> (..., 16)
    r"""Return points.

    .. math:: P = e_{123} - x\, e_{023} + y\, e_{013} - z\, e_{012}

    Raises:
        InvalidInput: not floating (..., 3).

    >>> point_coordinates(point(torch.tensor([1.0, 2.0, 3.0])))
    tensor([1., 2., 3.])
    """
    x, y, z = _triples("point", x).unbind(-1)
    return PGA.embed(torch.stack([-z, y, -x, torch.ones_like(x)], -1), 3)


def point_coordinates(x: Tensor) -> Tensor:  # (..., 16) -> (..., 3)
    """Return the coordinates of points of any weight other than 0, the inverse of :func:`point`.

    Raises:
        InvalidInput: not multivectors of Cl(3,0,1).

    >>> point_coordinates(2 * point(torch.tensor([1.0, 2.0, 3.0])))
    tensor([1., 2., 3.])
    """
    z, y, x_, w = PGA.extract(x, 3).unbind(-1)
    return torch.stack([-x_, y, -z], -1) / w.unsqueeze(-1)


def translator(shift: Tensor) -> Tensor:  # (..., 3) -> (..., 16)
    r"""Return the motor that shifts by the vector.

    .. math:: T = 1 - \tfrac12 \sum_i t_i\, e_{0i}

    Raises:
        InvalidInput: not floating (..., 3).

    >>> moved = PGA.sandwich(translator(torch.tensor([0.0, 0.0, 1.0])), point(torch.zeros(3)))
    >>> point_coordinates(moved).abs()
    tensor([0., 0., 1.])
    """
    _triples("translator", shift)
    planes = PGA.embed(-shift / 2, blades=("e01", "e02", "e03"))
    return planes + PGA.blade("1", shift)


def rotor(axis: Tensor, angle: Tensor) -> Tensor:  # (..., 3), (...) -> (..., 16)
    r"""Return the motor that turns by ``angle`` in radians about an axis of length 1 through the origin.

    .. math:: R = \cos\tfrac\theta2 - \sin\tfrac\theta2\, (a_3 e_{12} - a_2 e_{13} + a_1 e_{23})

    Raises:
        InvalidInput: axes that are not floating (..., 3).

    >>> quarter = rotor(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(torch.pi / 2))
    >>> point_coordinates(PGA.sandwich(quarter, point(torch.tensor([1.0, 0.0, 0.0])))).round().abs()
    tensor([0., 1., 0.])
    """
    x, y, z = _triples("rotor", axis).unbind(-1)
    half = (angle / 2).unsqueeze(-1)
    turns = PGA.embed(torch.stack([-z, y, -x], -1), blades=("e12", "e13", "e23"))
    return torch.cos(half) * PGA.blade("1", axis) + torch.sin(half) * turns


def motor(axis: Tensor, angle: Tensor, shift: Tensor) -> Tensor:  # -> (..., 16)
    """Return the motor that turns about an axis through the origin, then shifts: ``translator(shift) rotor(axis, angle)``.

    Raises:
        InvalidInput: as :func:`rotor` and :func:`translator`.

    >>> motor(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.5), torch.zeros(3)).shape
    torch.Size([16])
    """
    return PGA.gp(translator(shift), rotor(axis, angle))


def reflect(mirror: Tensor, x: Tensor) -> Tensor:  # (..., 16), (..., 16) -> (..., 16)
    """Return multivectors mirrored in planes; vectors become ``-p x p^-1``.

    Raises:
        InvalidInput: not multivectors of Cl(3,0,1).

    >>> mirror = plane(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.0))
    >>> bool(torch.equal(reflect(mirror, mirror), -mirror))
    True
    """
    return PGA.versor_action(mirror, x, parity=1)
