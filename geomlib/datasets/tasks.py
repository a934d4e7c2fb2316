"""Problems that are generated: samples as tensors of one shape, a target, a loss, and scores of trivial predictors."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["LOSSES", "SampleSet", "Samples", "Task", "list_tasks", "load_task", "make_task", "register_task"]

#: Tasks and where they live.
_TASKS: dict[str, str] = {
    "aut_graph": "geomlib.datasets.aut_graph:AUT_GRAPH",
    "charged_nbody": "geomlib.datasets.charged_nbody:CHARGED_NBODY",
    "double_spring_pendulum": "geomlib.datasets.double_spring_pendulum:DOUBLE_SPRING_PENDULUM",
    "gaussian_states": "geomlib.datasets.gaussian_states:GAUSSIAN_STATES",
    "eeg_mamem": "geomlib.datasets.eeg_mamem:EEG_MAMEM",
    "enzymes": "geomlib.datasets.tu:ENZYMES",
    "fb15k_237": "geomlib.datasets.knowledge_graphs:FB15K_237",
    "gravity_nbody": "geomlib.datasets.gravity_nbody:GRAVITY_NBODY",
    "hdm05": "geomlib.datasets.hdm05:HDM05",
    "hdm05_one": "geomlib.datasets.hdm05:HDM05_ONE",
    "hdm05_subspaces": "geomlib.datasets.hdm05:HDM05_SUBSPACES",
    "hdm05_windows": "geomlib.datasets.hdm05:HDM05_WINDOWS",
    "hull5": "geomlib.datasets.hulls:HULL5",
    "hull5_8": "geomlib.datasets.hulls:HULL5_8",
    "inertia": "geomlib.datasets.emlp_regression:INERTIA",
    "imdb_b": "geomlib.datasets.tu:IMDB_B",
    "motion": "geomlib.datasets.motion:MOTION",
    "mutag": "geomlib.datasets.tu:MUTAG",
    "nacl": "geomlib.datasets.nacl:NACL",
    "nacl_blank": "geomlib.datasets.nacl:NACL_BLANK",
    "nations": "geomlib.datasets.knowledge_graphs:NATIONS",
    "navier_stokes": "geomlib.datasets.fluids:NAVIER_STOKES",
    "neo_hooke": "geomlib.datasets.neo_hooke:NEO_HOOKE",
    "o3_volume": "geomlib.datasets.o3_volume:O3_VOLUME",
    "o5_regression": "geomlib.datasets.o5_regression:O5_REGRESSION",
    "o5_synthetic": "geomlib.datasets.emlp_regression:O5_SYNTHETIC",
    "particle_interaction": "geomlib.datasets.emlp_regression:PARTICLE_INTERACTION",
    "path_signature": "geomlib.datasets.path_signature:PATH_SIGNATURE",
    "poisson_brackets": "geomlib.datasets.gaussian_states:POISSON_BRACKETS",
    "proteins": "geomlib.datasets.tu:PROTEINS",
    "shallow_water": "geomlib.datasets.fluids:SHALLOW_WATER",
    "sparse_vector": "geomlib.datasets.sparse_vector:SPARSE_VECTOR",
    "stars": "geomlib.datasets.substructures:STARS",
    "tetris": "geomlib.datasets.tetris:TETRIS",
    "triangles": "geomlib.datasets.substructures:TRIANGLES",
    "umls": "geomlib.datasets.knowledge_graphs:UMLS",
    "wn18rr": "geomlib.datasets.knowledge_graphs:WN18RR",
}

LOSSES = ("mse", "mae", "cross_entropy", "ade", "ranking")
"""Losses a task may have: mean square, mean absolute, classes, mean Euclidean distance of (..., d) vectors, and ranking:
cross-entropy of many candidates, scored by the place of the right one among those that are not known to be right."""

SPLITS = ("train", "val", "test")


class SampleSet(Protocol):
    """What training needs of a set: its length, and the tensors of some of its samples."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the samples with these numbers."""
        ...


