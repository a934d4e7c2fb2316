"""What a run keeps: history, the best model, the checkpoint to continue from; and when it ends."""

from __future__ import annotations

import csv
import io
import math
import signal
import time
from pathlib import Path
from typing import Any

import torch

from geomlib.files import write_atomic
from geomlib.interop.checkpoint import save_model
from geomlib.train._lightning import pl
from geomlib.train.checkpoint_io import random_state, restore_random_state
from geomlib.train.interrupt import StopRequest, TrainingDiverged, TrainingInterrupted

__all__ = ["BEST", "HISTORY", "LAST", "RunKeeper"]

BEST, LAST, HISTORY = "model.safetensors", "last.safetensors", "metrics.csv"


class RunKeeper(pl.Callback):
    """Writes the history (CSV), the best model and a checkpoint; stops early, on time, or when asked.

    Args:
        folder: of the run.
        about: stored with the best model.
        early_stop: epochs without a better validation loss after which to stop; None for never.
        max_seconds: wall time of training, over all parts of an interrupted run.
        save_seconds: time between checkpoints; one is always written at the end and when interrupted.
        request: signals seen, see :func:`~geomlib.train.interrupt.stop_on_signals`.
        validates: there is a validation set; without one the training loss chooses the best model.
    """

    def __init__(
        self,
        folder: Path,
        *,
        about: dict[str, Any] | None = None,
        early_stop: int | None = None,
        max_seconds: float | None = None,
        save_seconds: float = 60.0,
        request: StopRequest | None = None,
        validates: bool = True,
    ) -> None:
        self.folder, self.about = Path(folder), about or {}
        self.early_stop, self.max_seconds, self.save_seconds = early_stop, max_seconds, save_seconds
        self.request = request or StopRequest()
        self.validates = validates
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] = {"loss": math.inf, "epoch": -1}
        self.latest: dict[str, float] = {}
        self.stopped_by = "epochs"
        self._waited = 0
        self._spent = (0.0, 0.0)  # wall and CPU seconds of earlier parts
        self._began = (time.perf_counter(), time.process_time())
        self._saved = time.monotonic()
        self._random: dict[str, Any] | None = None
        self._cut = False

    # -- time

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall and CPU seconds of training so far."""
        now = (time.perf_counter(), time.process_time())
        return tuple(s + n - b for s, n, b in zip(self._spent, now, self._began, strict=True))  # type: ignore[return-value]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clock; continue the random streams of an interrupted run."""
        self._began, self._saved = (time.perf_counter(), time.process_time()), time.monotonic()
        if trainer.received_sigterm:
            self.request.signal = signal.SIGTERM
        # Lightning has put its own handler in front, which ends the run between steps without a checkpoint.
        self.request.listen()
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None

    # -- steps

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save, stop on time or on request; the end of an epoch does the same after validation."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        asked, late, due = self._flags(trainer)
        if asked or late or due:
            self._save(trainer)
        if asked:
            self._interrupt(trainer)
        if late:
            # The checkpoint just written continues in mid-epoch; what follows is only the final validation.
            self._cut, self.stopped_by, trainer.should_stop = True, "max_time", True

    def _flags(self, trainer: Any) -> list[bool]:
        asked = self.request.signal is not None
        late = self.max_seconds is not None and self.seconds[0] >= self.max_seconds
        due = time.monotonic() - self._saved >= self.save_seconds
        flags = [asked, late, due]
        if trainer.world_size > 1:  # all processes must decide alike
            common = torch.tensor(flags, dtype=torch.float32, device=trainer.strategy.root_device)
            flags = [bool(f) for f in trainer.strategy.reduce(common, reduce_op="sum")]
        return flags

    def _save(self, trainer: Any) -> None:
        trainer.save_checkpoint(self.folder / LAST)
        self._saved = time.monotonic()

    def _interrupt(self, trainer: Any) -> None:
        raise TrainingInterrupted(
            f"interrupted at step {trainer.global_step}; {self.folder / LAST} is written. "
            f"Continue with: geomlib train --resume {self.folder}"
        )

    # -- epochs

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Record the epoch, keep the best model, save, and decide whether to go on."""
        train, val = module.train_metrics(), module.val_metrics()
        module.train_sums = module.val_sums = None
        score = val.get("loss", train.get("loss", math.nan))
        self._require_finite(train.get("loss", 0.0), score, trainer)
        wall, cpu = self.seconds
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "lr": rate}
        row |= {f"train_{k}": v for k, v in train.items()} | {f"val_{k}": v for k, v in val.items()}
        row |= {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
        self.history.append(row)
        self.latest = row
        ends = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        if val or not self.validates or (ends and self.best["epoch"] < 0):
            self._judge(trainer, module, score, row)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k not in ("epoch", "step")}, step=row["step"])
        if trainer.is_global_zero:
            self.write_history()
        self._finish_epoch(trainer)

    def _judge(self, trainer: Any, module: Any, score: float, row: dict[str, float]) -> None:
        if not self._cut:
            module.schedule.report(score)
        if score < self.best["loss"]:
            self.best = {"loss": score, **row}
            self._waited = 0
            if trainer.is_global_zero:
                with module.evaluation_weights():
                    save_model(module.model, self.folder / BEST, about={**self.about, "best": self.best})
            return
        self._waited += 1
        if self.early_stop is not None and self._waited >= self.early_stop:
            self.stopped_by, trainer.should_stop = "early_stop", True

    def _finish_epoch(self, trainer: Any) -> None:
        if self._cut:
            return
        asked, late, due = self._flags(trainer)
        final = trainer.current_epoch + 1 >= trainer.max_epochs
        if late and not final:
            self.stopped_by, trainer.should_stop = "max_time", True
        if asked or due or final or trainer.should_stop:
            self._save(trainer)
        if asked and not (final or trainer.should_stop):
            self._interrupt(trainer)

    def _require_finite(self, train_loss: float, score: float, trainer: Any) -> None:
        if not (math.isfinite(train_loss) and math.isfinite(score)):
            raise TrainingDiverged(
                f"the loss is not finite in epoch {trainer.current_epoch + 1} (train {train_loss}, "
                f"validation {score}). Lower --lr, filter labels with --max_force, or check the data. "
                f"The best model so far and the last checkpoint are in {self.folder}."
            )

    # -- files and state

    def write_history(self) -> None:
        """Write the history as CSV."""
        columns = list(dict.fromkeys(k for row in self.history for k in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_atomic(self.folder / HISTORY, [text.getvalue().encode()])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        return {
            "history": self.history,
            "best": self.best,
            "waited": self._waited,
            "spent": self.seconds,
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.history, self.best, self._waited = state["history"], state["best"], state["waited"]
        self.latest = self.history[-1] if self.history else {}
        self._spent, self._random = tuple(state["spent"]), state["random"]
