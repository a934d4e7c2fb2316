r"""Environments in rock salt: which of them are squished, and which neighbour is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["NACL", "NACL_BLANK", "make_nacl", "make_nacl_blank", "neighbours_of_salt"]

Array = np.ndarray[Any, Any]


def neighbours_of_salt() -> tuple[Array, Array]:  # (26, 3), (26,)
    """Return the 26 neighbours of a site of rock salt, and 1 where they are of the other kind.

    >>> where, other = neighbours_of_salt()
    >>> where.shape, int(other.sum())  # six faces and eight corners
    ((26, 3), 14)
    """
    grid = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    where = grid[np.abs(grid).sum(-1) > 0]
    return where, np.abs(where).sum(-1).astype(np.int64) % 2


def make_nacl(
    n: int, seed: int, noise: float = 0.05, squish: float = 0.25, rotate: bool = True
) -> dict[str, Tensor]:
    r"""Draw environments of a site in rock salt, half of them squished along the axes of the crystal.

    Squished ones are stretched by three factors from N(1, squish²). Then every neighbour moves by N(0, noise²) along each
    axis, and the environment is rotated at random. Features of a neighbour are those of the pair with the site in the
    centre, either kind at random: difference and sum of their one-hot kinds.

    The released example adds one random number to all coordinates where its text speaks of noise, and rotates nothing;
    noise per coordinate and rotations are ours.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        noise: deviation of the neighbours' places, in units of the distance between nearest ones.
        squish: deviation of the factors.
        rotate: turn environments at random.

    Returns:
        ``pos`` (n, 26, 3), ``x`` (n, 26, 4), and ``label`` (n,): 1 where the environment is squished.

    Raises:
        InvalidInput: no samples, or a negative deviation.

    Source: the example of Spellings, *Geometric Algebra Attention Networks for Small Point Clouds*, arXiv 2110.02393.

    >>> {k: tuple(v.shape) for k, v in make_nacl(2, 0).items()}
    {'pos': (2, 26, 3), 'x': (2, 26, 4), 'label': (2,)}
    """
    rng = _checked("nacl", n, seed, noise=noise, squish=squish)
    label = rng.integers(0, 2, n)
    factors = np.where(label[:, None] == 1, rng.normal(1.0, squish, (n, 3)), 1.0)
    pos, x = _environments(n, rng, factors, noise, rotate)
    return {"pos": torch.from_numpy(pos), "x": torch.from_numpy(x), "label": torch.from_numpy(label)}


def make_nacl_blank(n: int, seed: int, noise: float = 0.05, rotate: bool = True) -> dict[str, Tensor]:
    r"""Draw environments as :func:`make_nacl` does, none squished, and take one neighbour away.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        noise: deviation of the neighbours' places.
        rotate: turn environments at random.

    Returns:
        ``pos`` (n, 25, 3), ``x`` (n, 25, 4), and ``missing`` (n, 3), where the other one was.

    Raises:
        InvalidInput: no samples, or a negative deviation.

    Source: the example of Spellings, *Geometric Algebra Attention Networks for Small Point Clouds*, arXiv 2110.02393.

    >>> {k: tuple(v.shape) for k, v in make_nacl_blank(2, 0).items()}
    {'pos': (2, 25, 3), 'x': (2, 25, 4), 'missing': (2, 3)}
    """
    rng = _checked("nacl_blank", n, seed, noise=noise)
    pos, x = _environments(n, rng, np.ones((n, 3)), noise, rotate)
    taken = rng.integers(0, pos.shape[1], n)
    left = np.arange(pos.shape[1] - 1)[None, :] + (np.arange(pos.shape[1] - 1)[None, :] >= taken[:, None])
    missing = pos[np.arange(n), taken]
    pos, x = (np.take_along_axis(a, left[..., None], 1) for a in (pos, x))
    return {"pos": torch.from_numpy(pos), "x": torch.from_numpy(x), "missing": torch.from_numpy(missing)}


def _checked(name: str, n: int, seed: int, **deviations: float) -> np.random.Generator:
    at_least_one(name, n=n)
    for key, value in deviations.items():
        if not (np.isfinite(value) and value >= 0):
            raise InvalidInput(f"{name}: {key}={value}: expected a deviation of 0 or more.")
    return np.random.default_rng(np.random.SeedSequence(seed))


def _environments(
    n: int, rng: np.random.Generator, factors: Array, noise: float, rotate: bool
) -> tuple[Array, Array]:
    where, other = neighbours_of_salt()
    pos = where * factors[:, None, :] + rng.normal(0.0, noise, (n, len(where), 3))
    turns = rng.standard_normal((n, 4))
    if rotate:
        pos = pos @ _rotations(turns)
    centre = rng.integers(0, 2, n)
    kinds = np.eye(2)
    own, theirs = kinds[centre][:, None, :], kinds[(centre[:, None] + other) % 2]
    return pos, np.concatenate([own - theirs, own + theirs], -1)


def _rotations(quaternions: Array) -> Array:  # (n, 4) -> (n, 3, 3)
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _class_baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return accuracies of the majority class, and of the nearest mean of sorted distances."""
    label, truth = train["label"], test["label"]
    majority = int(torch.bincount(label).argmax())
    seen, asked = (s["pos"].norm(dim=-1).sort(-1).values for s in (train, test))
    classes = label.unique()
    centres = torch.stack([seen[label == c].mean(0) for c in classes])
    nearest = classes[torch.cdist(asked, centres).argmin(-1)]
    return {
        "majority class": float((truth == majority).double().mean()),
        "nearest mean of sorted distances": float((truth == nearest).double().mean()),
    }


def _vector_baselines(_: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of nothing, and of what makes the environment add up to zero."""
    missing = test["missing"]
    return {
        "zero": float(missing.square().mean()),
        "minus the sum of the others": float((missing + test["pos"].sum(1)).square().mean()),
    }


NACL = Task(
    name="nacl",
    title="whether an environment of 26 neighbours in rock salt is squished",
    make=make_nacl,
    inputs=("pos", "x"),
    target="label",
    loss="cross_entropy",
    sizes=(512, 128, 2048),
    baselines=_class_baselines,
    source="the example of Spellings, arXiv 2110.02393; noise per coordinate and rotations are ours",
)

NACL_BLANK = Task(
    name="nacl_blank",
    title="where the missing one of 26 neighbours in rock salt is",
    make=make_nacl_blank,
    inputs=("pos", "x"),
    target="missing",
    loss="mse",
    sizes=(512, 128, 2048),
    baselines=_vector_baselines,
    source="the example of Spellings, arXiv 2110.02393; noise per coordinate and rotations are ours",
)
