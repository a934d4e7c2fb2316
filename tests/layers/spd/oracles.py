"""Formulas of the specification in plain NumPy and SciPy, matrix by matrix."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import cholesky, expm, inv, logm, solve_continuous_lyapunov, sqrtm
from torch import Tensor


def spd(*shape: int, seed: int = 0, low: float = 0.3) -> Tensor:
    """Return random SPD matrices (*shape, n), of which the last number is n."""
    n = shape[-1]
    a = torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.mT / n + low * torch.eye(n, dtype=torch.float64)


def power(a: np.ndarray, t: float) -> np.ndarray:
    w, v = np.linalg.eigh(a)
    return (v * w**t) @ v.T


def pair(a: np.ndarray, b: np.ndarray, alpha: float, beta: float) -> float:
    return float(alpha * np.trace(a @ b) + beta * np.trace(a) * np.trace(b))


def phi(a: np.ndarray) -> np.ndarray:
    """Return the log-Cholesky chart."""
    low = cholesky(a, lower=True)
    return np.tril(low, -1) + np.diag(np.log(np.diag(low)))


def logit(metric: str, s, p, a, theta: float = 1.0, alpha: float = 1.0, beta: float = 0.0) -> float:
    """Return the logit of S for the hyperplane through P with the normal A, by SciPy's matrix functions."""
    s, p, a = (np.asarray(m) for m in (s, p, a))
    if metric == "le":
        return pair(logm(s) - logm(p), a, alpha, beta)
    if metric == "ai":
        root = inv(sqrtm(power(p, theta)))
        return pair(logm(root @ power(s, theta) @ root), a, alpha, beta) / theta
    if metric == "euclidean":
        return pair(power(s, theta) - power(p, theta), a, alpha, beta) / theta
    if metric == "lc":
        normal = np.tril(a, -1) + np.diag(np.diag(a)) / 2
        return float(((phi(power(s, theta)) - phi(power(p, theta))) * normal).sum()) / theta
    p, s = power(p, theta), power(s, theta)
    low, mixed = cholesky(p, lower=True), sqrtm(p @ s)
    carried = solve_continuous_lyapunov(p, low @ a @ low.T)
    return float((np.real(mixed + mixed.T - 2 * p) * carried).sum()) / (2 * theta)


def exponential(a: Tensor) -> np.ndarray:
    return expm(a.detach().numpy())
