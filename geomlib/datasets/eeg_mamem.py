r"""EEG of people who look at one of five flickering lights: MAMEM-SSVEP-II, trials of eight channels."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets._shared import shared_path
from geomlib.datasets.tasks import SPLITS, Task
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["EEG_MAMEM", "SUBJECTS", "eeg_split", "make_eeg_mamem", "read_mamem"]

Array = np.ndarray[Any, Any]

#: The people whose recordings are read.
SUBJECTS = ("U001", "U002", "U003", "U004", "U005", "U006")

_FOLDER = Path("data/spd/mamem")
_HOW = (
    "These recordings are not ours to ship: take U001.mat ... U006.mat of MAMEM-SSVEP-II as cut for "
    "github.com/CECNL/MAtt, with x_test (500, 8, 125) and y_test (500, 1)."
)
_SHAPE = (500, 8, 125)
_COUNTS = (100, 100, 120, 100, 80)
#: Trials of the recording, in its order: the first are for training, then those held out, the last are for the test.
_PARTS = {"train": (0, 300), "val": (300, 400), "test": (400, 500)}


def read_mamem(subject: str = "U001", path: str | Path | None = None) -> tuple[Array, Array]:
    """Return the trials of a subject, (500, 8, 125) microvolts in the order of the recording, and their classes, 0..4.

    Args:
        subject: one of :data:`SUBJECTS`.
        path: folder of the files; by default ``data/spd/mamem`` below ``$GEOMLIB_SHARED``.

    Raises:
        InvalidInput: unknown subject, no file (the message says how to get it), a damaged one, or trials of other number,
            shape or classes, not finite, or with a channel that does not move.
        MissingDependency: scipy is not there.
    """
    if subject not in SUBJECTS:
        raise InvalidInput(
            f"eeg_mamem: subject={subject!r}, expected one of {', '.join(SUBJECTS)}.{closest(str(subject), SUBJECTS)}"
        )
    file = shared_path("eeg_mamem", path, _FOLDER, _HOW) / f"{subject}.mat"
    if not file.is_file():
        raise InvalidInput(f"eeg_mamem: {file} is not there. {_HOW}")
    stamp = file.stat()
    x, y = _read(file, stamp.st_mtime_ns, stamp.st_size)
    return x.copy(), y.copy()


@lru_cache(maxsize=len(SUBJECTS))
def _read(file: Path, changed: int, size: int) -> tuple[Array, Array]:
    del changed, size  # part of the key only
    found = _load(file)
    for name in ("x_test", "y_test"):
        if name not in found:
            raise InvalidInput(f"{file}: no `{name}`, only {', '.join(sorted(found)) or 'nothing'}. {_HOW}")
    x, y = np.asarray(found["x_test"]), np.asarray(found["y_test"])
    if x.shape != _SHAPE or x.dtype.kind != "f":
        raise InvalidInput(f"{file}: x_test is {x.dtype} of shape {x.shape}, expected real {_SHAPE}.")
    if y.shape != (_SHAPE[0], 1) or y.dtype.kind not in "iuf":
        raise InvalidInput(f"{file}: y_test is {y.dtype} of shape {y.shape}, expected ({_SHAPE[0]}, 1).")
    x, y = x.astype(np.float64), y[:, 0]
    finite = np.isfinite(x).all((1, 2))
    if not finite.all():
        raise InvalidInput(f"{file}: trial {int(np.argmin(finite))} holds values that are not finite.")
    still = np.argwhere(np.ptp(x, axis=-1) == 0)
    if len(still):
        trial, channel = still[0].tolist()
        raise InvalidInput(f"{file}: channel {channel} of trial {trial} is constant; the recording is cut.")
    counts = tuple(int((y == label).sum()) for label in range(len(_COUNTS)))
    if counts != _COUNTS:
        raise InvalidInput(f"{file}: classes 0..4 have {counts} trials of {len(y)}, expected {_COUNTS}.")
    return x, y.astype(np.int64)


def _load(file: Path) -> dict[str, Any]:
    """Return the two arrays of a file in MATLAB's format 5, which holds no code."""
    try:
        io = importlib.import_module("scipy.io")
    except ImportError:
        raise MissingDependency(
            "scipy is needed for files of MATLAB: pip install scipy, or pip install 'geomlib-torch[train]'."
        ) from None
    try:
        return io.loadmat(file, variable_names=["x_test", "y_test"])
    except Exception as error:  # its reader raises whatever a damaged file leads to
        raise InvalidInput(
            f"{file}: cannot be read as a MATLAB file ({type(error).__name__}: {str(error)[:200]})."
        ) from None


