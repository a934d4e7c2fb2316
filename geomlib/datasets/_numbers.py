"""Sizes at the door of a generator, and scores that several problems share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["at_least_one", "mean_baseline"]


def at_least_one(task: str, **sizes: int) -> None:
    """Raise unless all sizes are whole numbers from 1.

    Raises:
        InvalidInput: naming the first that is not.
    """
    for name, size in sizes.items():
        if int(size) != size or size < 1:
            raise InvalidInput(f"{task}: {name}={size}, expected a whole number, 1 or more.")


def mean_baseline(
    target: str,
) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, float]]:
    """Return the function that scores the mean of the training targets by its mean square error."""

    def score(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
        return {"mean": float((test[target] - train[target].mean(0)).square().mean())}

    return score
