"""Diagrams applied to an outer product that is never written."""

from __future__ import annotations

import string
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import Diagram
from geomlib.kernels.diagrams import Plan, tensor_map
from geomlib.layers._diagram_maps import part_of

__all__ = ["OuterMap"]

#: Diagrams whose lower row is a contraction by itself; an epsilon or a sign ties it to the upper row.
_CONTRACTED = ("partition", "brauer", "symplectic")


@dataclass(frozen=True, eq=False)
class _Stage:
    """All diagrams with c blocks that cross: contractions to order c, maps of order c to l, and where the weights are."""

    plan: Plan
    contractions: tuple[
        tuple[str, tuple[int, ...]], ...
    ]  # einsum without batch and channels, legs lowered by the form
    table: tuple[tuple[int, ...], ...]  # (upper, lower) -> number of the diagram, -1 for none

    def __deepcopy__(self, memo: object) -> _Stage:
        return self  # a constant


def _stages(plan: Plan, k1: int) -> tuple[_Stage, ...]:
    by_count: dict[int, list[int]] = {}
    for number, d in enumerate(plan.diagrams):
        by_count.setdefault(d.waist.crossing, []).append(number)
    return tuple(_stage(plan, k1, c, members) for c, members in sorted(by_count.items()))


def _stage(plan: Plan, k1: int, c: int, members: list[int]) -> _Stage:
    lower: dict[tuple[object, ...], int] = {}
    upper: dict[Diagram, int] = {}
    contractions: list[tuple[str, tuple[int, ...]]] = []
    where: dict[tuple[int, int], int] = {}
    for number in members:
        d = plan.diagrams[number]
        top = _upper(d, c)
        key = d.waist.bottom
        if key not in lower:
            lower[key] = len(lower)
            contractions.append(_contraction(d, k1))
        upper.setdefault(top, len(upper))
        where[upper[top], lower[key]] = number
    table = tuple(tuple(where.get((u, t), -1) for t in range(len(lower))) for u in range(len(upper)))
    return _Stage(part_of(plan, plan.l, c, list(upper)), tuple(contractions), table)


def _upper(d: Diagram, c: int) -> Diagram:
    """Return the diagram of order c to l whose i-th input is the i-th block of the lower row that crosses."""
    cross, top, _ = d.cut()
    below = sorted(tuple(leg for leg in block if leg >= d.l) for block in cross)
    joined = [
        (
            *(leg for leg in block if leg < d.l),
            d.l + below.index(tuple(leg for leg in block if leg >= d.l)),
        )
        for block in cross
    ]
    return Diagram([*joined, *top], c, d.l, d.kind)


def _contraction(d: Diagram, k1: int) -> tuple[str, tuple[int, ...]]:
    """Return how the legs of both factors are contracted, as ``"ij,jk->ik"``, and the legs that the form lowers."""
    cross, _, bottom = d.cut()
    letters = [""] * d.k
    below = sorted(tuple(leg - d.l for leg in block if leg >= d.l) for block in cross)
    closed = [tuple(leg - d.l for leg in block) for block in bottom]
    for letter, block in zip(string.ascii_lowercase, below + closed, strict=False):
        for leg in block:
            letters[leg] = letter
    out = "".join(letters[block[0]] for block in below)
    lowered = tuple(block[0] for block in closed) if d.kind != "partition" else ()
    return f"{''.join(letters[:k1])},{''.join(letters[k1:])}->{out}", lowered


class OuterMap(nn.Module):
    r"""Return :math:`\sum_d (W_d \otimes M_d)(x_c \otimes y_c)`, channel by channel of x and y.

    Every lower row of the diagrams is one contraction of x with y. The outer product is written only where a diagram with an
    epsilon or a sign, or an orbit, needs it. Nothing is learned here.

    Args:
        plan: of maps whose inputs are the axes of x, then those of y.
        k1: number of axes of x.
        backend: of the multiplication.
    """

    def __init__(self, plan: Plan, k1: int, backend: str) -> None:
        super().__init__()
        self.plan, self.backend = plan, backend
        contracted = all(isinstance(d, Diagram) and d.kind in _CONTRACTED for d in plan.diagrams)
        self.stages = _stages(plan, k1) if contracted else None
        for i, stage in enumerate(self.stages or ()):
            self.register_buffer(f"table_{i}", torch.tensor(stage.table, dtype=torch.long), persistent=False)

    def forward(
        self,
        x: Tensor,  # (B, C, n, ..., n)
        y: Tensor,  # (B, C, n, ..., n)
        weights: Tensor,  # (D, C_out, C)
        form: Tensor | None,  # (n, n)
        n: int,
    ) -> Tensor:  # (B, C_out, n, ..., n)
        """Return the map of the outer product.

        Args:
            x: first factor.
            y: second factor, likewise.
            weights: of the diagrams.
            form: that the group keeps, on inputs; None for the dot product.
            n: length of an axis.
        """
        if self.stages is None:
            shape = (*x.shape, *y.shape[2:])
            outer = (x.flatten(2)[..., :, None] * y.flatten(2)[..., None, :]).reshape(shape)
            return tensor_map(outer, weights, self.plan, n=n, backend=self.backend)
        padded = torch.cat([weights, weights.new_zeros(1, *weights.shape[1:])])  # -1 is zero
        parts: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            rows = [_contract(x, y, spec, legs, form) for spec, legs in stage.contractions]
            z = torch.stack(rows, dim=1).flatten(1, 2)  # (B, lower C, n, ..., n)
            w = padded[self.get_buffer(f"table_{i}")].transpose(1, 2).flatten(2)  # (upper, C_out, lower C)
            parts.append(tensor_map(z, w, stage.plan, n=n, backend=self.backend))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def _contract(x: Tensor, y: Tensor, spec: str, legs: tuple[int, ...], form: Tensor | None) -> Tensor:
    pair = [x, y]
    if form is not None:
        for leg in legs:
            which, axis = (0, leg + 2) if leg < x.dim() - 2 else (1, leg - x.dim() + 4)
            moved = torch.movedim(pair[which], axis, -1) @ form.to(x)
            pair[which] = torch.movedim(moved, -1, axis)
    inputs, out = spec.split("->")
    first, second = inputs.split(",")
    return torch.einsum(f"YZ{first},YZ{second}->YZ{out}", pair[0], pair[1])
