"""Spherical harmonics of a plan by kernels: Numba loops for tensors on a CPU, generated CUDA for those on a card."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.irreps import spherical_harmonics as reference
from geomlib.kernels.arrays import array, room
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.harmonics.plan import TILE, Plan

__all__ = ["OPERATION"]

Maybe = Tensor | None


def _reference(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    return reference(plan.degrees, tensors[0], plan.normalize, plan.normalization)


def _forward(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    (x,) = tensors
    if not x.is_cpu:
        from geomlib.kernels.harmonics import cuda

        return cuda.values(plan, x)
    from geomlib.kernels.harmonics import cpu

    real, index = plan.tables(x.dtype)
    out = torch.empty((x.shape[0], len(plan.column)), dtype=x.dtype)
    cpu.values(real, index, array(x), out.numpy(), room(7 + plan.count, TILE, dtype=x.dtype))
    return out


def _backward(
    plan: Plan, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    (x,), n = tensors, plan.count
    if not x.is_cpu:
        from geomlib.kernels.harmonics import cuda

        return (cuda.slopes(plan, x, grad),)
    from geomlib.kernels.harmonics import cpu

    real, index = plan.tables(x.dtype)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    cpu.slopes(
        real, index, array(x), array(grad), out.numpy(), room(10 + 2 * n, TILE, dtype=x.dtype),
        room(TILE, len(plan.column), dtype=x.dtype),
    )  # fmt: skip
    return (out,)


def _double_backward(
    plan: Plan,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    (x,), (v,), n = tensors, tangents, plan.count
    if v is None:
        return None, None
    if not x.is_cpu:
        from geomlib.kernels.harmonics import cuda

        return cuda.curvature(plan, x, grad, v, (needs[0], needs[1]))
    from geomlib.kernels.harmonics import cpu

    d_grad = torch.empty((x.shape[0] if needs[0] else 0, len(plan.column)), dtype=x.dtype)
    d_x = torch.empty((x.shape[0] if needs[1] else 0, 3), dtype=x.dtype)
    real, index = plan.tables(x.dtype)
    cpu.curvature(
        real, index, array(x), array(grad), array(v), needs[0], d_grad.numpy(), needs[1], d_x.numpy(),
        room(19 + 3 * n, TILE, dtype=x.dtype), room(TILE, len(plan.column), dtype=x.dtype),
    )  # fmt: skip
    return d_grad, d_x


#: The harmonics of a plan at points (N, 3).
OPERATION = FusedOperation(_reference, _forward, _backward, _double_backward)
