"""Generated CUDA kernels of spectral functions, started on torch's stream: a thread, a warp or a block for every matrix.

Up to 32 rows functions and gradients are kernels too; above, they are products in torch with a decomposition by a block.
"""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.spectral.primitives import torch_derivative
from geomlib.algebra.manifolds.spectral.scalar import value
from geomlib.kernels.cuda import launcher
from geomlib.kernels.spectral.cuda_block_source import BLOCK_LARGEST, BlockKernel, print_block_eigh
from geomlib.kernels.spectral.cuda_source import LARGEST, SpectralKernel, print_spectral

__all__ = ["derivative", "eigh", "forward", "refusal"]


def refusal(n: int, dtype: torch.dtype, eig_dtype: torch.dtype) -> str | None:
    """Say why matrices of this size and type are not served; None if they are."""
    if n > BLOCK_LARGEST:
        return f"its kernels serve matrices of up to {BLOCK_LARGEST} rows, not {n}"
    known = (torch.float32, torch.float64)
    if dtype not in known or eig_dtype not in known:
        return f"its kernels serve float32 and float64, not {dtype} computed in {eig_dtype}"
    return None


def eigh(A: Tensor, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors."""
    w, v = _room(A, eig_dtype)
    if A.shape[-1] > LARGEST:
        _run_blocks(A, w, v)
    else:
        _run("eigh", "inv", 0.0, A, eig_dtype, (A, w, v))
    return w, v


def forward(A: Tensor, f: str, t: float, eig_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(A), ascending eigenvalues and eigenvectors."""
    if A.shape[-1] > LARGEST:
        w, v = eigh(A, eig_dtype)
        return symmetrize((v * value(f, w, t).unsqueeze(-2)) @ v.mT).to(A.dtype), w, v
    out = torch.empty_like(A, memory_format=torch.contiguous_format)
    w, v = _room(A, eig_dtype)
    _run("forward", f, t, A, eig_dtype, (A, out, w, v))
    return out, w, v


def derivative(w: Tensor, v: Tensor, f: str, t: float, E: Tensor) -> Tensor:
    """Return the derivative of f in direction E."""
    if E.shape[-1] > LARGEST:
        return torch_derivative(w, v, f, t, E)
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


def _run_blocks(A: Tensor, w: Tensor, v: Tensor) -> None:
    """Decompose large matrices; nothing where there are none."""
    n = A.shape[-1]
    count = A.numel() // (n * n)
    if not count:
        return
    used, kernel, room = A.contiguous(), BlockKernel(n, w.dtype), torch.empty_like(v)
    numbers = tuple(x.data_ptr() for x in (used, w, v, room))
    launcher.start(kernel, A.dtype, A, (count, 1, 1), kernel.block, numbers, print_block_eigh)
