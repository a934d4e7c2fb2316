r"""Functions of small symmetric matrices as polynomials: products of matrices only, so derivatives of any order are right.

:math:`\cos\sqrt x`, :math:`\sin\sqrt x/\sqrt x` and :math:`(1-\cos\sqrt x)/x` are entire: a Taylor polynomial near 0, then
double angles. :math:`\theta/\sin\theta` is analytic in :math:`\cos\theta` at 0 and at 1, so neither coincident subspaces nor
angles of 90 degrees are special.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import values_known
from geomlib.errors import InvalidInput

__all__ = ["angle_over_sine", "trigonometric"]

#: Doublings at most: angles up to 2^16, where float64 has six digits left.
_DOUBLINGS = 16
#: Taylor polynomials of cos and sin, exact to 3e-18 for arguments up to 1.
_COS = tuple((-1) ** j / math.factorial(2 * j) for j in range(10))
_SIN = tuple((-1) ** j / math.factorial(2 * j + 1) for j in range(10))


def _angle_coefficients(count: int) -> tuple[float, ...]:
    """Return (2j)!!/(2j+1)!!, all positive: nothing cancels."""
    found = [1.0]
    for j in range(1, count):
        found.append(found[-1] * 2 * j / (2 * j + 1))
    return tuple(found)


#: theta/sin(theta) in u = (1 - cos(theta))/2 <= 1/2: the tail from u^56 on is below 2e-18.
_ANGLE = _angle_coefficients(56)


def _polynomials(rows: Sequence[Sequence[float]], Y: Tensor, width: int) -> list[Tensor]:
    """Return polynomials of matrices with these coefficients, by Paterson and Stockmeyer's scheme."""
    powers = [torch.eye(Y.shape[-1], dtype=Y.dtype, device=Y.device), Y]
    while len(powers) <= width:
        powers.append(powers[-1] @ Y)
    found: list[Tensor] = []
    for row in rows:
        total: Tensor | None = None
        for start in reversed(range(0, len(row), width)):
            part = row[start] * powers[0]
            for a, power in zip(row[start + 1 : start + width], powers[1:], strict=False):
                part = torch.add(part, power, alpha=a)
            total = part if total is None else part + powers[width] @ total
        found.append(Y if total is None else total)
    return found


def trigonometric(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (..., p, p)
    r"""Return :math:`\cos\sqrt C`, :math:`\sin\sqrt C / \sqrt C` and :math:`(1 - \cos\sqrt C)/C` of a symmetric matrix.

    They are computed in float64. The error is that of rounding times :math:`|C|`: 1e-15 for angles up to :math:`\pi`,
    1e-12 for 1000.

    **Shapes** ``C`` (..., p, p), positive semidefinite, to three (..., p, p).

    Raises:
        InvalidInput: angles above 2^16, of which no digits would be left. Where values are not looked at (compiled, on a
            card, inside ``vmap``), the functions of such a matrix are NaN.

    >>> c, s, k = trigonometric(torch.diag(torch.tensor([0.0, 4.0])))
    >>> torch.allclose(c.diagonal(), torch.tensor([0.0, 2.0]).cos())
    True
    """
    if not C.shape[-1]:
        return C, C, C
    x = C.double()
    norm = x.detach().abs().sum(-1).amax(-1)
    rounds = (norm.clamp(min=1e-300).log2() / 2).ceil().clamp(1, _DOUBLINGS + 1).nan_to_num(1.0)
    steps = _DOUBLINGS
    if values_known(x):
        steps = int(rounds.max()) if rounds.numel() else 0
        if steps > _DOUBLINGS:
            at = torch.unravel_index(rounds.argmax(), rounds.shape)
            raise InvalidInput(
                f"trigonometric: matrix {tuple(map(int, at))} of the batch has norm {float(norm[at]):.3g}: angles of "
                f"{math.sqrt(float(norm[at])):.3g}, expected at most 2^16. Scale the tangent down."
            )
    rounds = rounds[..., None, None]
    c, s = _polynomials((_COS, _SIN), x * torch.exp2(-2 * rounds), 3)
    k, one = s, torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    for step in range(steps):  # every matrix as often as it needs, whatever is beside it
        more = step < rounds
        k = torch.where(more, 0.5 * (s @ s), k)
        c, s = torch.where(more, 2 * (c @ c) - one, c), torch.where(more, s @ c, s)
    if steps == _DOUBLINGS:
        c, s, k = (torch.where(rounds > _DOUBLINGS, torch.nan, f) for f in (c, s, k))
    return c.to(C.dtype), s.to(C.dtype), k.to(C.dtype)


def angle_over_sine(S: Tensor) -> Tensor:  # (..., p, p)
    r"""Return :math:`g(S)`, :math:`g(\cos\theta) = \theta/\sin\theta`, of a symmetric matrix of cosines from 0 to 1.

    **Shapes** ``S`` (..., p, p) to (..., p, p).

    >>> angle_over_sine(torch.zeros(1, 1)).item() * 2  # a right angle
    3.1415927410125732
    """
    if not S.shape[-1]:
        return S
    one = torch.eye(S.shape[-1], dtype=torch.float64, device=S.device)
    return _polynomials((_ANGLE,), 0.5 * (one - S.double()), 7)[0].to(S.dtype)
