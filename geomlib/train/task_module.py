"""The training step of a generated problem."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from geomlib.datasets.tasks import Task
from geomlib.kernels.capture import CaptureError
from geomlib.train.recorded_step import RecordedStep
from geomlib.train.run_module import RunModule
from geomlib.train.schedule import Schedule
from geomlib.train.task_losses import SCORES, check_prediction, choosing_loss, scores_of, task_sums

__all__ = ["TaskModule"]


class TaskModule(RunModule):
    """Trains a model to predict the target of a task.

    Args:
        model: called with the task's inputs (and what its ``prepare`` added) as keyword arguments.
        task: names the target and the loss.
        schedule: of the learning rate.
        weight_decay: of the optimiser.
        optimizer: "adamw" or "adam", see :class:`~geomlib.train.run_module.RunModule`.
        ema_decay: decay of the weight average, None for none.
        replay: record steps and replay them, where model and device allow it; for batches of few shapes.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        schedule: Schedule | None = None,
        *,
        weight_decay: float = 0.0,
        optimizer: str = "adamw",
        ema_decay: float | None = None,
        replay: bool = False,
    ) -> None:
        super().__init__(model, schedule, weight_decay=weight_decay, optimizer=optimizer, ema_decay=ema_decay)
        self.task = task
        self.num_sums = 1 + len(SCORES[task.loss])
        self._checked = False
        self.recorded = RecordedStep(model, self._evaluate) if replay else None

    def _evaluate(self, batch: dict[str, Tensor], training: bool = False) -> tuple[Tensor, Tensor]:
        label = batch[self.task.target]
        value = self.model(**{name: v for name, v in batch.items() if name != self.task.target})
        if not self._checked:
            check_prediction(self.task.loss, value, label)
            self._checked = True
        return task_sums(self.task.loss, value, label)

    def loss_and_sums(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and its scores times the number of samples."""
        if self.recorded is not None and next(iter(batch.values())).device.type == "cpu":
            try:
                return self.recorded(batch)
            except CaptureError as error:
                self.recorded = None
                warnings.warn(f"steps are not recorded: {error}", UserWarning, stacklevel=2)
        return self._evaluate(batch)

    def metrics_of(self, sums: Tensor) -> dict[str, float]:
        """Return the scores, and as the loss what chooses the best model."""
        scores = scores_of(self.task.loss, sums)
        return {"loss": choosing_loss(self.task.loss, scores), **scores} if scores else {}
