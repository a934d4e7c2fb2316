"""Matrices with given spectra, fixtures, and divided differences in many digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mpmath
import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parents[3] / "data" / "manifolds"

#: Every function with parameters, on positive spectra around 1.
FUNCTIONS = [
    ("log", None), ("sqrt", None), ("invsqrt", None), ("inv", None), ("exp", None), ("pow", 0.3), ("pow", -1.5),
    ("pow", 2.0), ("clamp", 0.7),
]  # fmt: skip
#: Generic, equal and nearly equal eigenvalues, none within 1e-3 of the floor 0.7.
SPECTRA = [[0.3, 1.0, 2.5], [0.5, 0.5, 2.0], [1.0, 1.0, 1.0], [1.0, 1 + 1e-9, 1.2]]


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as found:
        return {key: torch.from_numpy(found[key]) for key in found.files}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    a = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    return (0.5 * (a + a.mT)).to(dtype)


def with_spectra(spectra: Sequence[Sequence[float]] | Tensor, seed: int = 0) -> Tensor:
    """Return matrices in random bases with these rows as eigenvalues."""
    w = torch.as_tensor(spectra, dtype=torch.float64)
    n = w.shape[-1]
    q = torch.linalg.qr(torch.randn(*w.shape, n, generator=generator(seed), dtype=torch.float64))[0]
    a = (q * w.unsqueeze(-2)) @ q.mT
    return 0.5 * (a + a.mT)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Return the largest error of a matrix relative to its norm."""
    found, wanted = found.detach(), wanted.detach()
    error = (found.double() - wanted.double()).flatten(-2).norm(dim=-1)
    return float((error / wanted.double().flatten(-2).norm(dim=-1)).max())


def mp_derivative(f: str, x: mpmath.mpf, k: int, t: float | None) -> mpmath.mpf:
    """Return the k-th derivative of a function at a number."""
    if f == "exp":
        return mpmath.exp(x)
    if f == "log":
        return mpmath.log(x) if k == 0 else (-1) ** (k - 1) * mpmath.factorial(k - 1) / x**k
    power = {"sqrt": mpmath.mpf(1) / 2, "invsqrt": -mpmath.mpf(1) / 2, "inv": mpmath.mpf(-1)}.get(f)
    power = mpmath.mpf(t) if power is None else power
    return mpmath.ff(power, k) * x ** (power - k)


def mp_divided_difference(f: str, points: Sequence[float], t: float | None = None) -> mpmath.mpf:
    """Return a divided difference in 200 digits, of which close arguments cost some."""
    with mpmath.workdps(200):
        x = sorted(mpmath.mpf(p) for p in points)
        if f == "clamp":  # linear on both sides of the floor
            return _newton(x, lambda p, k: [max(p, t), p > t][k] if k < 2 else 0)
        return _newton(x, lambda p, k: mp_derivative(f, p, k, t))


def _newton(x, derivative) -> mpmath.mpf:
    table = [mpmath.mpf(derivative(p, 0)) for p in x]
    for k in range(1, len(x)):
        table = [
            mpmath.mpf(derivative(x[i], k)) / mpmath.factorial(k)
            if x[i] == x[i + k]
            else (table[i + 1] - table[i]) / (x[i + k] - x[i])
            for i in range(len(x) - k)
        ]
    return table[0]


def mp_directional(f: str, w: Sequence[float], E: Sequence[Tensor], t: float | None = None) -> Tensor:
    """Return the derivative of order len(E) at diag(w) from its definition, every term in many digits."""
    from itertools import permutations, product

    n, k = len(w), len(E)
    table = {
        c: mp_divided_difference(f, [w[i] for i in c], t)
        for c in {tuple(sorted(c)) for c in product(range(n), repeat=k + 1)}
    }
    X = torch.zeros(n, n, dtype=torch.float64)
    for path in product(range(n), repeat=k + 1):
        weight = float(table[tuple(sorted(path))])
        for order in permutations(E):
            X[path[0], path[-1]] += weight * np.prod(
                [float(e[a, b]) for e, a, b in zip(order, path, path[1:], strict=False)]
            )
    return X
