"""Training on a generated problem."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.tasks import Samples, Task
from geomlib.errors import InvalidInput
from geomlib.train.fitting import schedule_of, seed_all
from geomlib.train.packed_data import PackedData
from geomlib.train.parser import Parsed
from geomlib.train.plots import learning_curve
from geomlib.train.task_data import TaskPacker, read_task
from geomlib.train.task_evaluation import (
    baseline_scores,
    chosen_samples,
    plotted,
    predict_task,
    score_table,
    scores,
)
from geomlib.train.task_losses import MAIN_SCORE, SCORES
from geomlib.train.task_module import TaskModule
from geomlib.zoo.registry import create_model, model_class

__all__ = ["TaskJob"]


class TaskJob:
    """Data, model and loss of a run on a generated problem.

    Args:
        parsed: settings of the run.
        folder: of the run.

    Raises:
        InvalidInput: task, model or options do not exist or do not fit.
    """

    def __init__(self, parsed: Parsed, folder: Path) -> None:
        self.config = config = parsed.config
        self.task, self.sets = read_task(config)
        seed_all(config)
        options = _standardized(self.task, self.sets["train"], config.architecture, parsed.model)
        model = create_model(config.architecture, **options)
        _check_fit(model, self.task, config.architecture)
        model = model.to(getattr(torch, config.dtype))
        packers = {
            name: TaskPacker(chosen_samples(model, self.task, self.sets, name, config))
            for name in ("train", "val")
            if name in self.sets
        }
        self.data = PackedData(
            packers, batch_size=config.batch_size, eval_batch_size=config.eval_batch_size, seed=config.seed
        )
        self.module = TaskModule(
            model,
            self.task,
            schedule_of(config, len(self.sets["train"])),
            weight_decay=config.weight_decay,
            optimizer=config.optimizer,
            ema_decay=config.ema_decay,
            # Sets of our own class have one shape; a lifted set has another for every batch.
            replay=config.compile and all(isinstance(p.samples, Samples) for p in packers.values()),
        )
        self.about: dict[str, Any] = {
            "data": self.task.name,
            "data_options": dict(config.data_options),
            "seed": config.seed,
            "train_sha256": _fingerprint(self.sets["train"]),
        }
        self.baselines = baseline_scores(self.task, self.sets)
        self.description = self._describe(model, folder)

    def _describe(self, model: Any, folder: Path) -> str:
        count = sum(p.numel() for p in model.parameters())
        options = ", ".join(f"{k}={v}" for k, v in model.config.items() if k != "name")
        trivial = ", ".join(f"{name} {value:.4g}" for name, value in self.baselines.items())
        lines = [
            f"task       {self.task.name}: {self.task.title}",
            f"split      {', '.join(f'{n} {c}' for n, c in self.sizes.items())} samples, seed {self.config.split_seed}",
            f"trivial    {MAIN_SCORE[self.task.loss]} of {trivial}" if trivial else "",
            f"model      {model.config['name']}, {count:,} parameters ({options})",
            f"folder     {folder}",
        ]
        return "\n".join(line for line in lines if line)

    def write_split(self, folder: Path) -> None:
        """Write nothing: sizes, seed and options are the split, and they are in config.yaml."""

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of samples of every set."""
        return {name: len(s) for name, s in self.sets.items()}

    @property
    def extra_budget(self) -> dict[str, Any]:
        """Return what recordings have cost."""
        recorded = self.module.recorded
        count, seconds = (0, 0.0) if recorded is None else recorded.replay.cost
        return {"recordings": count, "recording_seconds": round(seconds, 2)}

    def results(self, best: torch.nn.Module) -> tuple[dict[str, Any], str]:
        """Return the scores on validation and test beside trivial predictors, and the table that is printed."""
        self.predictions: dict[str, tuple[Tensor, Tensor]] = {}
        for name in ("val", "test"):
            if name in self.sets:
                samples = chosen_samples(best, self.task, self.sets, name, self.config)
                self.predictions[name] = predict_task(
                    best, self.task, samples, batch_size=self.config.eval_batch_size
                )
        found = {name: scores(self.task, *pair) for name, pair in self.predictions.items()}
        results: dict[str, Any] = {**found, "trivial": self.baselines}
        return results, score_table(self.task, found, self.baselines) if found else ""

    def plots(self, history: list[dict[str, float]], folder: Path) -> list[Path | None]:
        """Draw the learning curve and predictions against targets."""
        panels = [(name, name.replace("_", " ")) for name in SCORES[self.task.loss]]
        drawn = [learning_curve(history, folder / "learning_curve.png", panels)]
        shown = "test" if "test" in self.predictions else "val"
        if shown in self.predictions:
            value, label = self.predictions[shown]
            drawn.append(plotted(self.task, value, label, folder))
        return drawn


def _standardized(task: Task, train: Samples, architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the model, with mean and deviation of the training target if task and model want them.

    The command line hands over every option, so one that has its default counts as not given.
    """
    known = inspect.signature(model_class(architecture)).parameters
    if not task.standardize or not {"shift", "scale"} <= set(known):
        return options
    if any(options.get(name, known[name].default) != known[name].default for name in ("shift", "scale")):
        return options
    target = train.tensors[task.target].double()
    scale = float(target.std(correction=0))
    return {**options, "shift": float(target.mean()), "scale": scale if scale > 0 else 1.0}


def _check_fit(model: torch.nn.Module, task: Task, architecture: str) -> None:
    accepted = inspect.signature(model.forward).parameters
    # a model of whatever tensors it was built for checks the names itself
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    missing = [name for name in task.inputs if name not in accepted and not anything]
    if missing and not hasattr(model, "prepare"):
        raise InvalidInput(
            f"model {architecture!r} does not take the inputs {', '.join(task.inputs)} of task {task.name!r}; "
            f"it takes {', '.join(accepted)}."
        )


def _fingerprint(samples: Samples) -> str:
    digest = hashlib.sha256()
    for name in sorted(samples.tensors):
        digest.update(name.encode())
        digest.update(samples.tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
