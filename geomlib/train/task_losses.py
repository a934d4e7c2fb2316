"""Losses and scores of generated problems."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from geomlib.errors import InvalidInput

__all__ = ["MAIN_SCORE", "SCORES", "check_prediction", "scores_of", "task_loss", "task_sums"]

_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda value, label: (value - label).square().mean(),
    "mae": lambda value, label: (value - label).abs().mean(),
    "ade": lambda value, label: torch.linalg.vector_norm(value - label, dim=-1).mean(),
    "cross_entropy": lambda value, label: functional.cross_entropy(value, label),
    "accuracy": lambda value, label: (value.argmax(-1) == label).to(value.dtype).mean(),
}
#: For each loss the scores that are reported, the loss itself first.
SCORES: dict[str, tuple[str, ...]] = {
    "mse": ("mse", "mae"),
    "mae": ("mae", "mse"),
    "ade": ("ade", "mse"),
    "cross_entropy": ("cross_entropy", "accuracy"),
}

#: The score that is compared with trivial predictors.
MAIN_SCORE = {loss: names[0] for loss, names in SCORES.items()} | {"cross_entropy": "accuracy"}


def check_prediction(loss: str, value: Tensor, label: Tensor) -> None:
    """Check that prediction and label fit: nothing may broadcast.

    Raises:
        InvalidInput: the shapes differ; for classes, other than logits (B, K) and numbers (B,).
    """
    classes = loss == "cross_entropy"
    good = value.ndim == 2 and value.shape[:1] == label.shape if classes else value.shape == label.shape
    if not good:
        wanted = (
            f"logits ({label.shape[0]}, classes)"
            if classes
            else f"the shape {tuple(label.shape)} of the target"
        )
        raise InvalidInput(f"the model returns shape {tuple(value.shape)}, expected {wanted}.")


def task_loss(loss: str, value: Tensor, label: Tensor) -> Tensor:
    """Return the loss of a batch.

    Args:
        loss: one of :data:`~geomlib.datasets.tasks.LOSSES`.
        value: predictions.
        label: targets, of the same shape; class numbers (B,) for logits (B, K).

    >>> float(task_loss("ade", torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)))
    5.0
    """
    return _SCORES[loss](value, label)


def task_sums(loss: str, value: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, and the number of samples and every score times it, (1 + scores,) float64."""
    batch = value.shape[0]
    first = task_loss(loss, value, label)
    with torch.no_grad():
        rest = [_SCORES[name](value, label) for name in SCORES[loss][1:]]
        sums = torch.stack([first.detach(), *rest]).double() * batch
    return first, torch.cat([sums.new_full((1,), batch), sums])


def scores_of(loss: str, sums: Tensor) -> dict[str, float]:
    """Return the scores from summed :func:`task_sums`.

    >>> scores_of("mse", torch.tensor([4.0, 2.0, 1.0]))
    {'mse': 0.5, 'mae': 0.25}
    """
    count, *totals = sums.tolist()
    return {name: total / count for name, total in zip(SCORES[loss], totals, strict=True)} if count else {}
