"""What all runs share: the checks of their settings, their folder, the loop through Lightning, and what they leave."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomlib.errors import InvalidInput
from geomlib.interop.checkpoint import checkpoint_info
from geomlib.train._lightning import TensorBoardLogger, pl
from geomlib.train.checkpoint_io import TreeCheckpointIO
from geomlib.train.config import TrainConfig
from geomlib.train.interrupt import stop_on_signals
from geomlib.train.keeper import BEST, LAST, RunKeeper
from geomlib.train.packed_data import PackedData
from geomlib.train.parser import Parsed, write_yaml
from geomlib.train.progress import EpochLines, RunBar
from geomlib.train.report import git_commit, versions
from geomlib.train.run_module import RunModule
from geomlib.train.schedule import Schedule

__all__ = [
    "RunResult",
    "budget_of",
    "check_settings",
    "claim",
    "epochs_of",
    "facts_of",
    "fit",
    "open_folder",
    "schedule_of",
    "seed_all",
]


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: its folder, the best model and the content of metrics.json."""

    folder: Path
    model: torch.nn.Module
    metrics: dict[str, Any]


def check_settings(config: TrainConfig) -> None:
    """Raise InvalidInput if a setting is out of its range."""
    for name, low in (
        ("epochs", 1),
        ("steps", 1),
        ("batch_size", 1),
        ("val_every", 1),
        ("eval_batch_size", 1),
        ("devices", 1),
        ("nodes", 1),
    ):
        value = getattr(config, name)
        if value is not None and value < low:
            raise InvalidInput(f"--{name} {value}: expected at least {low}.")
    if config.dtype not in ("float32", "float64"):
        raise InvalidInput(f"--dtype {config.dtype}: expected float32 or float64.")
    _seconds(config.max_time)


def _seconds(text: str | int | float | None) -> float | None:
    """Return a time budget in seconds.

    >>> _seconds("1.5m"), _seconds(20), _seconds("2h")
    (90.0, 20.0, 7200.0)
    """
    if text is None:
        return None
    word = str(text).strip().lower()
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(word[-1:], None)
    try:
        value = float(word[:-1] if unit else word) * (unit or 1)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise InvalidInput(
            f"--max_time {text}: expected seconds, or a number with s, m, h or d, such as 15m."
        )
    return value


def claim(folder: Path, config: TrainConfig) -> None:
    """Make sure that the folder is free, or is the run to be continued."""
    if config.resume:
        if not (folder / LAST).is_file():
            raise InvalidInput(
                f"--resume: {folder} has no {LAST}; the run ended before its first checkpoint. "
                "Start again with --overwrite."
            )
        return
    if (folder / "config.yaml").exists():
        if not config.overwrite:
            raise InvalidInput(
                f"{folder} already holds a run. Continue it with --resume {folder}, replace it with "
                "--overwrite, or choose another folder with --out."
            )
        for name in (LAST, BEST, "metrics.csv", "metrics.json", "split.json", "config.yaml"):
            (folder / name).unlink(missing_ok=True)


def schedule_of(config: TrainConfig, samples: int) -> Schedule:
    """Return the schedule of the learning rate for a training set of so many samples."""
    total = epochs_of(config, samples) * _steps_per_epoch(config, samples)
    return Schedule(
        config.schedule, config.lr, config.warmup, total, config.lr_floor, config.patience, config.factor
    )


def epochs_of(config: TrainConfig, samples: int) -> int:
    """Return the number of epochs, from `steps` if that is given.

    >>> epochs_of(TrainConfig(steps=25, batch_size=8), 80)
    3
    """
    if config.steps is None:
        return config.epochs
    return -(-config.steps // _steps_per_epoch(config, samples))


def _steps_per_epoch(config: TrainConfig, samples: int) -> int:
    per_process = -(-samples // (config.devices * config.nodes))
    return -(-per_process // config.batch_size)


def seed_all(config: TrainConfig) -> None:
    """Seed Python's, numpy's and torch's global generators, and set the number of threads."""
    if config.threads:
        torch.set_num_threads(config.threads)
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)  # noqa: NPY002 - code of others draws from it
    torch.manual_seed(config.seed)


def open_folder(parsed: Parsed, folder: Path) -> None:
    """Make the folder of a run and write its settings there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out {folder}: cannot be made ({error}).") from None
    write_yaml(
        folder / "config.yaml",
        {**parsed.as_dict(), "out": str(folder), "resume": False, "overwrite": False},
    )


def fit(
    config: TrainConfig, folder: Path, module: RunModule, data: PackedData, about: dict[str, Any]
) -> RunKeeper:
    """Train, keep the best model and a checkpoint in the folder, and return what was kept."""
    with stop_on_signals() as request, _quiet(), _unchecked(module.model):
        keeper = RunKeeper(
            folder, about=about, early_stop=config.early_stop, max_seconds=_seconds(config.max_time),
            save_seconds=config.save_every, request=request, validates="val" in data.packers,
        )  # fmt: skip
        if config.resume:
            _same_data(folder, about)
        shows_bar = os.isatty(1) if config.progress is None else config.progress
        logger: Any = False
        if config.tensorboard:
            logger = TensorBoardLogger(str(folder), name="tensorboard", version="")
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.devices * config.nodes > 1 else "auto",
            max_epochs=epochs_of(config, len(data.packers["train"])),
            gradient_clip_val=config.clip or None,
            check_val_every_n_epoch=config.val_every,
            callbacks=[keeper, RunBar(keeper) if shows_bar else EpochLines(keeper)],
            plugins=[TreeCheckpointIO()],
            logger=logger,
            default_root_dir=str(folder),
            enable_progress_bar=shows_bar,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=str(folder / LAST) if config.resume else None)
    return keeper


def _same_data(folder: Path, about: dict[str, Any]) -> None:
    best = folder / BEST
    if not best.is_file():
        return
    before = checkpoint_info(best)["about"].get("train_sha256")
    if before is not None and before != about["train_sha256"]:
        raise InvalidInput(
            f"--resume: the training data is not what {folder} was trained on. Start a new run."
        )


@contextlib.contextmanager
def _unchecked(model: Any) -> Iterator[None]:
    """Leave out the model's own input checks: the data set was checked when it was loaded."""
    checks = getattr(model, "validate", None)
    if isinstance(checks, bool):
        model.validate = False
    try:
        yield
    finally:
        if isinstance(checks, bool):
            model.validate = checks


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notes about its own business out of the way."""
    loggers = [
        logging.getLogger(n)
        for n in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*|Grad strides do not match")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def budget_of(config: TrainConfig, keeper: RunKeeper) -> dict[str, Any]:
    """Return what a run has spent, as metrics.json holds it."""
    wall, cpu = keeper.seconds
    return {
        "epochs": len(keeper.history),
        "steps": keeper.latest.get("step"),
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "threads": torch.get_num_threads(),
        "devices": config.devices * config.nodes,
        "stopped_by": keeper.stopped_by,
    }


def facts_of(parsed: Parsed, model: torch.nn.Module) -> dict[str, Any]:
    """Return size, settings, versions and commit, as metrics.json holds them."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "settings": parsed.as_dict(),
        "versions": versions(),
        "commit": git_commit(),
    }
