"""Losses and scores of generated problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from geomlib.datasets.ranking import HITS, filtered_ranks
from geomlib.errors import InvalidInput

__all__ = ["MAIN_SCORE", "SCORES", "check_prediction", "choosing_loss", "scores_of", "task_loss", "task_sums"]

_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda value, label: (value - label).square().mean(),
    "mae": lambda value, label: (value - label).abs().mean(),
    "ade": lambda value, label: torch.linalg.vector_norm(value - label, dim=-1).mean(),
    "cross_entropy": lambda value, label: functional.cross_entropy(value, label),
    "accuracy": lambda value, label: (value.argmax(-1) == label).to(value.dtype).mean(),
    "ranking": lambda value, label: functional.cross_entropy(
        value, label[:, 0] if label.ndim == 2 else label
    ),
}
#: For each loss the scores that are reported, the loss itself first.
SCORES: dict[str, tuple[str, ...]] = {
    "mse": ("mse", "mae"),
    "mae": ("mae", "mse"),
    "ade": ("ade", "mse"),
    "cross_entropy": ("cross_entropy", "accuracy"),
    "ranking": ("cross_entropy", "mrr", *(f"hits@{k}" for k in HITS)),
}

#: The score that is compared with trivial predictors.
MAIN_SCORE = {loss: names[0] for loss, names in SCORES.items()} | {
    "cross_entropy": "accuracy",
    "ranking": "mrr",
}


def check_prediction(loss: str, value: Tensor, label: Tensor) -> None:
    """Check that prediction and label fit: nothing may broadcast.

    Raises:
        InvalidInput: the shapes differ; for classes, other than logits (B, K) and numbers (B,).
    """
    classes = loss in ("cross_entropy", "ranking")
    rows = label.shape[:1] if loss == "ranking" else label.shape
    good = value.ndim == 2 and value.shape[:1] == rows if classes else value.shape == label.shape
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
        label: targets, of the same shape; class numbers (B,) for logits (B, K); for ``"ranking"`` also (B, 1 + J): the
            answer asked for, and other known ones, which the loss does not read.

    >>> float(task_loss("ade", torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)))
    5.0
    """
    return _SCORES[loss](value, label)


def task_sums(loss: str, value: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, and the number of samples and every score times it, (1 + scores,) float64."""
    batch = value.shape[0]
    first = task_loss(loss, value, label)
    with torch.no_grad():
        if loss == "ranking":
            rest = _ranking(value, label)
        else:
            rest = [_SCORES[name](value, label) for name in SCORES[loss][1:]]
        sums = torch.stack([first.detach(), *rest]).double() * batch
    return first, torch.cat([sums.new_full((1,), batch), sums])


def _ranking(value: Tensor, label: Tensor) -> list[Tensor]:
    """Return the mean reciprocal rank and hits; NaN without known answers, as in training, where none are left out."""
    if label.ndim == 1:
        return [value.new_full((), float("nan"))] * (len(SCORES["ranking"]) - 1)
    ranks = filtered_ranks(value, label[:, 0], label[:, 1:])
    return [x.mean().to(value.dtype) for x in (1.0 / ranks, *((ranks <= k).double() for k in HITS))]


def scores_of(loss: str, sums: Tensor) -> dict[str, float]:
    """Return the scores from summed :func:`task_sums`; those that were not measured (NaN in a ranking) are left out.

    >>> scores_of("mse", torch.tensor([4.0, 2.0, 1.0]))
    {'mse': 0.5, 'mae': 0.25}
    """
    count, *totals = sums.tolist()
    found = {name: total / count for name, total in zip(SCORES[loss], totals, strict=True)} if count else {}
    first = SCORES[loss][0]
    return {k: v for k, v in found.items() if loss != "ranking" or k == first or not math.isnan(v)}


def choosing_loss(loss: str, scores: Mapping[str, float]) -> float:
    """Return what the best model has least of: the loss, or 1 - MRR where ranks are known.

    >>> choosing_loss("mse", {"mse": 0.5}), choosing_loss("ranking", {"cross_entropy": 2.0, "mrr": 0.75})
    (0.5, 0.25)
    """
    return 1.0 - scores["mrr"] if loss == "ranking" and "mrr" in scores else scores[SCORES[loss][0]]
