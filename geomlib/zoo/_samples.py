"""Samples of one size, batch first: their checks, and the graph that joins all points of each."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["check_samples", "complete_graph"]


def check_samples(model: str, name: str, value: Tensor, shape: tuple[int | None, ...], like: Tensor) -> None:
    """Check the axes after the first, and the type.

    Raises:
        InvalidInput: another shape or type than the model takes.
    """
    found = tuple(value.shape)
    if len(found) != len(shape) or any(w not in (None, f) for w, f in zip(shape[1:], found[1:], strict=True)):
        wanted = ", ".join("any" if w is None else str(w) for w in ("samples", *shape[1:]))
        raise InvalidInput(f"{model}: `{name}` has shape {found}, expected ({wanted}).")
    if value.dtype != like.dtype:
        raise InvalidInput(
            f"{model}: `{name}` is {value.dtype} and the weights are {like.dtype}. Cast one of them: "
            f"model.to({value.dtype}) or {name}.to({like.dtype})."
        )


def complete_graph(samples: int, points: int, device: torch.device) -> Tensor:  # (2, samples n (n - 1))
    """Return all ordered pairs of different points of every sample, sorted by row 0; points are numbered through.

    >>> complete_graph(2, 2, torch.device("cpu"))
    tensor([[0, 1, 2, 3],
            [1, 0, 3, 2]])
    """
    node = torch.arange(points, device=device)
    step = torch.arange(1, points, device=device)
    other = (node[:, None] + step) % points if points > 1 else node.new_zeros(points, 0)
    start = torch.arange(samples, device=device)[:, None, None] * points
    pairs = torch.stack([node[:, None].expand_as(other), other])  # (2, n, n - 1)
    return (pairs[:, None] + start).flatten(1)
