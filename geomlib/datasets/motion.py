r"""Motion of people: joints of a skeleton, thirty times a second, and where they are one second later."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets._shared import shared_path
from geomlib.datasets.tasks import SPLITS, Task
from geomlib.errors import InvalidInput

__all__ = ["MOTION", "Motions", "make_motion", "motion_file", "read_motions", "rigid_pairs"]

Array = np.ndarray[Any, Any]

_FILE = Path("data/skeleton/hdm05_11class_joints30hz.npz")
_KEYS = ("joints", "offsets", "actor", "split", "parent")
#: A pair of joints is rigid if its distance varies by less than this part for every actor; the next larger is 40 times that.
_RIGID = 1e-4
#: Lengths of the skeleton files in one unit of ours, about the deviation of a joint from the middle of the body.
UNIT = 10.0
#: Every fifth sequence of the training actors is for validation.
_EVERY = 5


@dataclass(frozen=True)
class Motions:
    """Sequences of joints, one after another.

    Args:
        joints: (frames, joints, 3) in units of :data:`UNIT` lengths of the skeleton files, unless they were read in another.
        offsets: sequence i has the frames offsets[i] to offsets[i+1] - 1.
        actor: of every sequence.
        split: of every sequence, by actor: ``train`` or ``test``.
        parent: of every joint, -1 for the root.
    """

    joints: Array
    offsets: Array
    actor: Array
    split: Array
    parent: Array


def motion_file(path: str | Path | None = None) -> Path:
    """Return where the sequences are: ``path``, or below ``$GEOMLIB_SHARED``, or in a folder ``shared`` beside the checkout.

    Raises:
        InvalidInput: there is no such file; the message says how to get it.
    """
    how = (
        "The sequences are of HDM05 (resources.mpi-inf.mpg.de/HDM05), as in github.com/zhangchi8620/JointLearning-HDM05, in "
        "one npz of joints (frames, 31, 3) at 30 Hz, offsets, actor, split and parent (1-based, 0 for the root)."
    )
    return shared_path("motion", path, _FILE, how)


def read_motions(path: str | Path | None = None, unit: float = UNIT) -> Motions:
    """Return the sequences.

    Args:
        path: of the file, see :func:`motion_file`.
        unit: in lengths of the skeleton files, that joints are given in.

    Raises:
        InvalidInput: the file is absent, damaged, or its arrays do not fit together.
    """
    file = motion_file(path)
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {key: data[key] for key in _KEYS}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"motion: {file} cannot be read ({error}). It needs {', '.join(_KEYS)}.") from None
    joints, offsets = arrays["joints"].astype(np.float64) / unit, arrays["offsets"]
    count, parent = len(offsets) - 1, arrays["parent"].astype(np.int64) - 1
    fits = joints.ndim == 3 and joints.shape[1:] == (len(parent), 3) and np.isfinite(joints).all()
    fits = (
        fits
        and np.issubdtype(offsets.dtype, np.integer)
        and offsets[0] == 0
        and offsets[-1] == len(joints)
        and bool((np.diff(offsets) > 0).all())
    )
    if not (fits and len(arrays["actor"]) == len(arrays["split"]) == count):
        raise InvalidInput(
            f"motion: the arrays of {file} do not fit together, or hold numbers that are not finite."
        )
    return Motions(joints, offsets, arrays["actor"], arrays["split"], parent)


def rigid_pairs(motions: Motions) -> Array:  # (pairs, 2)
    r"""Return the pairs of joints whose distance never changes: the bones, and what is rigid beyond them.

    A pair is rigid if, for every actor, the deviation of its distance is below 10^-4 of its mean.

    Raises:
        InvalidInput: a bone, a joint with its parent, is not among them.
    """
    frames = np.repeat(motions.actor, np.diff(motions.offsets))
    first, second = np.triu_indices(motions.joints.shape[1], 1)
    worst = np.zeros(len(first))
    for actor in np.unique(motions.actor):
        x = motions.joints[frames == actor]
        length = np.linalg.norm(x[:, first] - x[:, second], axis=-1)
        worst = np.maximum(worst, length.std(0) / np.maximum(length.mean(0), np.finfo(float).tiny))
    pairs = np.stack([first, second], 1)[worst < _RIGID]
    bones = {(min(i, p), max(i, p)) for i, p in enumerate(motions.parent.tolist()) if p >= 0}
    if missing := sorted(bones - {(int(i), int(j)) for i, j in pairs}):
        raise InvalidInput(f"motion: the bones {missing} change their lengths; these are no skeletons.")
    return pairs


def make_motion(
    n: int, seed: int, split: str | None = None, horizon: int = 30, path: str | None = None
) -> dict[str, Tensor]:
    r"""Draw moments of real sequences: joints, their velocities, and the joints ``horizon`` frames later.

    .. math:: v_t = (x_t - x_{t-1}) \cdot \mathrm{horizon}

    so that constant velocity means x + v. Actors of the test set do not occur in the others; every fifth sequence of the
    training actors is for validation.

    Args:
        n: number of samples, all different.
        seed: of the draw; the same seed gives the same samples.
        split: ``"train"``, ``"val"`` or ``"test"``; by default that of the seed, as
            :func:`~geomlib.datasets.tasks.make_task` counts them: the three sets have seeds 3 s, 3 s + 1 and 3 s + 2.
        horizon: frames, of which there are thirty in a second.
        path: of the file, see :func:`motion_file`.

    Returns:
        ``pos``, ``vel``, ``later`` (n, 31, 3), in units of ten lengths of the skeleton files, and ``bones`` (n, pairs, 2),
        the pairs of :func:`rigid_pairs`, the same for every sample.

    Raises:
        InvalidInput: no file, an unknown split, or fewer moments than samples.

    Source: the task is that of Liu, Ruhe, Eijkelboom and Forré, arXiv 2402.10011, who use CMU sequences; the data are
    HDM05 (Müller, Röder, Clausen, Eberhardt, Krüger and Weber, 2007).
    """
    at_least_one("motion", n=n, horizon=horizon)
    split = SPLITS[seed % 3] if split is None else split
    if split not in SPLITS:
        raise InvalidInput(f"motion: split={split!r}, expected one of {', '.join(SPLITS)}.")
    motions = read_motions(path)
    moments = _moments(motions, split, horizon)
    if n > len(moments):
        raise InvalidInput(
            f"motion: {n} samples of {split} were asked for, there are {len(moments)} at horizon={horizon}."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    t = rng.permutation(moments)[:n]
    x = motions.joints
    arrays = {"pos": x[t], "vel": (x[t] - x[t - 1]) * horizon, "later": x[t + horizon]}
    found = {name: torch.from_numpy(value) for name, value in arrays.items()}
    return found | {"bones": torch.from_numpy(rigid_pairs(motions)).expand(n, -1, -1).contiguous()}


def _moments(motions: Motions, split: str, horizon: int) -> Array:
    """Return all frames of a split that have one before and one ``horizon`` later in their sequence."""
    by_actor = np.flatnonzero(motions.split == ("test" if split == "test" else "train"))
    if split != "test":
        held = np.arange(len(by_actor)) % _EVERY == _EVERY - 1
        by_actor = by_actor[held if split == "val" else ~held]
    ranges = [
        np.arange(motions.offsets[s] + 1, max(motions.offsets[s] + 1, motions.offsets[s + 1] - horizon))
        for s in by_actor
    ]
    return np.concatenate(ranges) if ranges else np.zeros(0, dtype=np.int64)


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of standing still, of going on, and of the best multiple of the velocity."""
    step = train["later"] - train["pos"]
    best = float((step * train["vel"]).sum() / train["vel"].square().sum())

    def score(a: float) -> float:
        return float((test["pos"] + a * test["vel"] - test["later"]).square().mean())

    return {"static": score(0.0), "constant velocity": score(1.0), "linear": score(best)}


MOTION = Task(
    name="motion",
    title="joints of a moving person one second later, from positions and velocities",
    make=make_motion,
    inputs=("pos", "vel", "bones"),
    target="later",
    sizes=(2048, 512, 2048),
    baselines=_baselines,
    source="Liu, Ruhe, Eijkelboom and Forré, arXiv 2402.10011; data: HDM05",
)
