"""Sets of generated problems: made once, kept on disk, served in batches."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib._version import __version__
from geomlib.datasets.cache import cache_dir
from geomlib.datasets.tasks import Samples, SampleSet, Task, load_task, make_task
from geomlib.errors import CheckpointError, InvalidInput
from geomlib.interop.checkpoint import load_tree, save_tree
from geomlib.train.config import TrainConfig

__all__ = ["TaskPacker", "read_task", "sizes_of"]

_BLOCK = 4096


class TaskPacker:
    """Cuts batches out of a set.

    Args:
        samples: the set.

    >>> [b["x"].tolist() for b in TaskPacker(Samples({"x": torch.arange(3)})).batches(torch.tensor([2, 0, 1]), 2)]
    [[2, 0], [1]]
    """

    block = _BLOCK

    def __init__(self, samples: SampleSet) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def batches(
        self, index: Tensor, batch_size: int, *, device: torch.device | str | None = None
    ) -> list[dict[str, Tensor]]:
        """Return the samples `index`, in that order, cut into batches."""
        made = [self.samples.batch(part) for part in index.split(batch_size)] if index.numel() else []
        if device is None or torch.device(device).type == "cpu":
            return made
        return [{k: v.to(device, non_blocking=True) for k, v in batch.items()} for batch in made]


def sizes_of(config: TrainConfig, task: Task) -> tuple[int, int, int]:
    """Return how many samples of train, val and test a run wants.

    A fraction, the default of files, means nothing here: then the task's own number holds.

    Raises:
        InvalidInput: a negative number, or nothing to train on.
    """
    asked = (config.train_size, config.val_size, config.test_size)
    train, val, test = (a if isinstance(a, int) else own for a, own in zip(asked, task.sizes, strict=True))
    sizes = train, val, test
    if min(sizes) < 0 or sizes[0] == 0:
        raise InvalidInput(
            f"--train_size, --val_size, --test_size are {sizes}: expected counts, the first at least 1."
        )
    return sizes


def read_task(config: TrainConfig) -> tuple[Task, dict[str, Samples]]:
    """Return the task of a run and its sets, from the cache if they were made before.

    The cache (:func:`~geomlib.datasets.cache_dir`) is keyed by task, sizes, seed, options and the file of the generator; a
    generator without a file, such as one typed at the prompt, is run again every time.

    Raises:
        InvalidInput: an unknown task, option or size.
    """
    task = load_task(str(config.data))
    sizes = sizes_of(config, task)
    path = _stored(task, sizes, config)
    if path is not None and path.is_file():
        try:
            sets = load_tree(path, kind="task")
            return task, {name: Samples(tensors) for name, tensors in sets.items()}
        except CheckpointError as error:
            warnings.warn(f"the cached samples are made again: {error}", UserWarning, stacklevel=2)
    made = make_task(task, sizes=sizes, seed=config.split_seed, **config.data_options)
    if path is None:
        return task, made
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tree({name: s.tensors for name, s in made.items()}, path, kind="task")
    except (OSError, CheckpointError) as error:
        warnings.warn(f"the samples are not kept for the next run: {error}", UserWarning, stacklevel=2)
    return task, made


def _stored(task: Task, sizes: tuple[int, int, int], config: TrainConfig) -> Path | None:
    module = sys.modules.get(getattr(task.make, "__module__", ""))
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    text = Path(file).read_bytes()
    key: list[Any] = [task.name, sizes, config.split_seed, sorted(config.data_options.items()), __version__]
    key.append(hashlib.sha256(text).hexdigest())
    digest = hashlib.sha256(json.dumps(key, default=repr).encode()).hexdigest()[:24]
    return cache_dir() / f"{task.name}-{digest}.safetensors"
