"""Frames, fixtures and dense references for the tests of subspaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parents[3] / "data" / "manifolds"


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as found:
        return {key: torch.from_numpy(found[key]) for key in found.files}


def frames(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(x)[0]


def orthonormal(a: Tensor) -> Tensor:
    """Return the polar factor of free matrices near frames by iteration: products only, differentiable by autograd."""
    for _ in range(7):
        a = 1.5 * a - 0.5 * a @ (a.mT @ a)
    return a


def omega(B: Tensor) -> Tensor:
    """Return the skew matrix of a block."""
    p, q = B.shape[-1], B.shape[-2]
    full = B.new_zeros(*B.shape[:-2], p + q, p + q)
    full[..., p:, :p], full[..., :p, p:] = B, -B.mT
    return full


def pair(angles: Tensor, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return frames (..., n, p) with these principal angles (..., p), each turned by a rotation of its own."""
    p = angles.shape[-1]
    q, r, s = frames(n, n, seed=seed), frames(p, p, seed=seed + 1), frames(p, p, seed=seed + 2)
    U = q[:, :p]
    V = U * angles.cos().unsqueeze(-2) + q[:, p : 2 * p] * angles.sin().unsqueeze(-2)
    return (U @ r).expand_as(V), V @ s


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0
