r"""Perceptrons of a distance, evaluated with their derivative where that is cheaper."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from geomlib.kernels.dual import attach_slope, dual_gate
from geomlib.layers.bonds import Bonds
from geomlib.layers.radial import RadialBasis

__all__ = ["RadialNetwork"]


class RadialNetwork(nn.Module):
    r"""A perceptron of the radial basis, cut off smoothly.

    .. math:: f(r) = c(r)\; a(L_n \cdots \mathrm{silu}(L_1 e(r)))

    with :math:`a` SiLU or the identity. Where only first derivatives with respect to positions are needed, the value and
    :math:`df/dr` are computed together, so that forces need no second pass through the network.

    **Group** E(3): invariant.

    Args:
        sizes: widths from the number of radial functions to the output.
        activate_last: apply SiLU after the last layer too.
    """

    def __init__(self, sizes: tuple[int, ...], *, activate_last: bool) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.activate_last, self.depth = activate_last, len(sizes) - 1

    def forward(self, bonds: Bonds, basis: RadialBasis) -> Tensor:  # -> (rows, sizes[-1])
        """Return one row per pair, and a last one for the self loops if there are any."""
        r, last = bonds.length, self.depth - 1
        if bonds.second_order:
            h = basis(r)
            for k, linear in enumerate(cast(Iterable[nn.Linear], self.linears)):
                h = linear(h)
                if k < last or self.activate_last:
                    h = nn.functional.silu(h)
            return basis.envelope(r)[0][:, None] * h
        with torch.set_grad_enabled(bonds.track_parameters):
            value, slope = self._dual(*bonds.basis_with_slope(basis)).unbind()
        return attach_slope(r, value, slope)

    def _dual(self, dual: Tensor, envelope: Tensor) -> Tensor:  # (2, rows, R), (2, rows) -> (2, rows, K)
        """Return values and derivatives with respect to the distance."""
        last = self.depth - 1
        flat = torch.ones_like(envelope)
        flat[1] = 0.0
        for k, linear in enumerate(cast(Iterable[nn.Linear], self.linears)):
            h = (dual.flatten(0, 1) @ linear.weight.T).unflatten(0, (2, -1))
            activate = k < last or self.activate_last
            dual = dual_gate(h, linear.bias, envelope if k == last else flat, activate=activate)
        return dual
