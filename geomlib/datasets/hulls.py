r"""Volumes of convex hulls of random points."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["HULL5", "HULL5_8", "hull_volumes", "make_hull5", "make_hull5_8"]

Array = np.ndarray[Any, Any]


def make_hull5(n: int, seed: int, points: int = 16, dim: int = 5) -> dict[str, Tensor]:
    r"""Draw standard normal points, and the volume of their convex hull.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        points: in each sample.
        dim: of space.

    Returns:
        ``pos`` (n, points, dim) and ``volume`` (n,).

    Raises:
        InvalidInput: fewer than dim + 1 points, or sizes below 1.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> {k: tuple(v.shape) for k, v in make_hull5(2, 0).items()}
    {'pos': (2, 16, 5), 'volume': (2,)}
    """
    at_least_one("hull5", n=n, points=points, dim=dim)
    if dim < 2 or points <= dim:
        raise InvalidInput(
            f"hull5: points={points}, dim={dim}: a hull takes dim >= 2 and dim + 1 points or more."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    pos = rng.standard_normal((n, points, dim))
    return {"pos": torch.from_numpy(pos), "volume": torch.from_numpy(hull_volumes(pos))}


def make_hull5_8(n: int, seed: int, points: int = 8, dim: int = 5) -> dict[str, Tensor]:
    """Return :func:`make_hull5` of eight points.

    >>> make_hull5_8(2, 0)["pos"].shape
    torch.Size([2, 8, 5])
    """
    return make_hull5(n, seed, points, dim)


def hull_volumes(pos: Array) -> Array:  # (n, points, dim) -> (n,)
    """Return the volumes of the convex hulls, by Qhull.

    Raises:
        MissingDependency: scipy is not there.

    >>> cube = np.array([[[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]], dtype=float)
    >>> hull_volumes(cube).round(12).tolist()
    [1.0]
    """
    try:
        spatial = importlib.import_module("scipy.spatial")
    except ImportError:
        raise MissingDependency(
            "scipy is needed for volumes of convex hulls: pip install scipy, or pip install 'geomlib-torch[train]'."
        ) from None
    return np.array([spatial.ConvexHull(x).volume for x in pos])


HULL5 = Task(
    name="hull5",
    title="volume of the convex hull of 16 points in five dimensions",
    make=make_hull5,
    inputs=("pos",),
    target="volume",
    sizes=(16384, 16384, 16384),
    baselines=mean_baseline("volume"),
    source="Ruhe, Brandstetter and Forré, arXiv 2305.11141",
)

HULL5_8 = Task(
    name="hull5_8",
    title="volume of the convex hull of 8 points in five dimensions",
    make=make_hull5_8,
    inputs=("pos",),
    target="volume",
    sizes=(16384, 16384, 16384),
    baselines=mean_baseline("volume"),
    source="Liu, Ruhe, Eijkelboom and Forré, arXiv 2402.10011",
)
