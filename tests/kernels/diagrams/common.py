"""Plans, random inputs, group elements as matrices."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.groups import parse_group
from geomlib.kernels.diagrams import Plan

DATA = Path(__file__).resolve().parents[2] / "data" / "diagrams"


@lru_cache(maxsize=1)
def layers() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the records and the arrays of the thirteen layers."""
    labels = json.loads((DATA / "layers_labels.json").read_text())
    with np.load(DATA / "layers.npz", allow_pickle=False) as data:
        return labels, {name: torch.from_numpy(data[name]) for name in data.files}


def draw(
    plan: Plan, n: int, batch: int = 2, c_in: int = 2, c_out: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, c_in, *[n] * plan.k, dtype=torch.float64, generator=g)
    return x, torch.randn(len(plan), c_out, c_in, dtype=torch.float64, generator=g)


def element(name: str, n: int, component: int = 0, seed: int = 0) -> Tensor:  # (n, n)
    """Return a random element of a group, in one of its connected components."""
    group = parse_group(name).sized(n)
    g = group.sample(group.components()[component], torch.Generator().manual_seed(seed))
    if g.nodes is not None:
        return torch.eye(n, dtype=torch.float64)[g.nodes]
    return g.linear


def act(g: Tensor, x: Tensor) -> Tensor:
    """Return g on every axis but the first two."""
    for axis in range(2, x.dim()):
        x = torch.tensordot(x, g, dims=([axis], [1])).movedim(-1, axis)
    return x
