"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from geomlib.errors import InvalidInput

__all__ = ["Schedule"]

KINDS = ("cosine", "plateau", "constant")


@dataclass
class Schedule:
    r"""Linear warm-up, then cosine decay, halving on plateaus, or nothing.

    .. math:: \eta_t = \eta\,\min\left(1, \tfrac{t+1}{w}\right) \cdot
              \begin{cases}\tfrac12\left(1 + \cos\pi\tfrac{t-w}{T-w}\right) & \text{cosine}\\
              f^{k} & \text{plateau}\end{cases}

    but never below ``lr * floor`` after the warm-up. On a plateau the factor f is applied after `patience`
    epochs without a better validation loss.

    Args:
        kind: "cosine", "plateau" or "constant".
        lr: the highest learning rate η.
        warmup: steps w of the warm-up.
        total: steps T of the whole run (cosine).
        floor: smallest learning rate as a fraction of `lr`.
        patience: epochs without improvement (plateau).
        factor: f (plateau).

    Example:
        >>> s = Schedule("cosine", lr=1.0, warmup=2, total=12)
        >>> [round(s.rate(t), 3) for t in (0, 1, 2, 7, 12)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    kind: str = "cosine"
    lr: float = 1e-3
    warmup: int = 0
    total: int = 1
    floor: float = 0.0
    patience: int = 10
    factor: float = 0.5
    _best: float = field(default=math.inf, init=False)
    _waited: int = field(default=0, init=False)
    _reduction: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"schedule {self.kind!r} is unknown, expected one of {', '.join(KINDS)}.")
        if not self.lr > 0 or not math.isfinite(self.lr):
            raise InvalidInput(f"lr = {self.lr}, expected a positive number.")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup * self._reduction
        if self.kind == "cosine":
            done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
            return self.lr * max(self.floor, 0.5 * (1 + math.cos(math.pi * done)))
        return self.lr * max(self.floor, self._reduction)

    def report(self, loss: float) -> None:
        """Tell the validation loss of an epoch."""
        if self.kind != "plateau":
            return
        if loss < self._best:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._reduction, self._waited = self._reduction * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what `report` has changed."""
        return {"best": self._best, "waited": self._waited, "reduction": self._reduction}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._best, self._waited, self._reduction = state["best"], state["waited"], state["reduction"]
