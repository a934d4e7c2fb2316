"""Matrices with repeated, close and distant eigenvalues."""

from __future__ import annotations

import torch
from torch import Tensor

#: Every function with a parameter; the floor is no eigenvalue.
FUNCTIONS = [
    ("log", 0.0), ("sqrt", 0.0), ("invsqrt", 0.0), ("inv", 0.0), ("exp", 0.0), ("pow", 0.3), ("pow", -1.5), ("pow", 1e-3),
    ("clamp", 0.7),
]  # fmt: skip


def matrices(
    count: int,
    n: int,
    kind: str = "apart",
    kappa: float = 100.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """SPD matrices whose eigenvalues are ``apart``, half of them ``equal`` or ``close``, or ``one``."""
    g = torch.Generator().manual_seed(seed)
    w = kappa ** (torch.rand(count, n, dtype=torch.float64, generator=g) - 0.5)
    half = max(2, n // 2)
    if kind == "equal":
        w[:, :half] = w[:, :1]
    if kind == "close":
        w[:, :half] = w[:, :1] * (
            1 + 1e-10 * torch.rand(count, half, dtype=torch.float64, generator=g)[:, :n]
        )
    if kind == "one":
        w[:] = 2.0
    q = torch.linalg.qr(torch.randn(count, n, n, dtype=torch.float64, generator=g))[0]
    a = (q * w.unsqueeze(-2)) @ q.mT
    return (0.5 * (a + a.mT)).to(dtype)


def directions(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Return the largest error of a matrix, relative to the largest norm: log(A) may be next to nothing where A is 1."""
    error = (found.detach().double() - wanted.detach().double()).flatten(-2).norm(dim=-1)
    return float(error.max() / wanted.detach().double().flatten(-2).norm(dim=-1).max())
