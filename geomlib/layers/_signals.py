"""Irreps features read as signals on the sphere, one per channel.

A signal of parity s has the irreps :math:`(l, s(-1)^l)`: true signals (s = 1) those of spherical harmonics, pseudo-signals
the others. The product of two signals has the product of their parities, their Poisson bracket minus that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.errors import InvalidInput

__all__ = ["Signal", "channels_of", "join", "part", "signals_of"]


@dataclass(frozen=True)
class Signal:
    """The blocks of some irreps that form one signal.

    Args:
        parity: 1 for a true signal, -1 for a pseudo-signal.
        degrees: of its blocks, in their order.
        blocks: their places among the irreps.
    """

    parity: int
    degrees: tuple[int, ...]
    blocks: tuple[int, ...]


def channels_of(layer: str, **irreps: Irreps) -> int:
    """Return the common multiplicity.

    Raises:
        InvalidInput: multiplicities differ, or there are none.
    """
    found = {b.mul for r in irreps.values() for b in r}
    if len(found) != 1 or 0 in found:
        named = ", ".join(f"{name} = {r}" for name, r in irreps.items())
        raise InvalidInput(
            f"{layer}: channels are multiplied one by one, so all multiplicities must be the same positive number; got "
            f"{named}. A geomlib.layers.Linear in front gives every degree as many channels."
        )
    return found.pop()


def signals_of(layer: str, name: str, irreps: Irreps) -> tuple[Signal, ...]:
    """Return the true signal and the pseudo-signal that irreps hold, those that are not empty.

    Raises:
        InvalidInput: an irrep occurs in two blocks.
    """
    if len({b.ir for b in irreps}) != len(irreps):
        raise InvalidInput(
            f"{layer}: {name} = {irreps} has an irrep in two blocks; join them: {irreps.sorted().simplify()}."
        )
    signals: list[Signal] = []
    for parity in (1, -1):
        places = tuple(k for k, b in enumerate(irreps) if b.ir.p == parity * (-1) ** b.ir.l)
        if places:
            signals.append(Signal(parity, tuple(irreps[k].ir.l for k in places), places))
    return tuple(signals)


def part(x: Tensor, irreps: Irreps, signal: Signal) -> Tensor:  # (B, dim) -> (B, dim of the signal)
    """Return the columns of a signal; all of them, uncopied, where there is no other."""
    if len(signal.blocks) == len(irreps):
        return x
    cut = irreps.slices()
    return torch.cat([x[:, cut[k]] for k in signal.blocks], dim=1)


def join(parts: Sequence[tuple[Signal, Tensor]], irreps: Irreps, like: Tensor) -> Tensor:
    """Return features from signals that were computed; blocks of no signal are zero."""
    if len(parts) == 1 and len(parts[0][0].blocks) == len(irreps):
        return parts[0][1]
    found: dict[int, Tensor] = {}
    for signal, z in parts:
        sizes = [irreps[k].dim for k in signal.blocks]
        for k, block in zip(signal.blocks, z.split(sizes, dim=1), strict=True):
            found[k] = block
    columns = [found[k] if k in found else like.new_zeros(like.shape[0], b.dim) for k, b in enumerate(irreps)]
    return torch.cat(columns, dim=1) if columns else like.new_zeros(like.shape[0], 0)
