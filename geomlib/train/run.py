"""A training run from settings to results."""

from __future__ import annotations

import contextlib
import json
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

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.files import write_atomic
from geomlib.interop.checkpoint import checkpoint_info, load_model
from geomlib.train._lightning import TensorBoardLogger, pl
from geomlib.train.captured import CapturedLoss
from geomlib.train.checkpoint_io import TreeCheckpointIO
from geomlib.train.config import TrainConfig
from geomlib.train.data import StructuresModule, drop_large_forces
from geomlib.train.evaluation import predict, report, table
from geomlib.train.interrupt import stop_on_signals
from geomlib.train.keeper import BEST, LAST, RunKeeper
from geomlib.train.losses import LossWeights
from geomlib.train.module import PotentialModule
from geomlib.train.parser import Parsed, write_yaml
from geomlib.train.plots import learning_curve, parity_plot
from geomlib.train.progress import EpochLines, RunBar
from geomlib.train.references import Reference, fit_reference
from geomlib.train.report import describe_run, git_commit, versions
from geomlib.train.restart import after_restart, is_main
from geomlib.train.schedule import Schedule
from geomlib.train.sets import SPLIT, fingerprint, read_sets, run_folder
from geomlib.zoo.registry import create_model

__all__ = ["RunResult", "train"]


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: its folder, the best model and the content of metrics.json."""

    folder: Path
    model: torch.nn.Module
    metrics: dict[str, Any]


def train(settings: TrainConfig | Parsed, model: dict[str, Any] | None = None) -> RunResult | None:
    """Train a model, evaluate the best weights on the test set, and write everything into the run's folder.

    The run draws from torch's, numpy's and Python's global generators, which it seeds.

    Args:
        settings: of the run.
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
    _check(parsed.config)
    parsed = after_restart(parsed, folder, LAST)
    config, main = parsed.config, is_main()
    if main:
        _claim(folder, config)
    sets, parts = read_sets(config, folder if config.resume else None)
    if config.threads:
        torch.set_num_threads(config.threads)
    net, reference = _build(parsed, sets)
    module, data = _modules(config, net, sets)
    # Written only now: settings that cannot be trained leave nothing behind that looks like a run.
    if main:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"--out {folder}: cannot be made ({error}).") from None
        parts.save(folder / SPLIT)
        write_yaml(
            folder / "config.yaml",
            {**parsed.as_dict(), "out": str(folder), "resume": False, "overwrite": False},
        )
        print(describe_run(sets, reference, net, net.config, folder), flush=True)  # type: ignore[arg-type]
    about = {"data": sets["train"].source, "elements": sets["train"].elements, "seed": config.seed}
    about["train_sha256"] = fingerprint(sets["train"])
    keeper = _fit(config, folder, module, data, about)
    if not module.trainer.is_global_zero:
        return None
    return _finish(parsed, folder, sets, keeper, about, module.captured)


def _check(config: TrainConfig) -> None:
    for name, low in (
        ("epochs", 1),
        ("batch_size", 1),
        ("val_every", 1),
        ("eval_batch_size", 1),
        ("devices", 1),
        ("nodes", 1),
    ):
        if getattr(config, name) < low:
            raise InvalidInput(f"--{name} {getattr(config, name)}: expected at least {low}.")
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


def _claim(folder: Path, config: TrainConfig) -> None:
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


def _build(parsed: Parsed, sets: dict[str, Structures]) -> tuple[torch.nn.Module, Reference]:
    config = parsed.config
    if config.max_force is not None:
        sets["train"] = drop_large_forces(sets["train"], config.max_force)
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)  # noqa: NPY002 - code of others draws from it
    torch.manual_seed(config.seed)
    net = create_model(config.architecture, **parsed.model)
    if config.dtype == "float64":
        net = net.double()
    for name, structures in sets.items():
        highest = max(structures.elements)
        if highest >= getattr(net, "max_z", 119):
            raise InvalidInput(
                f"the {name} set has element {highest}, the model knows up to {net.max_z - 1}. "  # type: ignore[operator]
                f"Set --model.max_z {highest + 1}."
            )
    if config.stress_weight and not bool(sets["train"].pbc.all(dim=1).all()):
        raise InvalidInput(
            "--stress_weight is set, but some training structures are not periodic: they have no stress."
        )
    scale: str | float = config.scale
    with contextlib.suppress(ValueError, TypeError):
        scale = float(scale)
    reference = fit_reference(sets["train"], config.reference, scale)
    reference.apply(net)
    return net, reference