class Samples:
    """Tensors by name, all with the sample as their first axis.

    Args:
        tensors: name to (n, ...).

    Raises:
        InvalidInput: no tensors, or tensors of different lengths.

    >>> Samples({"x": torch.arange(4.0)}).batch(torch.tensor([3, 1]))["x"].tolist()
    [3.0, 1.0]
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        lengths = {name: value.shape[0] if value.ndim else None for name, value in tensors.items()}
        if len(set(lengths.values())) != 1 or None in lengths.values():
            raise InvalidInput(f"Samples: expected tensors with one common first axis, got {lengths}.")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the samples with these numbers."""
        return {name: value[index] for name, value in self.tensors.items()}

    def to(self, dtype: torch.dtype) -> Samples:
        """Return the samples with floating-point tensors of another type."""
        return Samples({k: v.to(dtype) if v.is_floating_point() else v for k, v in self.tensors.items()})


@dataclass(frozen=True)
class Task:
    """A supervised problem with data that is generated.

    Args:
        name: as `geomlib train MODEL --data NAME` takes it.
        title: one line: what is predicted from what.
        make: ``make(n, seed, **options)`` returns tensors whose first axis is the sample; the same seed, the same samples.
        inputs: names of the tensors that the model gets as keyword arguments.
        target: name of the tensor it predicts.
        loss: one of :data:`LOSSES`.
        sizes: samples of train, val and test, unless the user says otherwise.
        standardize: models that have the options ``shift`` and ``scale`` get mean and deviation of the training target.
        baselines: scores of trivial predictors from the tensors of train and test: the loss, for classes the accuracy.
        source: where the recipe is from.
        serve: ``serve(samples, part, options)`` returns how a set is served where batches are more than their samples:
            candidates to train against, known answers to leave out of a ranking; options are those of ``make``.
    """

    name: str
    title: str
    make: Callable[..., dict[str, Tensor]]
    inputs: tuple[str, ...]
    target: str
    loss: str = "mse"
    sizes: tuple[int, int, int] = (1024, 256, 1024)
    standardize: bool = False
    baselines: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, float]] | None = None
    source: str = ""
    serve: Callable[[Samples, str, Mapping[str, Any]], SampleSet] | None = None

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InvalidInput(
                f"Task {self.name!r}: loss {self.loss!r}: expected one of {', '.join(LOSSES)}."
            )


_REGISTERED: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Register a problem of your own under its name, so that :func:`geomlib.train.train` finds it.

    Raises:
        InvalidInput: the name is taken by another task.

    >>> def make(n: int, seed: int) -> dict[str, Tensor]:
    ...     x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    ...     return {"x": x, "length": x.norm(dim=-1)}
    >>> task = register_task(Task("length", "length of a vector", make, ("x",), "length"))
    >>> len(make_task("length", sizes=(8, 0, 2))["test"])
    2
    """
    if task.name in _TASKS or _REGISTERED.get(task.name, task) != task:
        raise InvalidInput(f"register_task: the name {task.name!r} is taken.")
    _REGISTERED[task.name] = task
    return task


def list_tasks() -> list[str]:
    """Return the names of all generated problems."""
    return sorted({*_TASKS, *_REGISTERED})


def load_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        InvalidInput: no such task; the message suggests the nearest name.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in _TASKS:
        near = difflib.get_close_matches(name, list_tasks(), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(f"task {name!r} is unknown.{hint} list_tasks() shows {', '.join(list_tasks())}.")
    module, _, attribute = _TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_task(
    task: Task | str, *, sizes: tuple[int, int, int] | None = None, seed: int = 0, **options: Any
) -> dict[str, Samples]:
    """Generate the sets of a task.

    The sets are independent: each has a seed of its own, so the test set does not depend on the size of the training set.

    Args:
        task: a task or its name.
        sizes: samples of train, val and test; the task's own if not given.
        seed: of all sets.
        options: of the task's generator.

    Returns:
        ``train``, ``val`` and ``test``; sets of size 0 are left out.

    Raises:
        InvalidInput: an unknown task, a wrong size, or an option that the generator does not have.
    """
    task = load_task(task) if isinstance(task, str) else task
    sizes = task.sizes if sizes is None else sizes
    if len(sizes) != len(SPLITS) or any(int(s) != s or s < 0 for s in sizes) or not sizes[0]:
        raise InvalidInput(
            f"task {task.name!r}: sizes {sizes}: expected samples of train (1 or more), val and test."
        )
    known = [p for p in inspect.signature(task.make).parameters if p not in ("n", "seed")]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidInput(
                f"task {task.name!r} has no option {option!r}.{hint} It has: {', '.join(known) or 'none'}."
            )
    return {
        split: Samples(task.make(int(size), seed=3 * seed + number, **options))
        for number, (split, size) in enumerate(zip(SPLITS, sizes, strict=True))
        if size
    }
