"""Small inputs from which layers and models build their ``example``."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["edges_of", "example_atoms", "example_features"]


def example_atoms(generator: torch.Generator, atoms: int = 6) -> tuple[Tensor, Tensor]:
    """Return species (N,) and positions (N, 3) Å of a random cluster in which no two atoms are close."""
    grid = torch.cartesian_prod(*[torch.arange(3.0)] * 3)
    chosen = torch.randperm(len(grid), generator=generator)[:atoms]
    noise = 0.3 * torch.rand(atoms, 3, generator=generator)
    return torch.randint(1, 9, (atoms,), generator=generator), 1.2 * grid[chosen] + noise


def edges_of(pos: Tensor, cutoff: float = 4.0) -> Tensor:
    """Return all directed edges shorter than ``cutoff``, (2, E)."""
    near = torch.cdist(pos, pos) < cutoff
    near.fill_diagonal_(False)
    return near.nonzero().T.contiguous()


def example_features(generator: torch.Generator, channels: int) -> dict[str, Tensor]:
    """Return compact Cartesian features ``x`` (N, 9, channels) of a cluster, its ``edge_index`` and ``edge_vec``."""
    _, pos = example_atoms(generator)
    edge_index = edges_of(pos)
    return {
        "x": torch.randn(len(pos), 9, channels, generator=generator),
        "edge_index": edge_index,
        "edge_vec": pos[edge_index[1]] - pos[edge_index[0]],
    }