def _modules(
    config: TrainConfig, net: torch.nn.Module, sets: dict[str, Structures]
) -> tuple[PotentialModule, StructuresModule]:
    data = StructuresModule(
        sets["train"],
        sets.get("val"),
        float(net.cutoff),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        seed=config.seed,
        dtype=getattr(torch, config.dtype),
    )
    per_process = -(-len(sets["train"]) // (config.devices * config.nodes))
    total = config.epochs * -(-per_process // config.batch_size)
    schedule = Schedule(
        config.schedule, config.lr, config.warmup, total, config.lr_floor, config.patience, config.factor
    )
    weights = LossWeights(
        config.energy_weight, config.forces_weight, config.stress_weight, config.energy_per_atom
    )
    if sets["train"].forces is None and weights.forces:
        weights = LossWeights(weights.energy, 0.0, weights.stress, weights.per_atom)
        print("note       the data has no forces: training on energies alone")
    module = PotentialModule(
        net,
        weights,
        schedule,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        replay=config.compile,
    )
    return module, data


def _fit(
    config: TrainConfig, folder: Path, module: PotentialModule, data: StructuresModule, about: dict[str, Any]
) -> RunKeeper:
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
            max_epochs=config.epochs,
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


def _finish(
    parsed: Parsed,
    folder: Path,
    sets: dict[str, Structures],
    keeper: RunKeeper,
    about: dict[str, Any],
    captured: CapturedLoss | None,
) -> RunResult:
    config = parsed.config
    best = load_model(folder / BEST)
    results, predictions = {}, {}
    for name in ("val", "test"):
        if name in sets:
            predictions[name] = predict(best, sets[name], batch_size=config.eval_batch_size)
            results[name] = report(predictions[name], sets[name])
    wall, cpu = keeper.seconds
    recordings, recording_seconds = (0, 0.0) if captured is None else captured.replay.cost
    metrics = {
        "results": results,
        "best_epoch": keeper.best.get("epoch"),
        "budget": {
            "epochs": len(keeper.history),
            "steps": keeper.latest.get("step"),
            "wall_seconds": round(wall, 2),
            "cpu_seconds": round(cpu, 2),
            "threads": torch.get_num_threads(),
            "devices": config.devices * config.nodes,
            "stopped_by": keeper.stopped_by,
            "recordings": recordings,
            "recording_seconds": round(recording_seconds, 2),
        },
        "parameters": sum(p.numel() for p in best.parameters()),
        "data": {**about, "split": {n: len(s) for n, s in sets.items()}, "split_seed": config.split_seed},
        "settings": parsed.as_dict(),
        "versions": versions(),
        "commit": git_commit(),
    }
    write_atomic(folder / "metrics.json", [json.dumps(metrics, indent=2, ensure_ascii=False).encode()])
    print(
        f"\nbest epoch {metrics['best_epoch']:.0f} of {len(keeper.history)}, {wall:.0f} s ({cpu:.0f} s CPU)"
    )
    if captured is not None:
        print(f"steps of {recordings} sizes were recorded in {recording_seconds:.1f} s and replayed")
    print()
    if results:
        print(table({n: r["all"] for n, r in results.items()}))
    written = ["metrics.json", BEST, LAST, "metrics.csv"]
    if config.plots:
        shown = "test" if "test" in predictions else "val"
        plots = [learning_curve(keeper.history, folder / "learning_curve.png")]
        if shown in predictions:
            plots.append(parity_plot(predictions[shown], sets[shown], folder / "parity.png"))
        written += [p.name for p in plots if p is not None]
    print(f"\nin {folder}: {', '.join(written)}", flush=True)
    return RunResult(folder, best, metrics)
