r"""Lengths and directions of bonds, with a backward pass that treats the geometry as given.

Training on forces differentiates the energy with respect to the bond vectors and then the result with respect to the
weights, never twice with respect to the vectors; the fast path is exact for that and only that.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.cartesian import directions
from geomlib.kernels.arrays import array
from geomlib.kernels.dispatch import choose

__all__ = ["bond_geometry"]


def bond_geometry(
    vec: Tensor,  # (P, 3)
    *,
    loop: bool,
    second_order: bool = True,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:  # (P or P + 1,), (P, 9)
    r"""Return :math:`r = |v|` and the compact rows of :math:`\mathbb 1, [\hat v]_\times, \hat v\hat v^\top - \mathbb 1/3`.

    Args:
        vec: bond vectors, none of them zero, (P, 3).
        loop: append the length 0 of the self loops.
        second_order: second derivatives with respect to ``vec`` may be asked for.
        backend: "auto", "torch" or "cpu"; the Numba loops serve ``second_order=False`` only.
    """
    if not second_order and choose("bond_geometry", (vec,), backend) == "cpu":
        return _Geometry.apply(vec, loop)
    length = torch.linalg.vector_norm(vec, dim=-1)
    direction = directions(vec / length[:, None])
    return (torch.cat([length, length.new_zeros(1)]) if loop else length), direction


@functools.cache
def _constants(dtype: torch.dtype) -> Any:
    values = [math.sqrt(2.0), math.sqrt(1.5), math.sqrt(0.5), math.sqrt(3.0), 1.0 / 3.0]
    return torch.tensor(values, dtype=torch.float64).to(dtype).numpy()


class _Geometry(Function):
    @staticmethod
    def forward(ctx: Any, vec: Tensor, loop: bool) -> tuple[Tensor, Tensor]:
        from geomlib.kernels.geometry import cpu

        length = vec.new_zeros(vec.shape[0] + int(loop))
        direction = vec.new_empty(vec.shape[0], 9)
        cpu.geometry(_constants(vec.dtype), array(vec), length.numpy(), direction.numpy())
        ctx.vec, ctx.length = vec.detach(), length.detach()
        return length, direction

    @staticmethod
    def backward(ctx: Any, grad_length: Tensor, grad_direction: Tensor) -> tuple[Tensor, None]:
        return _Pull.apply(ctx.vec, ctx.length, grad_length, grad_direction), None


class _Pull(Function):
    @staticmethod
    def forward(ctx: Any, vec: Tensor, length: Tensor, grad_length: Tensor, grad_direction: Tensor) -> Tensor:
        from geomlib.kernels.geometry import cpu

        ctx.vec, ctx.length = vec, length
        out = vec.new_empty(vec.shape)  # whatever the memory order of vec
        arrays = (array(t) for t in (vec, length, grad_direction, grad_length))
        cpu.pull(_constants(vec.dtype), *arrays, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, tangent: Tensor) -> tuple[None, None, Tensor, Tensor]:
        from geomlib.kernels.geometry import cpu

        if torch.is_grad_enabled() and tangent.requires_grad:
            raise RuntimeError(
                "bond_geometry(second_order=False) was differentiated three times; use second_order=True"
            )
        vec, length = ctx.vec, ctx.length
        g, gr = vec.new_empty(vec.shape[0], 9), torch.zeros_like(length)
        cpu.push(_constants(vec.dtype), array(vec), array(length), array(tangent), g.numpy(), gr.numpy())
        return None, None, gr, g
