"""From the weights of a layer to those of plain diagrams: a change of basis and a power of n."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams import Plan
from geomlib.kernels.dispatch import traced
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._diagram_maps import DiagramMaps, part_of

__all__ = ["NORMALIZATIONS", "DiagramWeights"]

NORMALIZATIONS = ("mean", "unit", "sum")


class DiagramWeights(Float64Buffers):
    r"""Turn weights (P, ...) of the maps of a layer into weights (D, ...) of its plain diagrams.

    .. math:: W_d = \sum_p R_{pd}\, s_p(n)\, w_p

    with R the maps as combinations of diagrams and s the normalisation: a power of n, or a constant. Nothing is learned here.

    Args:
        maps: of the layer.
        normalization: one of `NORMALIZATIONS`.

    Raises:
        InvalidInput: norms that depend on an n which nobody knows yet.
    """

    rows: Tensor | None
    exponents: Tensor | None
    factor: Tensor | None

    def __init__(self, maps: DiagramMaps, normalization: str) -> None:
        super().__init__()
        exponents = maps.exponents(normalization)
        factor = None if exponents is not None else maps.factors(normalization)
        if exponents is not None and not any(exponents):
            exponents = None
        elif exponents is not None and maps.group.n is not None:
            factor = float(maps.group.n) ** -torch.tensor(exponents, dtype=torch.float64)
        self.maps, self.normalization = maps, normalization
        #: Distinct powers of n by which maps are divided, and the maps of each.
        self.powers = sorted(set(exponents)) if exponents is not None else [0.0]
        table = None if exponents is None else torch.tensor(exponents, dtype=torch.float64)
        self.listed = exponents or ()
        self.register_buffer("rows", maps.rows, persistent=False)
        self.register_buffer("exponents", table, persistent=False)
        self.register_buffer("factor", factor, persistent=False)
        #: What is divided by each power: the plan, and in the buffers the numbers of the maps and their rows.
        self.plans = [maps.plan] * len(self.powers)
        for i, power in enumerate(self.powers if exponents is not None else ()):
            members = [p for p, e in enumerate(exponents or ()) if e == power]
            if maps.rows is None:
                listed = [maps.plan.diagrams[p] for p in members]
                self.plans[i] = part_of(maps.plan, maps.plan.l, maps.plan.k, listed)
            else:
                self.register_buffer(f"rows_{i}", maps.rows[members], persistent=False)
            self.register_buffer(f"members_{i}", torch.tensor(members, dtype=torch.long), persistent=False)

    def forward(self, weight: Tensor, n: int) -> Tensor:  # (P, ...) -> (D, ...)
        """Return the weights of the plain diagrams on axes of length n."""
        if self.factor is None and self.exponents is not None and not traced(weight):
            kept = _powers(self.listed, max(n, 1), weight.dtype, weight.device)
            weight = weight * _column(kept, weight)
        elif self.factor is not None or self.exponents is not None:
            weight = weight * _column(self._scale(n).to(weight.dtype), weight)
        return self._mixed(weight)

    def by_power(self, weight: Tensor) -> list[tuple[float, Plan, Tensor]]:
        """Return, for every power of n, what is divided by it: plain diagrams and their weights.

        Raises:
            InvalidInput: the maps are divided by something else than powers of n.
        """
        if self.exponents is None and self.factor is not None:
            raise InvalidInput(
                f"a mask needs normalization='mean' or 'sum': the norms of these maps are no powers of n "
                f"(normalization={self.normalization!r}, basis={self.maps.basis!r})."
            )
        if self.exponents is None:
            return [(0.0, self.maps.plan, self._mixed(weight))]
        found: list[tuple[float, Plan, Tensor]] = []
        for i, (power, plan) in enumerate(zip(self.powers, self.plans, strict=True)):
            part = weight.index_select(0, self.get_buffer(f"members_{i}"))
            found.append(
                (power, plan, part if self.rows is None else _combined(self.get_buffer(f"rows_{i}"), part))
            )
        return found

    def _mixed(self, weight: Tensor) -> Tensor:
        if self.rows is None:
            return weight
        return _combined(self.rows, weight)

    def inverse(self, plain: Tensor, n: int) -> Tensor:  # (D, ...) -> (P, ...), float64
        """Return the weights that give these weights of plain diagrams.

        Raises:
            InvalidInput: the maps do not span the diagrams, as those of symmetric tensors.
        """
        plain = plain.double()
        found = plain
        if self.rows is not None:
            flat = plain.flatten(1)
            found = torch.linalg.lstsq(self.rows.mT, flat).solution
            worst = float((self.rows.mT @ found - flat).abs().amax()) if flat.numel() else 0.0
            if worst > 1e-9 * max(1.0, float(flat.abs().amax()) if flat.numel() else 0.0):
                raise InvalidInput(
                    f"set_diagram_weights: no combination of the {self.maps.count} maps of this layer has these weights "
                    f"(off by {worst:.1e}). Maps of symmetric tensors give diagrams of one orbit the same weight."
                )
            found = found.unflatten(1, plain.shape[1:]) if plain.dim() > 1 else found[:, 0]
        return found / _column(self._scale(n).to(found.device), found)

    def _scale(self, n: int) -> Tensor:
        if self.factor is not None:
            return self.factor
        if self.exponents is not None:
            return torch.pow(float(max(n, 1)), -self.exponents)
        return torch.ones(self.maps.count, dtype=torch.float64)


@lru_cache(maxsize=256)
def _powers(exponents: tuple[float, ...], n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return one over these powers of n, kept for the next call."""
    with torch.inference_mode(False), torch.no_grad():
        return torch.pow(float(n), -torch.tensor(exponents, dtype=torch.float64)).to(device, dtype)


def _column(factor: Tensor, weight: Tensor) -> Tensor:
    return factor.view(-1, *(1,) * (weight.dim() - 1))


def _combined(rows: Tensor, weight: Tensor) -> Tensor:  # (P, D), (P, ...) -> (D, ...)
    return (rows.to(weight.dtype).mT @ weight.flatten(1)).unflatten(1, weight.shape[1:])
