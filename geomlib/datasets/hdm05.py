r"""HDM05: which of eleven actions a clip of skeletons shows, as covariances, local covariances, subspaces or joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.hdm05_clips import ACTIONS, Clips, covariance, read_clips, subspace, window_covariances
from geomlib.datasets.tasks import SPLITS, Task
from geomlib.errors import InvalidInput

__all__ = ["FORMS", "HDM05", "HDM05_ONE", "HDM05_SUBSPACES", "HDM05_WINDOWS", "clip_numbers", "make_hdm05"]

Array = np.ndarray[Any, Any]

#: What a clip is turned into.
FORMS = ("covariance", "windows", "subspace", "joints")
#: Every fifth clip of the training actors is for validation, where clips are held out.
_EVERY = 5


def clip_numbers(
    clips: Clips,
    split: str,
    *,
    actors: str | None = None,
    shots: int | None = None,
    hold_out: bool = False,
    seed: int = 0,
) -> Array:
    """Return the numbers of the clips of one part: actors of the test part, mm and tr, are in no other.

    Args:
        clips: of :func:`~geomlib.datasets.hdm05_clips.read_clips`.
        split: ``"train"``, ``"val"`` or ``"test"``.
        actors: whom to train on, as ``"bd"`` or ``"bd,dg"``; by default all training actors. The test part stays the same.
        shots: clips of every action to train on, drawn; by default all.
        hold_out: set every fifth clip of the training actors apart for validation; otherwise there is none.
        seed: of the draw of the shots.

    Raises:
        InvalidInput: an unknown split or actor, a test actor among those to train on, or an action with fewer clips.
    """
    if split not in SPLITS:
        raise InvalidInput(f"hdm05: split={split!r}, expected one of {', '.join(SPLITS)}.")
    known = sorted(set(clips.motions.actor[clips.motions.split == "train"].tolist()))
    chosen = known if actors is None else [name.strip() for name in actors.split(",")]
    for name in chosen:
        if name not in known:
            raise InvalidInput(
                f"hdm05: actors={actors!r}: {name!r} is not among the training actors {', '.join(known)}."
                f"{closest(name, known)}"
            )
    if split == "test":
        return np.flatnonzero(clips.motions.split == "test")
    own = np.flatnonzero((clips.motions.split == "train") & np.isin(clips.motions.actor, chosen))
    held = hold_out & (np.arange(len(own)) % _EVERY == _EVERY - 1)
    if split == "val":
        return own[held]
    own = own[~held]
    if shots is None:
        return own
    at_least_one("hdm05", shots=shots)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn: list[Array] = []
    for action in range(len(ACTIONS)):
        found = own[clips.label[own] == action]
        if len(found) < shots:
            raise InvalidInput(
                f"hdm05: shots={shots}, but {', '.join(chosen)} have {len(found)} clips of action {action} "
                f"({ACTIONS[action]}) to train on."
            )
        drawn.append(rng.permutation(found)[:shots])
    return np.concatenate(drawn)


def make_hdm05(
    n: int,
    seed: int,
    form: str = "covariance",
    split: str | None = None,
    actors: str | None = None,
    shots: int | None = None,
    hold_out: bool = False,
    shrink: float = 1e-3,
    windows: int = 6,
    rank: int = 8,
    path: str | None = None,
) -> dict[str, Tensor]:
    r"""Return clips of one part of HDM05 in random order, in float64.

    Args:
        n: number of clips, all different.
        seed: of the order and of the draw of the shots; the same seed gives the same samples.
        form: ``"covariance"``, ``"windows"``, ``"subspace"`` or ``"joints"``, see below.
        split: ``"train"``, ``"val"`` or ``"test"``; by default that of the seed, as
            :func:`~geomlib.datasets.tasks.make_task` counts them: the three sets have seeds 3 s, 3 s + 1 and 3 s + 2.
        actors: whom to train on, see :func:`clip_numbers`.
        shots: clips of every action to train on.
        hold_out: keep every fifth training clip for validation.
        shrink: part of the mean variance that is added to the diagonal of covariances.
        windows: of a clip, for ``"windows"``.
        rank: of the subspaces.
        path: of the file, see :func:`~geomlib.datasets.motion.motion_file`.

    Returns:
        ``label`` (n,), 0..10, and by form ``cov`` (n, 93, 93), of the coordinates of the joints relative to the first;
        ``cov`` (n, windows, parts, 15, 15), of five parts of the body in overlapping windows; ``basis`` (n, 93, rank), the
        first left singular vectors of the coordinates; ``joints`` (n, longest, 93), zero behind a clip's own ``frames`` (n,).

    Raises:
        InvalidInput: no file, unknown options, or fewer clips than samples; the message says how many there are.

    Source: Müller, Röder, Clausen, Eberhardt, Krüger and Weber, *Documentation mocap database HDM05*, 2007, whom users of
    the data should cite; clips of eleven actions as in github.com/zhangchi8620/JointLearning-HDM05.
    """
    at_least_one("hdm05", n=n, windows=windows, rank=rank)
    if form not in FORMS:
        raise InvalidInput(f"hdm05: form={form!r}, expected one of {', '.join(FORMS)}.{closest(form, FORMS)}")
    clips = read_clips(path)
    split = SPLITS[seed % 3] if split is None else split
    index = clip_numbers(clips, split, actors=actors, shots=shots, hold_out=hold_out, seed=seed)
    if n > len(index):
        raise InvalidInput(
            f"hdm05: {n} clips of {split} were asked for, there are {len(index)} "
            f"(actors={actors}, shots={shots}, hold_out={hold_out})."
        )
    index = np.random.default_rng(np.random.SeedSequence([seed, 1])).permutation(index)[:n]
    found = {"label": torch.from_numpy(clips.label[index])}
    coordinates = [clips.relative(i) for i in index.tolist()]
    if form == "joints":
        longest = int(np.diff(clips.motions.offsets).max())
        padded = np.zeros((n, longest, coordinates[0].shape[1]))
        for row, x in zip(padded, coordinates, strict=True):
            row[: len(x)] = x
        frames = torch.tensor([len(x) for x in coordinates])
        return found | {"joints": torch.from_numpy(padded), "frames": frames}
    if form == "subspace":
        return found | {"basis": torch.from_numpy(np.stack([subspace(x, rank) for x in coordinates]))}
    if form == "windows":
        local = [window_covariances(x, windows, shrink=shrink) for x in coordinates]
        return found | {"cov": torch.from_numpy(np.stack(local))}
    return found | {"cov": torch.from_numpy(np.stack([covariance(x, shrink) for x in coordinates]))}


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return accuracies of the majority class, and of the nearest covariance where they are served."""
    label, truth = train["label"], test["label"]
    scores = {"majority class": float((truth == torch.bincount(label).argmax()).double().mean())}
    if "cov" in train:
        seen, asked = (s["cov"].flatten(1) for s in (train, test))
        scores["nearest covariance"] = float(
            (truth == label[torch.cdist(asked, seen).argmin(-1)]).double().mean()
        )
    return scores


