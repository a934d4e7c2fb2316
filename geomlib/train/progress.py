"""Progress of a run: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from geomlib.train._lightning import Tqdm, TQDMProgressBar, pl
from geomlib.train.keeper import RunKeeper

__all__ = ["EpochLines", "RunBar", "describe"]

_SECONDS = 0.25


def describe(train: dict[str, float], val: dict[str, float]) -> str:
    """Return the errors in words.

    >>> describe({"F_mae": 12.34}, {"E_mae": 3.2, "F_mae": 15.0})
    'train F 12.3 | val E 3.2 meV, F 15.0 meV/Å'
    >>> describe({"loss": 0.5, "mse": 0.5}, {"loss": 0.25, "mse": 0.25})
    'train mse 0.5 | val mse 0.25'
    """

    def part(name: str, errors: dict[str, float], units: bool) -> str:
        words = []
        for letter, unit in (("E", " meV"), ("F", " meV/Å"), ("S", " meV/Å³")):
            if f"{letter}_mae" in errors:
                words.append(
                    f"{letter} {errors[f'{letter}_mae']:.3g}"
                    if errors[f"{letter}_mae"] >= 1000
                    else f"{letter} {errors[f'{letter}_mae']:.1f}"
                )
                words[-1] += unit if units else ""
        # Generated problems have scores of their own; "loss" repeats the first.
        words = words or [f"{k} {v:.4g}" for k, v in errors.items() if k != "loss"]
        return f"{name} {', '.join(words)}" if words else ""

    return " | ".join(p for p in (part("train", train, not val), part("val", val, True)) if p)


def _pick(row: dict[str, float], prefix: str) -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}


class RunBar(TQDMProgressBar):
    """Lightning's bar over all steps of the run, so that its estimate is that of the run.

    The errors are read from the device at most four times a second.

    Args:
        keeper: holds the errors of finished epochs.
    """

    def __init__(self, keeper: RunKeeper) -> None:
        super().__init__(refresh_rate=1)
        self.keeper = keeper
        self._shown = 0.0

    def init_validation_tqdm(self) -> Tqdm:
        """Return a silent bar: validation is short."""
        return Tqdm(disable=True)

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Open the bar."""
        super().on_train_start()
        bar = self.train_progress_bar
        bar.reset(trainer.num_training_batches * trainer.max_epochs)
        bar.initial = bar.n = trainer.global_step

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        """Show the epoch."""
        self.train_progress_bar.set_description(
            f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False
        )

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the bar, if the last time is long enough ago."""
        now = time.monotonic()
        if now - self._shown >= _SECONDS and trainer.world_size == 1:
            self._show(trainer, module.train_metrics(), now)
        elif now - self._shown >= _SECONDS:
            self._show(trainer, {}, now)

    def _show(self, trainer: Any, train: dict[str, float], now: float) -> None:
        bar = self.train_progress_bar
        bar.n, self._shown = trainer.global_step, now
        bar.set_postfix_str(describe(train, _pick(self.keeper.latest, "val_")), refresh=True)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Show the errors of the epoch."""
        self._show(trainer, _pick(self.keeper.latest, "train_"), time.monotonic())

    def on_validation_end(self, *_: Any) -> None:
        """Leave the bar as it is."""
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()


class EpochLines(pl.Callback):
    """Prints about twenty lines over a run, for files and pipes.

    Args:
        keeper: holds the errors of finished epochs.
    """

    def __init__(self, keeper: RunKeeper) -> None:
        self.keeper = keeper

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Print a line now and then."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        if trainer.is_global_zero and (
            epoch % max(1, epochs // 20) == 0 or epoch in (1, epochs) or trainer.should_stop
        ):
            row = self.keeper.latest
            errors = describe(_pick(row, "train_"), _pick(row, "val_"))
            print(f"epoch {epoch}/{epochs}  {errors}  ({row['wall_s']:.0f} s)", file=sys.stdout, flush=True)
