r"""Parallel transport of the Bures-Wasserstein metric along a geodesic.

The map :math:`Z \mapsto Z Z^T` is a Riemannian submersion from the flat space of matrices, and the geodesic is the image of
the line :math:`Z(t) = (I + t X) L`. A parallel field lifts to a horizontal H = S Z, S symmetric, whose derivative is vertical:

.. math:: H' = Z A, \qquad Z^T Z A + A Z^T Z = H^T Z' - Z'^T H, \qquad A^T = -A .

No closed form is known unless the end points commute. The equation is linear and analytic in t up to where the line meets
singular matrices, at -a and 1 + b. In :math:`u = \log (t + a) / (1 + b - t)` both are infinitely far away, and extrapolated
midpoint steps (W. B. Gragg 1965; R. Bulirsch, J. Stoer 1966) reach round-off.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd.cholesky import cholesky
from geomlib.algebra.manifolds.spectral import lyapunov

__all__ = ["carried"]

#: Midpoint steps of the extrapolation table; its order is twice their number.
_STEPS = (2, 4, 6, 8, 10, 12)
#: Pieces of the path, in u.
_PIECES = 6


def carried(P: Tensor, X: Tensor, V: Tensor, pieces: int = _PIECES) -> Tensor:  # (..., n, n)
    """Return V at P carried to (I + X) P (I + X).

    >>> carried(torch.eye(1), torch.eye(1), torch.eye(1))  # from 1 to 4, where lengths double
    tensor([[2.]])
    """
    L = cholesky(P)
    speed = X @ L
    # The result does not depend on a and b, which only place the steps: they are constants.
    x = torch.linalg.eigvalsh(X.detach())[..., None, None, :]
    a = 1 / x[..., -1].clamp_min(0.1)
    b = 1 / (-x[..., 0]).clamp(0.1, 1 - torch.finfo(x.dtype).eps) - 1
    start = (a / (1 + b)).log()
    length = (((1 + a) / b).log() - start) / pieces

    def slope(u: Tensor, H: Tensor) -> Tensor:
        e = u.exp()
        Z = L + ((1 + b) * e - a) / (1 + e) * speed
        return (1 + a + b) * e / (1 + e).square() * length * _vertical(Z, speed, H)

    lift = lyapunov(P, V) @ L
    for k in range(pieces):
        lift = _extrapolated(slope, start + k * length, length, lift)
    Z = L + speed
    return lift @ Z.mT + Z @ lift.mT


def _vertical(Z: Tensor, speed: Tensor, H: Tensor) -> Tensor:
    """Return Z A; the Lyapunov equation of a skew right-hand side is a block of a symmetric one."""
    B = H.mT @ speed - speed.mT @ H
    zero, N = torch.zeros_like(B), (Z.mT @ Z).expand(B.shape)
    twice = torch.cat([torch.cat([N, zero], -1), torch.cat([zero, N], -1)], -2)
    right = torch.cat([torch.cat([zero, B], -1), torch.cat([B.mT, zero], -1)], -2)
    n = B.shape[-1]
    return Z @ lyapunov(twice, right)[..., :n, n:]


def _extrapolated(slope: Callable[[Tensor, Tensor], Tensor], u: Tensor, length: Tensor, H: Tensor) -> Tensor:
    """Return H one piece further, from the midpoint rule with ever more steps."""
    row: list[Tensor] = []
    first = slope(u, H)
    for j, steps in enumerate(_STEPS):
        h = 1 / steps
        before, now = H, H + h * first
        for m in range(1, steps):
            before, now = now, before + 2 * h * slope(u + m * h * length, now)
        ends = [(before + now + h * slope(u + length, now)) / 2]
        for k in range(j):
            ratio = (steps / _STEPS[j - k - 1]) ** 2
            ends.append(ends[k] + (ends[k] - row[k]) / (ratio - 1))
        row = ends
    return row[-1]
