"""A training run from settings to results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch

from geomlib.datasets.tasks import list_tasks
from geomlib.files import write_atomic
from geomlib.interop.checkpoint import load_model
from geomlib.train.config import TrainConfig
from geomlib.train.fitting import RunResult, budget_of, check_settings, claim, facts_of, fit, open_folder
from geomlib.train.keeper import BEST, LAST, RunKeeper
from geomlib.train.packed_data import PackedData
from geomlib.train.parser import Parsed
from geomlib.train.restart import after_restart, is_main
from geomlib.train.run_module import RunModule
from geomlib.train.sets import run_folder
from geomlib.train.structures_job import StructuresJob
from geomlib.train.task_job import TaskJob

__all__ = ["RunResult", "train"]


class Job(Protocol):
    """Data, model and loss of a run, and how its results are told."""

    @property
    def module(self) -> RunModule: ...
    @property
    def data(self) -> PackedData: ...
    @property
    def about(self) -> dict[str, Any]: ...
    @property
    def description(self) -> str: ...
    @property
    def sizes(self) -> dict[str, int]: ...
    @property
    def extra_budget(self) -> dict[str, Any]: ...

    def write_split(self, folder: Path) -> None: ...
    def results(self, best: torch.nn.Module) -> tuple[dict[str, Any], str]: ...
    def plots(self, history: list[dict[str, float]], folder: Path) -> list[Path | None]: ...


def train(settings: TrainConfig | Parsed, model: dict[str, Any] | None = None) -> RunResult | None:
    """Train a model, evaluate the best weights on the test set, and write everything into the run's folder.

    The run draws from torch's, numpy's and Python's global generators, which it seeds.

    Args:
        settings: of the run; `data` is a file or name of structures, or a generated problem
            (:func:`~geomlib.datasets.tasks.list_tasks`).
        model: options of the architecture.

    Returns:
        The result; None in the helper processes of a distributed run.

    Raises:
        InvalidInput: settings or data are wrong.
        TrainingInterrupted: the run was asked to stop; it can be continued.
        TrainingDiverged: the loss is not finite any more.
        CheckpointError: a file could not be written.
    """
    parsed = settings if isinstance(settings, Parsed) else Parsed(settings, dict(model or {}))
    folder = run_folder(parsed.config.out, parsed.config.data)
    check_settings(parsed.config)
    parsed = after_restart(parsed, folder, LAST)
    config, main = parsed.config, is_main()
    if main:
        claim(folder, config)
    job: Job = TaskJob(parsed, folder) if config.data in list_tasks() else StructuresJob(parsed, folder)
    # Written only now: settings that cannot be trained leave nothing behind that looks like a run.
    if main:
        open_folder(parsed, folder)
        job.write_split(folder)
        print(job.description, flush=True)
    keeper = fit(config, folder, job.module, job.data, job.about)
    if not job.module.trainer.is_global_zero:
        return None
    return _finish(parsed, folder, job, keeper)


def _finish(parsed: Parsed, folder: Path, job: Job, keeper: RunKeeper) -> RunResult:
    config = parsed.config
    best = load_model(folder / BEST)
    results, table = job.results(best)
    budget = {**budget_of(config, keeper), **job.extra_budget}
    metrics = {
        "results": results,
        "best_epoch": keeper.best.get("epoch"),
        "budget": budget,
        "data": {**job.about, "split": job.sizes, "split_seed": config.split_seed},
        **facts_of(parsed, best),
    }
    write_atomic(folder / "metrics.json", [json.dumps(metrics, indent=2, ensure_ascii=False).encode()])
    print(
        f"\nbest epoch {metrics['best_epoch']:.0f} of {budget['epochs']}, {budget['wall_seconds']:.0f} s "
        f"({budget['cpu_seconds']:.0f} s CPU)"
    )
    if budget.get("recordings"):
        print(
            f"steps of {budget['recordings']} sizes were recorded in {budget['recording_seconds']:.1f} s and replayed"
        )
    print(f"\n{table}" if table else "")
    written = ["metrics.json", BEST, LAST, "metrics.csv"]
    if config.plots:
        written += [p.name for p in job.plots(keeper.history, folder) if p is not None]
    print(f"\nin {folder}: {', '.join(written)}", flush=True)
    return RunResult(folder, best, metrics)
