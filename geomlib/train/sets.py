"""Which structures a run trains, validates and tests on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from geomlib.datasets import Split, load, read_split, split
from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.train.config import TrainConfig

__all__ = ["SPLIT", "fingerprint", "read_run_config", "read_run_sets", "read_sets", "run_folder"]

SPLIT = "split.json"


def run_folder(out: str | None, data: str | None) -> Path:
    """Return the folder of a run."""
    if out:
        return Path(out)
    if not data:
        raise InvalidInput("no data: give --data ethanol (embedded), or a file such as --data my.extxyz.")
    return Path("runs") / (Path(data).stem or "run")


def read_sets(config: TrainConfig, folder: Path | None = None) -> tuple[dict[str, Structures], Split]:
    """Load the data of a run and split it.

    Args:
        config: settings of the run.
        folder: of a run that is continued; its own split is read again.

    Returns:
        The sets by name (train, val, test; empty ones are left out) and the split of `data`.

    Raises:
        InvalidInput: the data does not exist, or the parts do not fit.
    """
    if not config.data:
        raise InvalidInput("no data: give --data ethanol (embedded), or a file such as --data my.extxyz.")
    data = load(config.data, **config.data_options)
    stored = None if folder is None else folder / SPLIT
    if stored is not None and stored.is_file():
        parts = read_split(stored, len(data))
    else:
        sizes = {
            "train": config.train_size,
            "val": 0 if config.val_data else config.val_size,
            "test": 0 if config.test_data else config.test_size,
        }
        parts = split(
            len(data),
            **sizes,
            seed=config.split_seed,
            order=config.split_order,  # type: ignore[arg-type]
            file=config.split_file,
        )
    sets = {n: data[getattr(parts, n)] for n in ("train", "val", "test") if getattr(parts, n).numel()}
    for name, file in (("val", config.val_data), ("test", config.test_data)):
        if file:
            sets[name] = load(file, **config.data_options)
    if "train" not in sets:
        raise InvalidInput(f"the split leaves nothing to train on: {len(data)} structures, {parts}.")
    return sets, parts


def fingerprint(structures: Structures) -> str:
    """Return a SHA-256 of species, positions and labels."""
    digest = hashlib.sha256()
    for name in ("z", "pos", "ptr", "energy", "forces", "stress", "cell", "charge"):
        value = getattr(structures, name)
        if value is not None:
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_run_config(run: Path) -> TrainConfig:
    """Return the settings of a run.

    Raises:
        InvalidInput: the folder holds no settings, or some that this geomlib does not know.
    """
    from geomlib.train.parser import read_yaml

    settings = run / "config.yaml"
    if not settings.is_file():
        raise InvalidInput(f"{run} has no config.yaml, so its data and split are unknown. Give --data.")
    content = read_yaml(settings)
    content.pop("model", None)
    try:
        return TrainConfig(**{**content, "resume": True})
    except TypeError as error:
        raise InvalidInput(f"{settings}: {error}.") from None


def read_run_sets(run: Path, data: str | None, options: dict[str, Any]) -> tuple[dict[str, Structures], bool]:
    """Return the sets of a finished run, and whether `data` is the data it was trained on."""
    config = read_run_config(run)
    if options:
        config.data_options = {**config.data_options, **options}
    if data is not None and data != config.data:
        return {}, False
    return read_sets(config, run)[0], True
