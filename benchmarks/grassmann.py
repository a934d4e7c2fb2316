"""The rotation of a block beside the dense exponential, and logarithms beside singular value decompositions; one thread.

    OMP_NUM_THREADS=1 python benchmarks/grassmann.py --out benchmarks/results/grassmann_cpu.json

The translation layer of GyroGr: 30 samples, 8 channels, Gr(93, 10), float32; every channel has a block of its own. Rivals, all
written here from their formulas and checked against ours in float64 before anything is timed. "dense": the skew (n, n) matrix
and ``torch.linalg.matrix_exp``. "svd": the exponential from the singular value decomposition of the block, and for the
logarithm the textbook form, arctangents of singular values of H (U^T V)^-1, H = (I - U U^T) V; derivatives of both are NaN
where singular values are equal, as those of a block of zeros and of equal subspaces are. "training" is a forward and a
backward pass. Process CPU times, the quickest round of each side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.grassmann import block_rotate, frame_log
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, keep_memory

N, P, CHANNELS, BATCH = 93, 10, 8, 30


def dense(B: Tensor, U: Tensor) -> Tensor:
    """Return e^Omega U with the matrix written out."""
    p = B.shape[-1]
    full = B.new_zeros(*B.shape[:-2], U.shape[-2], U.shape[-2])
    full[..., p:, :p], full[..., :p, p:] = B, -B.mT
    return torch.linalg.matrix_exp(full) @ U


def by_svd(B: Tensor, U: Tensor) -> Tensor:
    """Return e^Omega U from B = X diag(s) Y^T."""
    p = B.shape[-1]
    X, s, Yh = torch.linalg.svd(B, full_matrices=False)
    first, rest = Yh @ U[..., :p, :], X.mT @ U[..., p:, :]
    c, t = s.cos().unsqueeze(-1), s.sin().unsqueeze(-1)
    top = U[..., :p, :] + Yh.mT @ ((c - 1) * first - t * rest)
    return torch.cat([top, U[..., p:, :] + X @ (t * first + (c - 1) * rest)], -2)


def log_by_svd(U: Tensor, V: Tensor) -> Tensor:
    """Return the logarithm from a solve and a singular value decomposition."""
    M = U.mT @ V
    X, s, Yh = torch.linalg.svd(torch.linalg.solve(M, V - U @ M, left=False), full_matrices=False)
    return (X * s.atan().unsqueeze(-2)) @ Yh


def training(function: Callable[[Tensor, Tensor], Tensor], *tensors: Tensor) -> Callable[[], Any]:
    """Return a call of a forward and a backward pass."""
    leaves = [t.clone().requires_grad_() for t in tensors]

    def run() -> None:
        torch.autograd.grad(function(*leaves).square().sum(), leaves)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Exponentials and logarithms on the Grassmann manifold.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    g = torch.Generator().manual_seed(0)
    B = torch.randn(CHANNELS, N - P, P, generator=g, dtype=torch.float64) / 8
    U = torch.linalg.qr(torch.randn(BATCH, CHANNELS, N, P, generator=g, dtype=torch.float64))[0]
    V = torch.linalg.qr(U + torch.randn(U.shape, generator=g, dtype=torch.float64) / 40)[0]
    want = dense(B, U)
    errors = {
        "rotate": float((block_rotate(B, U) - want).abs().max()),
        "rotate, svd": float((by_svd(B, U) - want).abs().max()),
        "log": float((frame_log(U, V) - log_by_svd(U, V)).abs().max()),
    }
    if max(errors.values()) > 1e-12:
        raise RuntimeError(f"the sides disagree: {errors}")
    b, u, v = B.float(), U.float(), V.float()
    sides: dict[str, dict[str, Callable[[], Any]]] = {
        "rotate, forward": {
            "geomlib": lambda: block_rotate(b, u), "dense": lambda: dense(b, u), "svd": lambda: by_svd(b, u),
        },
        "rotate, training": {
            "geomlib": training(block_rotate, b, u), "dense": training(dense, b, u), "svd": training(by_svd, b, u),
        },
        "log, forward": {"geomlib": lambda: frame_log(u, v), "svd": lambda: log_by_svd(u, v)},
        "log, training": {"geomlib": training(frame_log, u, v), "svd": training(log_by_svd, u, v)},
    }  # fmt: skip
    rows: dict[str, dict[str, float]] = {}
    for name, functions in sides.items():
        times = interleaved(functions, options.rounds)
        rows[name] = {side: round(1e3 * min(t), 3) for side, t in times.items()}
        print(name, rows[name], flush=True)
    if options.out:
        about = machine(
            "OMP_NUM_THREADS=1 python benchmarks/grassmann.py --out benchmarks/results/grassmann_cpu.json"
        )
        about |= {
            "n": N,
            "p": P,
            "channels": CHANNELS,
            "batch": BATCH,
            "dtype": "float32",
            "unit": "ms of CPU time",
        }
        options.out.write_text(
            json.dumps({"about": about, "errors_float64": errors, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
