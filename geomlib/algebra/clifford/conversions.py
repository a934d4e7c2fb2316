"""To and from irreps of O(3) and quaternions."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.clifford.algebra import CliffordAlgebra
from geomlib.algebra.clifford.products import check_multivectors
from geomlib.errors import InvalidInput

__all__ = ["from_irreps", "from_quaternion", "to_irreps", "to_quaternion"]

_SPACE = CliffordAlgebra(3)
_PARTS = (1, 3, 3, 1)


def to_irreps(x: Tensor) -> Tensor:  # (..., C, 8) -> (..., 8 C)
    """Return multivectors of Cl(3,0,0) as the features ``Cx0e+Cx1o+Cx1e+Cx0o``; bivectors are (b23, -b13, b12).

    **Group** O(3). **Shapes** (..., C, 8) to (..., 8 C).

    Raises:
        InvalidInput: no axis of channels, or not multivectors of 8 blades.

    >>> to_irreps(torch.arange(8.0)[None])
    tensor([ 0.,  1.,  2.,  3.,  6., -5.,  4.,  7.])
    """
    check_multivectors("to_irreps", 8, x)
    if x.dim() < 2:
        raise InvalidInput(f"to_irreps: expected channels and blades (..., C, 8), got {tuple(x.shape)}.")
    s, v, b, t = x.split(_PARTS, -1)
    b = torch.stack([b[..., 2], -b[..., 1], b[..., 0]], -1)
    return torch.cat([part.flatten(-2) for part in (s, v, b, t)], -1)


def from_irreps(x: Tensor) -> Tensor:  # (..., 8 C) -> (..., C, 8)
    """Return features ``Cx0e+Cx1o+Cx1e+Cx0o`` as multivectors of Cl(3,0,0), the inverse of :func:`to_irreps`.

    **Group** O(3). **Shapes** (..., 8 C) to (..., C, 8).

    Raises:
        InvalidInput: not floating, or a last axis that 8 does not divide.

    >>> x = torch.randn(2, 3, 8)
    >>> torch.equal(from_irreps(to_irreps(x)), x)
    True
    """
    if x.dim() < 1 or x.shape[-1] % 8 or not x.is_floating_point():
        raise InvalidInput(
            f"from_irreps: expected floating (..., 8 C), got {x.dtype} of shape {tuple(x.shape)}."
        )
    c = x.shape[-1] // 8
    parts = x.split([k * c for k in _PARTS], -1)
    s, v, b, t = (p.unflatten(-1, (c, k)) for p, k in zip(parts, _PARTS, strict=True))
    b = torch.stack([b[..., 2], -b[..., 1], b[..., 0]], -1)
    return torch.cat([s, v, b, t], -1)


def from_quaternion(
    quaternion: Tensor, algebra: CliffordAlgebra = _SPACE
) -> Tensor:  # (..., 4) -> (..., 2^n)
    """Return the rotor of a quaternion (i, j, k, 1): e23 = -i, e13 = j, e12 = -k.

    Args:
        quaternion: scalar part last.
        algebra: one whose blades e12, e13 and e23 square to -1, such as Cl(3,0,0) or Cl(3,0,1).

    Raises:
        InvalidInput: not floating (..., 4), or an algebra without these blades.

    >>> from_quaternion(torch.tensor([0.0, 0.0, 0.6, 0.8]))
    tensor([ 0.8000,  0.0000,  0.0000,  0.0000, -0.6000,  0.0000, -0.0000,  0.0000])
    """
    if quaternion.dim() < 1 or quaternion.shape[-1] != 4 or not quaternion.is_floating_point():
        raise InvalidInput(f"from_quaternion: expected floating (..., 4), got {tuple(quaternion.shape)}.")
    i, j, k, one = quaternion.unbind(-1)
    return algebra.embed(torch.stack([one, -k, j, -i], -1), blades=("1", "e12", "e13", "e23"))


def to_quaternion(x: Tensor, algebra: CliffordAlgebra = _SPACE) -> Tensor:  # (..., 2^n) -> (..., 4)
    """Return the quaternion (i, j, k, 1) of a rotor, the inverse of :func:`from_quaternion`.

    Raises:
        InvalidInput: not multivectors of the algebra, or one without the blades e12, e13 and e23.

    >>> to_quaternion(from_quaternion(torch.tensor([0.0, 0.0, 0.6, 0.8])))
    tensor([0.0000, 0.0000, 0.6000, 0.8000])
    """
    one, k, j, i = algebra.extract(x, blades=("1", "e12", "e13", "e23")).unbind(-1)
    return torch.stack([-i, j, -k, one], -1)
