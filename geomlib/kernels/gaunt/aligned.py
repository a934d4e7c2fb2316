r"""The product of a signal with a filter that is symmetric about an axis, diagonal in the order m.

Every axis is turned to the pole y by a turn about y, which mixes m and -m, and a turn about x. The latter is a turn about
y between two constant matrices that exchange the axes cyclically, so no Euler angle is computed and everything is a smooth
function of the axis; where the axis is near the pole, the axes are exchanged once more beforehand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.gaunt.quadrature import polar_functions, sphere_grid
from geomlib.algebra.irreps.harmonics import direction
from geomlib.kernels.gaunt.constants import cast_once
from geomlib.kernels.gaunt.spec import SignalProduct

__all__ = ["aligned_product"]


def aligned_product(
    spec: SignalProduct,
    x: Tensor,  # (E, d1 C)
    axes: Tensor,  # (E, 3)
    weight: Tensor,  # (E, lmax + 1, C)
) -> Tensor:  # (E, d3 C)
    r"""Return the Gaunt product of x with :math:`\sum_l w_{lc} Y_l(\hat r)`, multiplicities outside in every block.

    .. math:: z_{l_3 m} = \sum_{l_1} \int \Theta_{l_3 m}\, g\, \Theta_{l_1 m}\, d\cos\theta\; x_{l_1 m}, \qquad
              g(\theta) = \sum_l w_l \sqrt{\tfrac{2l+1}{4\pi}}\, \Theta_{l0}(\theta)

    in the frame of the axis. The filter of a zero axis has its degree 0 only.
    """
    turn = _Turn(axes)
    c, edges = spec.channels, x.shape[0]
    lmax = len(spec.second) - 1
    m = _matrices(_degrees(spec.first), lmax, _degrees(spec.out), dtype=x.dtype, device=x.device)
    known = torch.where(turn.nowhere[:, None, None], weight * m["scalar"], weight)
    curve = torch.einsum("elc,lt->tec", known, m["filter"])  # (T, E, C)
    blocks: dict[int, Tensor] = {}
    start = 0
    for l in _degrees(spec.first):
        size = c * (2 * l + 1)
        block = x[:, start : start + size].reshape(edges, c, 2 * l + 1).permute(2, 0, 1)
        blocks[l] = turn.forward(block, l)  # (2l + 1, E, C)
        start += size
    rows: dict[int, list[Any]] = {l: [None] * (2 * l + 1) for l in _degrees(spec.out)}
    for order, (one, two) in enumerate(zip(m["in"], m["out"], strict=True)):
        for order_signed in (order, -order) if order else (0,):
            parts = [blocks[l][l + order_signed] for l in _degrees(spec.first) if l >= order]
            f = torch.tensordot(one, torch.stack(parts), dims=1) * curve  # (T, E, C)
            z = torch.tensordot(two, f, dims=1)
            for k, l in enumerate(n for n in _degrees(spec.out) if n >= order):
                rows[l][l + order_signed] = z[k]
    columns: list[Tensor] = [x.new_zeros(edges, 0)]
    empty = x.new_zeros(edges, c)
    for l in _degrees(spec.out):
        block = torch.stack([empty if r is None else r for r in rows[l]])
        columns.append(turn.backward(block, l).permute(1, 2, 0).reshape(edges, c * (2 * l + 1)))
    return torch.cat(columns, dim=1)


def _degrees(space: Any) -> tuple[int, ...]:
    return tuple(space)


class _Turn:
    """The rotation of every axis to the pole, acting on blocks (2l + 1, E, C)."""

    def __init__(self, axes: Tensor) -> None:
        unit = direction(axes)
        zero = (unit == 0).all(-1)
        self.nowhere = zero
        # Anything will do for a zero axis: its filter is constant.
        unit = torch.where(zero[:, None], unit.new_tensor([0.0, 0.0, 1.0]), unit)
        self.exchanged = unit[:, 1].square() > 0.5
        x, y, z = torch.where(self.exchanged[:, None], unit[:, [2, 0, 1]], unit).unbind(-1)
        radius = (x * x + z * z).sqrt()
        self.azimuth = z / radius, x / radius
        self.polar = y, radius
        self._powers: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def _power(self, name: str, m: int) -> tuple[Tensor, Tensor]:
        """Return cos m a and sin m a."""
        if m == 1:
            return self.azimuth if name == "azimuth" else self.polar
        key = name, m
        if key not in self._powers:
            (c, s), (a, b) = self._power(name, m - 1), self._power(name, 1)
            self._powers[key] = c * a - s * b, s * a + c * b
        return self._powers[key]

    def _about_y(self, block: Tensor, l: int, name: str, sign: float) -> Tensor:
        """Turn by minus (sign 1) or plus (sign -1) the angle."""
        if l == 0:
            return block
        pairs = [self._power(name, m) for m in range(1, l + 1)]
        one = torch.ones_like(pairs[0][0])
        cosine = torch.stack([c for c, _ in reversed(pairs)] + [one] + [c for c, _ in pairs])[..., None]
        sine = torch.stack([-s for _, s in reversed(pairs)] + [0 * one] + [s for _, s in pairs])[..., None]
        return cosine * block + sign * sine * block.flip(0)

    def forward(self, block: Tensor, l: int) -> Tensor:
        """Turn to the pole."""
        if l == 0:
            return block
        k = _exchange(l, dtype=block.dtype, device=block.device)["matrix"]
        block = torch.where(self.exchanged[:, None], torch.tensordot(k, block, dims=1), block)
        block = torch.tensordot(k, self._about_y(block, l, "azimuth", 1.0), dims=1)
        return torch.tensordot(k.T, self._about_y(block, l, "polar", 1.0), dims=1)

    def backward(self, block: Tensor, l: int) -> Tensor:
        """Turn back."""
        if l == 0:
            return block
        k = _exchange(l, dtype=block.dtype, device=block.device)["matrix"]
        block = self._about_y(torch.tensordot(k, block, dims=1), l, "polar", -1.0)
        block = self._about_y(torch.tensordot(k.T, block, dims=1), l, "azimuth", -1.0)
        return torch.where(self.exchanged[:, None], torch.tensordot(k.T, block, dims=1), block)


@cast_once
def _exchange(l: int) -> dict[str, Any]:
    """Return D with Y(z, x, y) = D Y(x, y, z), by exact quadrature."""
    grid = sphere_grid(2 * l)
    there = _harmonics(l, grid.xyz[:, [2, 0, 1]])
    return {"matrix": (there * grid.weight[:, None]).T @ grid.harmonics((l,))}


def _harmonics(l: int, xyz: np.ndarray) -> np.ndarray:
    from geomlib.algebra.irreps.harmonics import solid_harmonics

    return solid_harmonics(l, torch.from_numpy(xyz)).numpy()[:, l * l :]


@cast_once
def _matrices(first: tuple[int, ...], lmax: int, out: tuple[int, ...]) -> dict[str, Any]:
    top = max(first, default=0), max(out, default=0)
    grid = sphere_grid(top[0] + lmax + top[1])
    value, _ = polar_functions(max(*top, lmax), grid.beta)
    found: dict[str, Any] = {"in": [], "out": []}
    for m in range(min(top) + 1):
        azimuth = 2 * math.pi if m == 0 else math.pi
        found["in"].append(np.stack([value[:, l, m] for l in first if l >= m], axis=1))
        weighted = [value[:, l, m] * grid.polar_weight * azimuth for l in out if l >= m]
        found["out"].append(np.stack(weighted))
    scale = np.sqrt((2 * np.arange(lmax + 1) + 1) / (4 * math.pi))
    found["filter"] = (value[:, : lmax + 1, 0] * scale).T
    scalar = np.zeros((lmax + 1, 1))
    scalar[0] = 1.0
    found["scalar"] = scalar
    return found
