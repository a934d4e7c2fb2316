"""What every training run has as a Lightning module: schedule, weight average, errors summed on the device."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput
from geomlib.train._lightning import pl
from geomlib.train.ema import WeightAverage
from geomlib.train.schedule import Schedule

__all__ = ["RunModule"]

_OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


class RunModule(pl.LightningModule):
    """Trains a model; a subclass says what the loss of a batch is.

    Errors are summed on the device and read once per epoch, so a step does not wait for it. The learning rate
    is set from :class:`Schedule` before every step; averaged weights, if any, are used for validation.

    Args:
        model: what to train.
        schedule: of the learning rate.
        weight_decay: of the optimiser.
        optimizer: "adamw", which shrinks weights apart from the gradient, or "adam", which adds the decay to it (L2).
        ema_decay: decay of the weight average, None for none.
    """

    #: Numbers that :meth:`loss_and_sums` sums up.
    num_sums: int
    #: Whether the model needs gradients while it is validated.
    differentiates = False

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule | None = None,
        *,
        weight_decay: float = 0.0,
        optimizer: str = "adamw",
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.schedule = schedule or Schedule()
        if optimizer not in _OPTIMIZERS:
            raise InvalidInput(f"optimizer {optimizer!r}: expected one of {', '.join(_OPTIMIZERS)}.")
        self.weight_decay, self.optimizer = weight_decay, optimizer
        self.average = WeightAverage(model.parameters(), ema_decay) if ema_decay else None
        self.train_sums: Tensor | None = None
        self.val_sums: Tensor | None = None
        self._swapped = contextlib.ExitStack()

    # -- what a subclass says

    def loss_and_sums(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and (num_sums,) float64 numbers to be summed over batches."""
        raise NotImplementedError

    def metrics_of(self, sums: Tensor) -> dict[str, float]:
        """Return the errors, among them "loss", from the sums over batches."""
        raise NotImplementedError

    # -- steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss, sums = self.loss_and_sums(batch)
        self.train_sums = sums if self.train_sums is None else self.train_sums + sums
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add the errors of a batch."""
        with torch.set_grad_enabled(self.differentiates):
            _, sums = self.loss_and_sums(batch)
        self.val_sums = sums if self.val_sums is None else self.val_sums + sums

    # -- optimiser

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser, in its fused form where the device has one."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
        return _OPTIMIZERS[self.optimizer](
            parameters, lr=self.schedule.lr, weight_decay=self.weight_decay, fused=fused or None
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        rate = self.schedule.rate(self.trainer.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and update the weight average before any hook can save a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update()

    # -- validation with averaged weights

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Return a block inside which the model has the weights to be evaluated and kept."""
        return contextlib.nullcontext() if self.average is None else self.average.active()

    def on_validation_start(self) -> None:
        """Put averaged weights in place."""
        self.val_sums = torch.zeros(self.num_sums, dtype=torch.float64, device=self.device)
        self._swapped.enter_context(self.evaluation_weights())

    def on_validation_end(self) -> None:
        """Put the trained weights back."""
        self._swapped.close()

    # -- errors

    def _read(self, sums: Tensor | None) -> dict[str, float]:
        return {} if sums is None else self.metrics_of(self._all(sums))

    def _all(self, sums: Tensor) -> Tensor:
        """Return the sums over all processes."""
        return (
            self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")
            if self.trainer.world_size > 1
            else sums
        )

    def train_metrics(self) -> dict[str, float]:
        """Return the errors over the epoch so far."""
        return self._read(self.train_sums)

    def val_metrics(self) -> dict[str, float]:
        """Return the errors of the last validation."""
        return self._read(self.val_sums)

    # -- checkpoint

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the loop does not know."""
        checkpoint["geomlib"] = {
            "train_sums": None if self.train_sums is None else self._all(self.train_sums),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        state = checkpoint["geomlib"]
        sums = state["train_sums"]
        # The file holds the sum over all processes: one of them goes on from it.
        self.train_sums = sums.to(self.device) if sums is not None and self.trainer.is_global_zero else None
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
