r"""Functions of small symmetric matrices as polynomials: products of matrices only, so derivatives of any order are right.

:math:`\cos\sqrt x`, :math:`\sin\sqrt x/\sqrt x` and :math:`(1-\cos\sqrt x)/x` are entire: a Taylor polynomial near 0, then
double angles. :math:`\theta/\sin\theta` is analytic in :math:`\cos\theta` at 0 and at 1, so neither coincident subspaces nor
angles of 90 degrees are special.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, named, values_known
from geomlib.errors import InvalidInput

__all__ = ["angle_over_sine", "trigonometric"]

#: Doublings at most: angles up to 1024, where float64 has twelve digits left.
_DOUBLINGS = 10


def _polynomials(rows: Tensor, Y: Tensor) -> Tensor:  # (m, steps, width), (..., p, p) -> (m, ..., p, p)
    """Return polynomials of matrices, coefficients in rows of rising powers, by Paterson and Stockmeyer's scheme."""
    width = rows.shape[-1]
    powers = [torch.eye(Y.shape[-1], dtype=Y.dtype, device=Y.device).expand(Y.shape), Y]
    while len(powers) < width:
        powers.append(powers[-1] @ Y)
    parts = torch.tensordot(rows, torch.stack(powers), 1)  # (m, steps, ..., p, p)
    high, (total, *rest) = powers[-1] @ Y, parts.flip(1).unbind(1)
    for part in rest:
        total = part + high @ total
    return total


def _cumulative(ratios: Tensor, width: int) -> Tensor:  # (m, terms - 1) -> (m, steps, width)
    """Return coefficients from the ratio of each to the one before; the first is 1. Made in place: no copy to a card waits."""
    return torch.cat([torch.ones_like(ratios[:, :1]), ratios.cumprod(1)], 1).unflatten(1, (-1, width))


def trigonometric(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (..., p, p)
    r"""Return :math:`\cos\sqrt C`, :math:`\sin\sqrt C / \sqrt C` and :math:`(1 - \cos\sqrt C)/C` of a symmetric matrix.

    They are computed in float64. The error is that of rounding times :math:`|C|`: 1e-15 for angles up to :math:`\pi`,
    1e-12 for 1000.

    **Shapes** ``C`` (..., p, p), positive semidefinite, to three (..., p, p).

    Raises:
        InvalidInput: angles above 1024, where digits run out. Where values are not looked at (compiled, on a card, inside
            ``vmap``), the functions of such a matrix are NaN.

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
            where = first_bad(rounds <= _DOUBLINGS)
            raise InvalidInput(
                f"trigonometric: {named('C', where)} has norm {float(norm[where]):.3g}, so angles of "
                f"{math.sqrt(float(norm[where])):.3g}, expected at most {2**_DOUBLINGS}. Scale the tangent down."
            )
    rounds = rounds[..., None, None]
    j = torch.arange(1, 12, dtype=x.dtype, device=x.device)
    ratios = torch.stack([-1 / (2 * j * (2 * j - 1)), -1 / (2 * j * (2 * j + 1))])  # of cos and of sin
    state = _polynomials(_cumulative(ratios, 4), x * torch.exp2(-2 * rounds))
    one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    axes = (2, *[1] * (x.dim() - 2))
    factor = (1 + torch.arange(1, -1, -1, dtype=x.dtype, device=x.device)).view(
        *axes, 1, 1
    )  # 2 cos^2 - 1, sin cos
    shift = torch.stack([one, torch.zeros_like(one)]).view(*axes, *one.shape)
    before = state[1]
    for step in range(steps):  # every matrix as often as it needs, whatever is beside it
        more = step < rounds
        before = torch.where(more, state[1], before)
        state = torch.where(more, factor * (state @ state[0]) - shift, state)
    if steps == _DOUBLINGS:
        state = torch.where(rounds > _DOUBLINGS, torch.nan, state)
        before = torch.where(rounds > _DOUBLINGS, torch.nan, before)
    return state[0].to(C.dtype), state[1].to(C.dtype), (0.5 * (before @ before)).to(C.dtype)


def angle_over_sine(S: Tensor) -> Tensor:  # (..., p, p)
    r"""Return :math:`g(S)`, :math:`g(\cos\theta) = \theta/\sin\theta`, of a symmetric matrix of cosines from 0 to 1.

    .. math:: g(c) = \sum_j \frac{(2j)!!}{(2j+1)!!} \Big(\frac{1-c}2\Big)^j

    All terms are positive, and after 56 the rest is below 4e-18.

    **Shapes** ``S`` (..., p, p) to (..., p, p).

    >>> angle_over_sine(torch.zeros(1, 1)).item() * 2  # a right angle
    3.1415927410125732
    """
    if not S.shape[-1]:
        return S
    one = torch.eye(S.shape[-1], dtype=torch.float64, device=S.device)
    j = torch.arange(1, 56, dtype=torch.float64, device=S.device)
    coefficients = _cumulative((2 * j / (2 * j + 1))[None], 7)
    return _polynomials(coefficients, 0.5 * (one - S.double()))[0].to(S.dtype)