def _form(form: str, actors: str | None = None) -> Callable[..., dict[str, Tensor]]:
    def make(
        n: int,
        seed: int,
        actors: str | None = actors,
        shots: int | None = None,
        hold_out: bool = False,
        shrink: float = 1e-3,
        windows: int = 6,
        rank: int = 8,
        path: str | None = None,
    ) -> dict[str, Tensor]:
        return make_hdm05(
            n, seed, form, None, actors, shots, hold_out, shrink=shrink, windows=windows, rank=rank, path=path
        )

    return make


def _task(
    name: str, title: str, make: Callable[..., dict[str, Tensor]], inputs: tuple[str, ...], train: int
) -> Task:
    return Task(
        name=name,
        title=f"which of eleven actions {title} shows; other actors than in training",
        make=make,
        inputs=inputs,
        target="label",
        loss="cross_entropy",
        sizes=(train, 0, 99),
        baselines=_baselines,
        source="HDM05 (Müller et al., 2007); clips of github.com/zhangchi8620/JointLearning-HDM05",
    )


HDM05 = _task("hdm05", "a covariance of joints", _form("covariance"), ("cov",), 188)
HDM05_ONE = _task(
    "hdm05_one", "a covariance of joints, after one actor,", _form("covariance", "bd"), ("cov",), 62
)
HDM05_WINDOWS = _task("hdm05_windows", "a sequence of local covariances", _form("windows"), ("cov",), 188)
HDM05_SUBSPACES = _task("hdm05_subspaces", "a subspace of joints", _form("subspace"), ("basis",), 188)
