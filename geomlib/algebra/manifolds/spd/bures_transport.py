r"""Parallel transport of the Bures-Wasserstein metric along a geodesic.

The map :math:`Z \mapsto Z Z^T` is a Riemannian submersion from the flat space of matrices, and the geodesic is the image of
the line :math:`Z(t) = (I + t X) L`. A parallel field lifts to a horizontal H = S Z, S symmetric, whose derivative is vertical:

.. math:: H' = Z A, \qquad Z^T Z A + A Z^T Z = H^T Z' - Z'^T H, \qquad A^T = -A .

No closed form is known unless the end points commute. The equation is linear and analytic, so extrapolated midpoint steps
(W. B. Gragg 1965, R. Bulirsch and J. Stoer 1966) reach round-off.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.cholesky import cholesky
from geomlib.algebra.manifolds.spectral import lyapunov

__all__ = ["carried"]

#: Midpoint steps of the extrapolation table; its order is twice their number.
_STEPS = (2, 4, 6, 8, 10, 12, 14)


def carried(P: Tensor, X: Tensor, V: Tensor, pieces: int = 4) -> Tensor:  # (..., n, n)
    """Return V at P carried to (I + X) P (I + X).

    >>> carried(torch.eye(1), torch.eye(1), torch.eye(1))  # from 1 to 4, where lengths double
    tensor([[2.]])
    """
    L = cholesky(P)
    speed = X @ L
    lift = lyapunov(P, V) @ L
    for k in range(pieces):
        lift = _extrapolated(L + k / pieces * speed, speed / pieces, lift)
    Z = L + speed
    return lift @ Z.mT + Z @ lift.mT


def _vertical(Z: Tensor, speed: Tensor, H: Tensor) -> Tensor:
    """Return Z A; the Lyapunov equation of a skew right-hand side is a block of a symmetric one."""
    B = H.mT @ speed - speed.mT @ H
    N, zero = Z.mT @ Z, torch.zeros_like(B)
    twice = torch.cat([torch.cat([N, zero], -1), torch.cat([zero, N], -1)], -2)
    right = torch.cat([torch.cat([zero, B], -1), torch.cat([B.mT, zero], -1)], -2)
    n = B.shape[-1]
    return Z @ lyapunov(twice, right)[..., :n, n:]


def _extrapolated(Z: Tensor, speed: Tensor, H: Tensor) -> Tensor:
    row: list[Tensor] = []
    for j, steps in enumerate(_STEPS):
        h = 1 / steps
        before, now = H, H + h * _vertical(Z, speed, H)
        for m in range(1, steps):
            before, now = now, before + 2 * h * _vertical(Z + m * h * speed, speed, now)
        ends = [(before + now + h * _vertical(Z + speed, speed, now)) / 2]
        for k in range(j):
            ratio = (_STEPS[j] / _STEPS[j - k - 1]) ** 2
            ends.append(ends[k] + (ends[k] - row[k]) / (ratio - 1))
        row = ends
    return row[-1]
