"""Generated CUDA kernels of spherical harmonics, started on torch's stream: a thread for every point."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.kernels.cuda import launcher
from geomlib.kernels.harmonics.cuda_source import HarmonicsKernel, print_harmonics
from geomlib.kernels.harmonics.plan import Plan

__all__ = ["DEGREE", "curvature", "refusal", "slopes", "values"]

#: Nothing spills up to it; but for a few numbers of second derivatives in double precision beyond degree 6.
DEGREE = 8


def refusal(degrees: tuple[int, ...]) -> str | None:
    """Say why harmonics of these degrees are not served; None if they are."""
    highest = max(degrees, default=0)
    return None if highest <= DEGREE else f"its kernels serve degrees up to {DEGREE}, not {highest}"


def values(plan: Plan, x: Tensor) -> Tensor:
    """Return the harmonics of every point."""
    out = x.new_empty(x.shape[0], len(plan.column))
    run(plan, "values", x, (x, out))
    return out


def slopes(plan: Plan, x: Tensor, g: Tensor) -> Tensor:
    """Return the gradient of <g, values> with respect to every point."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    run(plan, "slopes", x, (x, g, out))
    return out


def curvature(
    plan: Plan, x: Tensor, g: Tensor, v: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of <v, slopes> with respect to g and to every point, those that are needed."""
    gg = x.new_empty(x.shape[0], len(plan.column)) if needs[0] else None
    gx = x.new_empty(x.shape[0], 3) if needs[1] else None
    kind = {(True, True): "curvature", (True, False): "along", (False, True): "bend"}.get(needs)
    if kind is not None:
        run(plan, kind, x, tuple(t for t in (x, g, v, gg, gx) if t is not None))
    return gg, gx


def run(plan: Plan, kind: str, x: Tensor, arrays: tuple[Tensor, ...]) -> None:
    """Start a kernel; nothing where there are no points."""
    count = x.shape[0]
    if not count:
        return
    used = [t.contiguous() for t in arrays]
    kernel = HarmonicsKernel(plan, kind, 8 if x.dtype == torch.float64 else 4)
    grid = -(-count // kernel.block), 1, 1
    numbers = *(t.data_ptr() for t in used), count
    launcher.start(kernel, x.dtype, x, grid, kernel.block, numbers, print_harmonics)
