"""Moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""Exponential moving average of parameters, :math:`\bar w \leftarrow d\,\bar w + (1-d)\,w`.

    Early steps use :math:`d_t = \min(d, (1 + t) / (10 + t))`, so the start is forgotten.

    Args:
        parameters: what to average.
        decay: d.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> average = WeightAverage(layer.parameters(), 0.9)
        >>> average.update()
    """

    def __init__(self, parameters: Any, decay: float) -> None:
        if not 0 < decay < 1:
            raise InvalidInput(f"ema_decay = {decay}, expected a number between 0 and 1.")
        self.parameters: list[nn.Parameter] = list(parameters)
        self.decay, self.steps = decay, 0
        self.values: list[Tensor] = [p.detach().clone() for p in self.parameters]
        self._active = False

    @torch.no_grad()
    def update(self) -> None:
        """Take the current weights into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self.values, [p.data for p in self.parameters], 1 - decay)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Put the averaged weights in place inside the block; blocks may be nested."""
        if self._active:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for i, parameter in enumerate(self.parameters):
            mine = self.values[i].clone()
            self.values[i].copy_(parameter.detach())
            parameter.detach().copy_(mine)  # in place: recordings read this memory
        self._active = not self._active

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates."""
        values = [p.data for p in self.parameters] if self._active else self.values
        return {"steps": self.steps, "values": [v.clone() for v in values]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.steps = int(state["steps"])
        for mine, value in zip(self.values, state["values"], strict=True):
            mine.copy_(value)
