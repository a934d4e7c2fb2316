"""Scores of a trained model on a generated problem."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from geomlib.datasets.ranking import filtered_ranks, rank_scores
from geomlib.datasets.tasks import Samples, SampleSet, Task, list_tasks
from geomlib.errors import InvalidInput
from geomlib.files import write_atomic
from geomlib.train.config import TrainConfig
from geomlib.train.plots import prediction_plot, rank_plot
from geomlib.train.sets import read_run_config
from geomlib.train.task_data import TaskPacker, read_task
from geomlib.train.task_losses import MAIN_SCORE, SCORES, check_prediction, scores_of, task_sums

__all__ = [
    "baseline_scores",
    "chosen_samples",
    "evaluate_run",
    "plotted",
    "predict_task",
    "score_table",
    "scores",
    "task_of",
]


def chosen_samples(
    model: nn.Module, task: Task, sets: Mapping[str, Samples], part: str, config: TrainConfig
) -> SampleSet:
    """Return a set as the model takes it: inputs and target only, in its dtype, served and prepared if need be."""
    tensors = sets[part].tensors
    kept = Samples({name: tensors[name] for name in (*task.inputs, task.target)})
    kept = kept.to(getattr(torch, config.dtype))
    if task.serve is not None:
        return task.serve(kept, part, config.data_options)
    prepare = getattr(model, "prepare", None)
    return kept if prepare is None else prepare(kept)


def predict_task(
    model: nn.Module, task: Task, samples: SampleSet, *, batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Return predictions and targets of a whole set, on the CPU in float64 (classes: int64 targets).

    Of a ranking the predictions are the filtered ranks (N,).

    Args:
        model: used in evaluation mode and left as it was.
        task: names the target.
        samples: of :func:`chosen_samples`.
        batch_size: samples per call.
    """
    device = next(model.parameters()).device
    values: list[Tensor] = []
    labels: list[Tensor] = []
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in TaskPacker(samples).batches(torch.arange(len(samples)), batch_size, device=device):
                label = batch.pop(task.target)
                value = model(**batch)
                check_prediction(task.loss, value, label)
                if task.loss == "ranking":
                    value, label = filtered_ranks(value, label[:, 0], label[:, 1:]), label[:, 0]
                values.append(value.cpu().double())
                labels.append(label.cpu().double() if label.is_floating_point() else label.cpu())
    finally:
        model.train(was_training)
    return torch.cat(values), torch.cat(labels)


def scores(task: Task, value: Tensor, label: Tensor) -> dict[str, float]:
    """Return the number of samples and every score of the task's loss, from :func:`predict_task`."""
    if task.loss == "ranking":
        return {"samples": len(label), **rank_scores(value)}
    return {"samples": len(label), **scores_of(task.loss, task_sums(task.loss, value, label)[1])}


def baseline_scores(task: Task, sets: Mapping[str, Samples]) -> dict[str, float]:
    """Return the scores of trivial predictors on the test set (or the last set there is)."""
    if task.baselines is None:
        return {}
    last = sets["test"] if "test" in sets else list(sets.values())[-1]
    return task.baselines(sets["train"].tensors, last.tensors)


def score_table(task: Task, rows: Mapping[str, Mapping[str, float]], baselines: Mapping[str, float]) -> str:
    """Return scores as a table of text.

    >>> from geomlib.datasets.tasks import Task
    >>> task = Task("t", "", dict, ("x",), "y")
    >>> print(score_table(task, {"test": {"samples": 8, "mse": 0.125, "mae": 0.25}}, {"mean": 1.0}))
                   samples      mse      mae
    test                 8    0.125     0.25
    trivial: mean                 1
    """
    known = {name for values in rows.values() for name in values}
    names = ("samples", *(n for n in SCORES[task.loss] if n in known or task.loss != "ranking"))
    lines: dict[str, list[str]] = {
        row: [f"{values[n]:.4g}" if n in values else "" for n in names] for row, values in rows.items()
    }
    column = names.index(MAIN_SCORE[task.loss])
    for name, value in baselines.items():
        lines[f"trivial: {name}"] = [f"{value:.4g}" if i == column else "" for i in range(len(names))]
    widths = [max(len(n), 7, *(len(cells[i]) for cells in lines.values())) for i, n in enumerate(names)]
    first = max(map(len, lines)) + 2

    def text(head: str, cells: list[str]) -> str:
        return (
            head.ljust(first) + "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([text("", list(names)), *(text(row, cells) for row, cells in lines.items())])


def plotted(task: Task, value: Tensor, label: Tensor, folder: Path, split: str | None = None) -> Path | None:
    """Draw predictions against targets, or of a ranking how many answers come how early; return the file."""
    end = f"_{split}.png" if split else ".png"
    if task.loss == "ranking":
        return rank_plot(value, folder / f"ranks{end}", task.target)
    return prediction_plot(value, label, folder / f"parity{end}", task.target)


def task_of(run: Path, data: str | None) -> TrainConfig | None:
    """Return the settings with which a run, or `data`, is evaluated on a generated problem; None if it is on structures.

    Raises:
        InvalidInput: `data` is a task, but the run was trained on something else.
    """
    config = read_run_config(run) if (run / "config.yaml").is_file() else None
    trained = config.data if config is not None else None
    if data in list_tasks() and data != trained:
        raise InvalidInput(
            f"--data {data}: a task can only be evaluated on the run that was trained on it; {run} was trained on {trained}."
        )
    return config if trained in list_tasks() and data in (None, trained) else None


def evaluate_run(
    model: nn.Module, config: TrainConfig, split: str, folder: Path, *, batch_size: int = 256
) -> int:
    """Print and write the scores of a trained model on one of its run's sets; return the exit status.

    Raises:
        InvalidInput: the run has no such set.
    """
    task, sets = read_task(config)
    if split not in sets:
        raise InvalidInput(f"the run has no {split} set; it has {', '.join(sets)}.")
    samples = chosen_samples(model, task, sets, split, config)
    value, label = predict_task(model, task, samples, batch_size=batch_size)
    found, trivial = scores(task, value, label), baseline_scores(task, sets)
    print(f"task {task.name}: {task.title}\n")
    print(score_table(task, {split: found}, trivial))
    path = folder / f"evaluation_{split}.json"
    result = {"task": task.name, "split": split, "scores": found, "trivial": trivial}
    write_atomic(path, [json.dumps(result, indent=2, ensure_ascii=False).encode()])
    plot = plotted(task, value, label, folder, split)
    print(f"\nwritten: {path}" + (f", {plot}" if plot else ""))
    return 0
