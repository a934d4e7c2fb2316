"""Fixtures and spaces that the tests of SPD matrices share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD
from geomlib.testing import random_spd, random_symmetric

DATA = Path(__file__).parents[3] / "data" / "manifolds"


@cache
def fixture(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"{name}.npz") as found:
        return {key: torch.from_numpy(np.asarray(found[key])) for key in found.files}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spd(size: int, n: int, kappa: float = 100.0, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return random_spd(size, n, kappa=kappa, generator=generator(seed), dtype=dtype)


def symmetric(size: int, n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return random_symmetric(size, n, generator=generator(seed), dtype=dtype)


def space(name: str, n: int = 3) -> SPD:
    """Return a space by a short name: the metric, and what is deformed."""
    return {
        "ai": lambda: SPD("ai"),
        "ai power": lambda: SPD("ai", theta=0.5, alpha=2.0, beta=-0.3),
        "le": lambda: SPD("le"),
        "le trace": lambda: SPD("le", alpha=2.0, beta=0.3),
        "lc": lambda: SPD("lc"),
        "lc power": lambda: SPD("lc", theta=-0.7),
        "lc limit": lambda: SPD("lc", theta=0.0),
        "bw": lambda: SPD("bw"),
        "bw power": lambda: SPD("bw", theta=0.5),
        "gbw": lambda: SPD("gbw", M=spd(1, n, 10.0, seed=9)[0]),
        "gbw power": lambda: SPD("gbw", theta=0.5, M=spd(1, n, 10.0, seed=9)[0]),
    }[name]()


SPACES = (
    "ai", "ai power", "le", "le trace", "lc", "lc power", "lc limit", "bw", "bw power", "gbw", "gbw power",
)  # fmt: skip
COMPLETE = tuple(name for name in SPACES if "bw" not in name)
FLAT = tuple(name for name in COMPLETE if "ai" not in name)
#: The same, deformed metrics among the long tests.
MAIN = [
    "ai",
    "lc",
    "bw",
    *(pytest.param(n, marks=pytest.mark.slow) for n in SPACES if n not in ("ai", "lc", "bw")),
]
