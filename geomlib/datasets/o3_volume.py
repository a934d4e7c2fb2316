r"""The signed volume of three vectors: a pseudoscalar."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task

__all__ = ["O3_VOLUME", "make_o3_volume"]


def make_o3_volume(n: int, seed: int) -> dict[str, Tensor]:
    r"""Draw three standard normal vectors, and a tenth of their determinant.

    .. math:: y = \tfrac1{10} \det(x_1, x_2, x_3)

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.

    Returns:
        ``pos`` (n, 3, 3), vectors as rows, and ``volume`` (n,), whose variance is 0.06.

    Raises:
        InvalidInput: n below 1.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> {k: tuple(v.shape) for k, v in make_o3_volume(2, 0).items()}
    {'pos': (2, 3, 3), 'volume': (2,)}
    """
    at_least_one("o3_volume", n=n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    pos = rng.standard_normal((n, 3, 3))
    return {"pos": torch.from_numpy(pos), "volume": torch.from_numpy(np.linalg.det(pos) / 10)}


O3_VOLUME = Task(
    name="o3_volume",
    title="signed volume of three vectors, which reflections turn around",
    make=make_o3_volume,
    inputs=("pos",),
    target="volume",
    sizes=(65536, 16384, 16384),
    baselines=mean_baseline("volume"),
    source="Ruhe, Brandstetter and Forré, arXiv 2305.11141",
)