def eeg_split(split: str, *, hold_out: bool = True) -> Array:
    """Return the numbers of the trials of one part: the first 300, the next 100, the last 100.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        hold_out: set the middle part apart for validation; otherwise it is for training, and there is no validation.

    Raises:
        InvalidInput: no such split.

    >>> len(eeg_split("train")), len(eeg_split("train", hold_out=False)), int(eeg_split("test")[0])
    (300, 400, 400)
    """
    if split not in SPLITS:
        raise InvalidInput(f"eeg_mamem: split={split!r}, expected one of {', '.join(SPLITS)}.")
    first, last = _PARTS[split]
    if not hold_out:
        first, last = {"train": (0, _PARTS["val"][1]), "val": (0, 0)}.get(split, (first, last))
    return np.arange(first, last)


def make_eeg_mamem(
    n: int,
    seed: int,
    subject: str = "U001",
    split: str | None = None,
    hold_out: bool = True,
    center: bool = True,
    path: str | None = None,
) -> dict[str, Tensor]:
    """Return trials of one part of a subject's recording, in random order.

    Args:
        n: number of trials, all different.
        seed: of the order; the same seed gives the same samples.
        subject: one of :data:`SUBJECTS`.
        split: ``"train"``, ``"val"`` or ``"test"``; by default that of the seed, as
            :func:`~geomlib.datasets.tasks.make_task` counts them: the three sets have seeds 3 s, 3 s + 1 and 3 s + 2.
        hold_out: see :func:`eeg_split`.
        center: take its mean over time from every channel of every trial.
        path: see :func:`read_mamem`.

    Returns:
        ``x`` (n, 8, 125) and ``label`` (n,), 0..4.

    Raises:
        InvalidInput: no file, a damaged one, an unknown subject or split, or fewer trials than samples.

    Source: Nikolopoulos, *MAMEM EEG SSVEP Dataset II*, 2016, whom users of the data should cite; trials as cut for Pan, Chou
    and Wei, *MAtt: a manifold attention network for EEG decoding*, arXiv 2210.01986.
    """
    at_least_one("eeg_mamem", n=n)
    x, y = read_mamem(subject, path)
    split = SPLITS[seed % 3] if split is None else split
    index = eeg_split(split, hold_out=hold_out)
    if n > len(index):
        raise InvalidInput(
            f"eeg_mamem: {n} trials of {split} were asked for, there are {len(index)} "
            f"({'100 are held out' if hold_out else 'nothing is held out'})."
        )
    index = np.random.default_rng(np.random.SeedSequence(seed)).permutation(index)[:n]
    signals = x[index]
    if center:
        signals = signals - signals.mean(-1, keepdims=True)
    return {"x": torch.from_numpy(signals), "label": torch.from_numpy(y[index])}


def _make(
    n: int, seed: int, subject: str = "U001", hold_out: bool = True, path: str | None = None
) -> dict[str, Tensor]:
    return make_eeg_mamem(n, seed, subject, hold_out=hold_out, path=path)


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return accuracies of the majority class, and of the nearest mean of logarithmic powers of the channels."""
    label, truth = train["label"], test["label"]
    seen, asked = (s["x"].square().mean(-1).log() for s in (train, test))
    means = torch.stack([seen[label == k].mean(0) for k in range(int(label.max()) + 1)])
    return {
        "majority class": float((truth == torch.bincount(label).argmax()).double().mean()),
        "nearest mean of powers": float((truth == torch.cdist(asked, means).argmin(-1)).double().mean()),
    }


EEG_MAMEM = Task(
    name="eeg_mamem",
    title="which of five flickering lights someone looks at, from EEG; one subject",
    make=_make,
    inputs=("x",),
    target="label",
    loss="cross_entropy",
    sizes=(300, 100, 100),
    baselines=_baselines,
    source="MAMEM-SSVEP-II (Nikolopoulos, 2016), trials of github.com/CECNL/MAtt",
)
