"""All tuples of points, or those of a point with its neighbours: members, and sums over tuples with weights."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Fold", "Tuples", "fold_of"]


class Tuples:
    """Tuples of ``rank`` points: every point first, then all points, or the neighbours of the first.

    A tensor over tuples has ``rank`` axes for them: N and then N, or the number k of neighbours, of every other member.

    Args:
        rank: members of a tuple.
        table: neighbours of every point, (..., N, k), -1 where there are fewer; None for all points.
    """

    def __init__(self, rank: int, table: Tensor | None = None) -> None:
        self.rank = rank
        self.present = None if table is None or rank == 1 else table >= 0
        self.table = None if table is None or rank == 1 else table.clamp(min=0)

    def members(self, x: Tensor) -> list[Tensor]:  # (..., N, F) -> rank x (..., N or 1, k or 1, ..., F)
        """Return the values of every member, to be broadcast."""
        first = self._placed(x, 0)
        if self.rank == 1:
            return [first]
        near = x
        if self.table is not None:
            flat = self.table.flatten(-2)[..., None]
            if flat.dim() < x.dim():
                flat = flat.expand(*x.shape[:-2], *flat.shape[-2:])
            near = torch.take_along_dim(x, flat, -2).unflatten(-2, self.table.shape[-2:])
        return [first, *(self._placed(near, a) for a in range(1, self.rank))]

    def kept(self, mask: Tensor | None) -> Tensor | None:  # (..., N) -> tuples
        """Return which tuples have no masked or missing member; None if all."""
        if mask is None and self.present is None:
            return None
        if mask is None:
            mask = torch.ones_like(self.present[..., 0])  # pyright: ignore[reportOptionalSubscript]
        parts = [m[..., 0] for m in self.members(mask[..., None])]
        if self.present is not None:
            parts += [self._placed(self.present[..., None], a)[..., 0] for a in range(1, self.rank)]
        found = parts[0]
        for part in parts[1:]:
            found = found & part
        return found

    def _placed(self, x: Tensor, axis: int) -> Tensor:
        """Move the axis of points to its place among the axes of the tuple; neighbours keep theirs in front."""
        before, after = axis, self.rank - 1 - axis
        near = axis > 0 and self.table is not None
        for _ in range(before - near):
            x = x.unsqueeze(-3)
        for _ in range(after):
            x = x.unsqueeze(-2)
        return x

    def softmax(self, scores: Tensor, kept: Tensor | None, everything: bool) -> Tensor:
        """Return weights that add up to one over all tuples, or over those with the same first member.

        Tuples that are not kept weigh nothing; where none is, so do all.
        """
        axes = self.rank if everything else self.rank - 1
        if kept is not None:
            scores = scores.masked_fill(~kept, -1e9)
        if axes == 0:
            weights = torch.ones_like(scores)
        else:
            weights = scores.flatten(-axes).softmax(-1).unflatten(-1, scores.shape[-axes:])
        return weights if kept is None else weights.masked_fill(~kept, 0.0)

    def add(self, weights: Tensor, values: Tensor, everything: bool) -> Tensor:  # (tuples), (tuples, F)
        """Return the weighted sums, (..., F) or (..., N, F)."""
        axes = self.rank if everything else self.rank - 1
        if axes == 0:
            return weights[..., None] * values
        return (weights.flatten(-axes).unsqueeze(-2) @ values.flatten(-1 - axes, -2)).squeeze(-2)


class Fold:
    """Representatives of tuples that a symmetric function does not tell apart.

    Args:
        n: points.
        rank: 2, where the order does not matter, or 3, where rotating the tuple does not.
        device: of the indices.
    """

    def __init__(self, n: int, rank: int, device: torch.device) -> None:
        points = torch.arange(n, device=device)
        grid = torch.meshgrid(*[points] * rank, indexing="ij")
        number = torch.zeros_like(grid[0])
        for member in grid:
            number = number * n + member
        turns = [tuple((a + t) % rank for a in range(rank)) for t in range(rank)]
        smallest = torch.stack([number.permute(turn) for turn in turns]).amin(0).flatten()
        chosen, self.place = torch.unique(smallest, return_inverse=True)
        self.indices = [grid[a].flatten()[chosen] for a in range(rank)]
        self.shape = (n,) * rank

    def members(self, x: Tensor) -> list[Tensor]:  # (..., N, F) -> rank x (..., chosen, F)
        """Return the values of every member of the representatives."""
        return [x.index_select(-2, index) for index in self.indices]

    def spread(self, x: Tensor) -> Tensor:  # (..., chosen, F) -> (..., N, ..., N, F)
        """Return the values of all tuples."""
        return x.index_select(-2, self.place).unflatten(-2, self.shape)


@lru_cache(maxsize=8)
def fold_of(n: int, rank: int, device: torch.device) -> Fold:
    """Return the representatives; the last few are kept, also for training if they were first asked for in inference."""
    with torch.inference_mode(False):
        return Fold(n, rank, device)
