"""The training step of a potential."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from geomlib.train.batching import Batch
from geomlib.train.captured import CapturedLoss
from geomlib.train.losses import SUMS, LossWeights, check_labels, metrics_from_sums, training_loss
from geomlib.train.run_module import RunModule
from geomlib.train.schedule import Schedule
from geomlib.zoo.potential import Potential

__all__ = ["PotentialModule"]


class PotentialModule(RunModule):
    """Trains a model on energies, forces and stress.

    Args:
        model: called as ``model(**batch.inputs(), forces=..., stress=...)`` and returning a dict.
        weights: of the loss.
        schedule: of the learning rate.
        weight_decay: of the optimiser.
        optimizer: "adamw" or "adam", see :class:`~geomlib.train.run_module.RunModule`.
        ema_decay: decay of the weight average, None for none.
        replay: record steps and replay them where the model and the device allow it.
    """

    num_sums = len(SUMS)

    def __init__(
        self,
        model: nn.Module,
        weights: LossWeights | None = None,
        schedule: Schedule | None = None,
        *,
        weight_decay: float = 0.0,
        optimizer: str = "adamw",
        ema_decay: float | None = None,
        replay: bool = False,
    ) -> None:
        super().__init__(model, schedule, weight_decay=weight_decay, optimizer=optimizer, ema_decay=ema_decay)
        self.weights = weights or LossWeights()
        # Potentials switch gradients on where they need them; other models need them from here.
        self.differentiates = not isinstance(model, Potential)
        self._checked = False
        self.replay = replay
        self.captured: CapturedLoss | None = None

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Return the model's outputs for a batch."""
        return self.model(
            **batch.inputs(),
            forces=batch.forces is not None and bool(self.weights.forces or not self.training),
            stress=batch.stress is not None and bool(self.weights.stress or not self.training),
        )

    def loss_and_sums(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return loss and sums; the first batch is checked, later ones may be replayed."""
        first = not self._checked
        if first and self.replay and CapturedLoss.refusal(self.model, batch.z.device) is None:
            self.captured = CapturedLoss(cast(Potential, self.model), self.weights)
        recorded = self.captured is not None and self.captured.serves(batch)
        out = self.predict(batch) if first or not recorded else {}
        if first:
            check_labels(batch, out, self.weights)
            self._checked = True
        if recorded:  # the first step too: a resumed run repeats exactly what an uninterrupted one does
            return cast(CapturedLoss, self.captured)(batch)
        return training_loss(out, batch, self.weights)

    def metrics_of(self, sums: Tensor) -> dict[str, float]:
        """Return the errors in meV, meV/Å and meV/Å³."""
        return metrics_from_sums(sums)
