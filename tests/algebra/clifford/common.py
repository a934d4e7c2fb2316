"""Signatures, random multivectors, and a matrix representation that shares nothing with geomlib."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from geomlib.algebra.clifford import CliffordAlgebra

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "clifford"
SIGNATURES = [
    (2, 0, 0), (3, 0, 0), (0, 3, 0), (1, 1, 0), (1, 3, 0), (5, 0, 0), (4, 1, 0), (2, 0, 1), (3, 0, 1), (2, 0, 2), (3, 1, 1),
]  # fmt: skip


def rand(alg: CliffordAlgebra, *shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, alg.size, dtype=torch.float64, generator=g)


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as data:
        return {k: torch.from_numpy(data[k]) for k in data.files if data[k].dtype.kind in "fiu"}


def matrices(metric: tuple[int, ...]) -> list[np.ndarray]:
    """Matrices of the blades in short-lexicographic order, by Jordan and Wigner.

    A generator squares to one as X or Y behind Zs; times i it squares to minus one; X + iY squares to zero.
    """
    x, y, z, one = (
        np.array(m, dtype=complex)
        for m in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]], np.eye(2))
    )
    n = len(metric)
    generators = []
    for k, square in enumerate(metric):
        here = {1: x, -1: 1j * x, 0: (x + 1j * y) / 2}[square]
        generators.append(reduce(np.kron, [z] * k + [here] + [one] * (n - k - 1)))
    found = []
    for grade in range(n + 1):
        for subset in combinations(range(n), grade):
            found.append(reduce(np.matmul, [generators[i] for i in subset], np.eye(2**n)))
    return found


def as_matrix(metric: tuple[int, ...], x: torch.Tensor) -> np.ndarray:
    return sum(float(v) * m for v, m in zip(x, matrices(metric), strict=True))
