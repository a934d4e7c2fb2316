"""Generated CUDA kernels of spectral functions, started on torch's stream: a thread or a warp for every matrix."""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from geomlib.kernels.cuda import launcher
from geomlib.kernels.spectral.cuda_source import LARGEST, SpectralKernel, print_spectral

__all__ = ["derivative", "eigh", "forward", "refusal"]


def refusal(n: int, dtype: torch.dtype, eig_dtype: torch.dtype) -> str | None:
    """Say why matrices of this size and type are not served; None if they are."""
    if n > LARGEST:
        return f"its kernels serve matrices of up to {LARGEST} rows, not {n}"
    known = (torch.float32, torch.float64)
    if dtype not in known or eig_dtype not in known:
        return f"its kernels serve float32 and float64, not {dtype} computed in {eig_dtype}"
    return None


def eigh(A: Tensor, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    w, v = _room(A, eig_dtype)
    _run("eigh", "inv", 0.0, A, eig_dtype, (A, w, v))
    return w, v


def forward(A: Tensor, f: str, t: float, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    out = torch.empty_like(A, memory_format=torch.contiguous_format)
    w, v = _room(A, eig_dtype)
    _run("forward", f, t, A, eig_dtype, (A, out, w, v))
    return out, w, v


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor) -> Tensor:
    """Return the derivative of f in direction E."""
    out = torch.empty_like(E, memory_format=torch.contiguous_format)
    _run("derivative", f, t, E, w.dtype, (w, v, E, out))
    return out


def _room(A: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return A.new_empty(A.shape[:-1], dtype=dtype), A.new_empty(A.shape, dtype=dtype)


def _run(kind: str, f: str, t: float, x: Tensor, real: torch.dtype, arrays: tuple[Tensor, ...]) -> None:
    """Start a kernel; nothing where there are no matrices."""
    n = x.shape[-1]
    count = x.numel() // (n * n)
    if not count:
        return
    used = [a.contiguous() for a in arrays]
    kernel = SpectralKernel(kind, f, n, real)
    grid = -(-count // kernel.matrices), 1, 1
    (bits,) = struct.unpack("<q", struct.pack("<d", t))
    numbers = *(a.data_ptr() for a in used), bits, count
    launcher.start(kernel, x.dtype, x, grid, kernel.block, numbers, print_spectral)
