r"""Magnitude and weighting vectors of finite metric spaces: how many points a set looks like, and where its edge is."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, named, require_symmetric, symmetrize, values_known
from geomlib.errors import InvalidInput

__all__ = ["magnitude", "weighting_vector"]


def weighting_vector(D: Tensor, t: float | Tensor = 1.0) -> Tensor:  # (..., n, n) -> (..., n)
    r"""Return the weights of the points of a metric space; they are large at its boundary.

    .. math:: Z w = 1, \qquad Z_{ij} = e^{-t D_{ij}}

    w also minimises :math:`\tfrac12 w^\top Z w - 1^\top w`. Z is positive definite for distances of negative type: Euclidean
    ones, those on spheres and hyperbolic spaces, and roots of squared distances in a Hilbert space. It is factorised in
    float64.

    **Shapes** ``D`` (..., n, n), ``t`` a number or (...), to (..., n).

    Args:
        D: distances, symmetric.
        t: scale, positive; distances are multiplied by it.

    Raises:
        InvalidInput: D is no symmetric matrix of numbers that are not negative, t is not positive, or Z is not positive
            definite to working precision: points coincide, t is too small, or the distance is not of negative type. Where
            values are not looked at (compiled, on a card, inside ``vmap``), the weights of such a space are NaN.

    Source: Leinster and Meckes, *The magnitude of a metric space: from category theory to geometric measure theory*, arXiv
    1606.00095; Bunch, Kline, Dickinson, Bhat and Fung, *Weighting vectors for machine learning: numerical harmonic analysis
    applied to boundary detection*, arXiv 2106.00827.

    >>> weighting_vector(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()  # 1 / (1 + e^-1)
    [0.7310585975646973, 0.7310585975646973]
    """
    require_symmetric("D", D)
    scale = t if isinstance(t, Tensor) else torch.as_tensor(float(t), dtype=torch.float64)
    if values_known(D, scale) and D.numel():
        _check_values(D.detach(), scale.detach())
    Z = torch.exp(-scale.to(D.device, torch.float64)[..., None, None] * symmetrize(D.double()))
    factor, info = torch.linalg.cholesky_ex(Z)
    pivots = factor.diagonal(dim1=-2, dim2=-1).detach().square()
    good = (info == 0) & (pivots > D.shape[-1] * torch.finfo(torch.float64).eps).all(-1)
    if values_known(good) and not bool(good.all()):
        raise InvalidInput(
            f"the matrix exp(-t D) of {named('D', first_bad(good))} is not positive definite to working precision. Points may "
            "coincide (leave copies out), t may be too small for their distances, or the distance is not of negative type."
        )
    safe = torch.where(good[..., None, None], factor, torch.eye(D.shape[-1], dtype=Z.dtype, device=Z.device))
    w = torch.cholesky_solve(torch.ones_like(Z[..., :1]), safe).squeeze(-1)
    return torch.where(good[..., None], w, torch.nan).to(D.dtype)


def magnitude(D: Tensor, t: float | Tensor = 1.0) -> Tensor:  # (..., n, n) -> (...)
    r"""Return the magnitude of a metric space, :math:`1^\top Z^{-1} 1` with :math:`Z_{ij} = e^{-t D_{ij}}`.

    It grows from 1, where the points look like one, to n, where t has driven them apart.

    **Shapes** ``D`` (..., n, n), ``t`` a number or (...), to (...).

    Args:
        D: distances, symmetric.
        t: scale, positive.

    Raises:
        InvalidInput: as :func:`weighting_vector`.

    Source: Leinster and Meckes, arXiv 1606.00095; Bunch, Dickinson, Kline and Fung, *Practical applications of metric space
    magnitude and weighting vectors*, arXiv 2006.14063.

    >>> D = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    >>> [round(float(magnitude(D, t)), 3) for t in (0.01, 1.0, 10.0)]
    [1.005, 1.462, 2.0]
    """
    return weighting_vector(D, t).sum(-1)


def _check_values(D: Tensor, t: Tensor) -> None:
    least = D.amin((-2, -1))
    good = least >= 0
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"{named('D', where)} holds {least[where]:.3g}, expected distances, which are not negative."
        )
    positive = (t > 0) & t.isfinite()
    if not bool(positive.all()):
        raise InvalidInput(f"magnitude: t={t[~positive].flatten()[0]:.3g}, expected positive numbers.")
