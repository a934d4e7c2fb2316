"""Buffers of the loops, and their calls: every array that Python hands over costs as much time as ten matrices."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import ASYMMETRY, require_symmetric
from geomlib.algebra.manifolds.spectral.primitives import check
from geomlib.kernels.arrays import array, room

__all__ = ["evaluate", "flat", "limits", "pack", "pull", "unpack", "workspace"]


def flat(x: Tensor) -> Any:
    """Return all entries as one array, of the same memory where they are contiguous."""
    return array(x).reshape(-1)


def workspace(matrices: int, n: int, dtype: torch.dtype) -> Any:
    """Return room for so many matrices in registers, and some rows."""
    return room(1, (matrices * (n + 1) + 8) * n * _width(), dtype=dtype)[0]


@functools.cache
def limits(n: int, dtype: torch.dtype, eig_dtype: torch.dtype) -> Any:
    """Return the thresholds of the loops, see `geomlib.kernels.spectral.cpu.evaluate`."""
    eps = torch.finfo(eig_dtype).eps
    single = eig_dtype == torch.float32
    top = math.log(torch.finfo(dtype).max)
    numbers = [eps, 1e-18 if single else 1e-140, 100.0 if single else 1000.0, n * eps, top, ASYMMETRY]
    return torch.tensor(numbers, dtype=eig_dtype).numpy()


def _groups(count: int, n: int, dtype: torch.dtype) -> Tensor:
    width = _width()
    return torch.empty((-(-count // width), (n + 4) * n * width), dtype=dtype)


@functools.cache
def _loops() -> tuple[Any, dict[str, int]]:
    """Return the compiled loops and their names of functions; Numba is imported when they are first called."""
    from geomlib.kernels.spectral import cpu
    from geomlib.kernels.spectral.functions import CODES

    return cpu, CODES


@functools.cache
def _width() -> int:
    from geomlib.kernels.spectral.eigen import W

    return W


def evaluate(A: Tensor, f: str, t: float, eig_dtype: torch.dtype, *, keep: bool) -> tuple[Tensor, Tensor]:
    """Return f(A) and the decompositions in groups; without ``keep`` only those of one group, which nobody reads.

    Raises:
        InvalidInput: as `geomlib.algebra.manifolds.spectral.primitives.check`.
    """
    cpu, codes = _loops()
    n = A.shape[-1]
    out = torch.empty(A.shape, dtype=A.dtype)
    saved = _groups(A.numel() // (n * n) if keep else 1, n, eig_dtype)
    bad = cpu.evaluate(
        flat(A),
        n,
        codes[f],
        t,
        flat(out),
        saved.numpy(),
        workspace(2, n, eig_dtype),
        limits(n, A.dtype, eig_dtype),
    )
    if bad or f == "top":  # those who know the words
        require_symmetric("A", A)
        whole = saved if keep else evaluate(A, "clamp", -math.inf, eig_dtype, keep=True)[1]
        check(A, unpack(whole, A.shape)[0], f, t)
    return out, saved


def pull(saved: Tensor, f: str, t: float, E: Tensor) -> Tensor:
    """Return the derivative in direction E from the groups of :func:`evaluate` with ``keep``."""
    cpu, codes = _loops()
    n = E.shape[-1]
    out = torch.empty(E.shape, dtype=E.dtype)
    cpu.pull(saved.numpy(), n, codes[f], t, flat(E), flat(out), workspace(2, n, saved.dtype))
    return out


def unpack(saved: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors of matrices of a shape."""
    cpu, _ = _loops()
    w, v = torch.empty(shape[:-1], dtype=saved.dtype), torch.empty(shape, dtype=saved.dtype)
    cpu.unpack(saved.numpy(), shape[-1], flat(w), flat(v), workspace(2, shape[-1], saved.dtype))
    return w, v


def pack(w: Tensor, v: Tensor, f: str, t: float) -> Tensor:
    """Return eigenvalues and eigenvectors as groups."""
    cpu, codes = _loops()
    n = w.shape[-1]
    saved = _groups(w.numel() // n, n, w.dtype)
    cpu.pack(flat(w), flat(v), n, codes[f], t, saved.numpy(), workspace(2, n, w.dtype))
    return saved
