"""Small data and settings for the tests of training."""

from __future__ import annotations

import torch

from geomlib.datasets import Structures, write_extxyz
from geomlib.train.config import TrainConfig
from geomlib.train.parser import Parsed

TINY = {"channels": 8, "layers": 1, "num_radial": 6, "cutoff": 4.0, "max_z": 10}


def springs(count: int = 40, seed: int = 0, sizes=(2, 3, 4), periodic: bool = False) -> Structures:
    """Clusters of atoms joined by harmonic springs: exact energies, forces and (in a box) stress."""
    g = torch.Generator().manual_seed(seed)
    z, pos, energy, forces, ptr = [], [], [], [], [0]
    for k in range(count):
        n = sizes[k % len(sizes)]
        x = torch.randn(n, 3, generator=g, dtype=torch.float64)
        while n > 1 and float(torch.pdist(x).min()) < 0.7:
            x = torch.randn(n, 3, generator=g, dtype=torch.float64) * 1.2
        kinds = torch.randint(0, 3, (n,), generator=g)
        species = torch.tensor([1, 6, 8])[kinds]
        own = torch.tensor([-1.5, -4.0, -7.0], dtype=torch.float64)[kinds]
        d = x[:, None] - x[None]
        r = d.norm(dim=-1) + torch.eye(n, dtype=torch.float64)
        off = 1 - torch.eye(n, dtype=torch.float64)
        energy.append(own.sum() + (0.25 * (r - 1.5) ** 2 * off).sum() * 0.5)
        forces.append(-(0.5 * (r - 1.5) * off / r)[..., None].mul(d).sum(1))
        z.append(species)
        pos.append(x)
        ptr.append(ptr[-1] + n)
    extra = {}
    if periodic:
        extra = {
            "cell": 9.0 * torch.eye(3).expand(count, 3, 3),
            "pbc": torch.ones(count, 3, dtype=torch.bool),
        }
        # In a box larger than the cluster the stress is the virial over the volume.
        virial = [torch.einsum("ia,ib->ab", x, f) for x, f in zip(pos, forces, strict=True)]
        extra["stress"] = -torch.stack(virial) / 9.0**3
    return Structures(
        z=torch.cat(z), pos=torch.cat(pos), ptr=ptr, energy=torch.stack(energy), forces=torch.cat(forces),
        source="springs", **extra,
    )  # fmt: skip


def settings(folder, data=None, model=None, **options) -> Parsed:
    """Settings of a quick run in `folder`, on springs if no data is named."""
    if data is None:
        data = folder.parent / "springs.extxyz"
        if not data.exists():
            write_extxyz(data, springs())
    base = {"epochs": 4, "batch_size": 4, "val_size": 6, "test_size": 6, "progress": False, "plots": False}
    config = TrainConfig(
        data=str(data), out=str(folder), accelerator="cpu", **{**base, "warmup": 5, **options}
    )
    return Parsed(config, {**TINY, **(model or {})})
