r"""Spherical harmonics with hand-written first and second derivatives, recomputed instead of stored.

The gradient of a solid harmonic is a combination of solid harmonics one degree lower, so the value, the gradient and the
gradient of the gradient are three contractions of one recursion with one small table.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps import spherical_harmonics as reference
from geomlib.algebra.irreps.harmonics import check_harmonics, degrees_of
from geomlib.kernels.arrays import array, room
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.dispatch import choose, traced
from geomlib.kernels.harmonics.plan import TILE, Plan, plan_of

__all__ = ["spherical_harmonics"]

Maybe = Tensor | None


def spherical_harmonics(
    l: int | Sequence[int] | str | Irreps,
    x: Tensor,  # (..., 3)
    normalize: bool = True,
    normalization: str = "component",
    *,
    backend: str | None = None,
) -> Tensor:  # (..., sum of 2l + 1)
    r"""Return :func:`geomlib.algebra.irreps.spherical_harmonics`, by the fastest backend.

    Args:
        l: a degree, several, or irreps.
        x: vectors.
        normalize: evaluate at x/\|x\|.
        normalization: ``"component"``, ``"norm"`` or ``"integral"``.
        backend: "auto", "torch" or "cpu".

    Raises:
        InvalidInput: as the reference; a backend that cannot serve ``x``.

    >>> spherical_harmonics([0, 1], torch.randn(5, 3)).shape
    torch.Size([5, 4])
    """
    check_harmonics(x, normalization)
    degrees = _degrees(l if isinstance(l, (int, str, Irreps)) else tuple(l))
    # Traced code takes plain operators, which have derivatives of any order there too.
    plain = not degrees or (backend != "cpu" and traced(x))
    if plain or choose("spherical_harmonics", (x,), backend) != "cpu":
        return reference(degrees, x, normalize, normalization)
    plan, columns = _columns(degrees, bool(normalize), normalization)
    # A view would be one more step of the backward pass, as long as the harmonics of hundreds of points.
    out = _HARMONICS(plan, x if x.dim() == 2 else x.reshape(-1, 3))
    if columns is not None:
        out = out[:, columns]
    return out if x.dim() == 2 else out.reshape(*x.shape[:-1], out.shape[-1])


@functools.lru_cache(maxsize=256)
def _degrees(l: int | tuple[int, ...] | str | Irreps) -> tuple[int, ...]:
    return tuple(degrees_of(l))


@functools.lru_cache(maxsize=256)
def _columns(degrees: tuple[int, ...], normalize: bool, normalization: str) -> tuple[Plan, Tensor | None]:
    """Return the plan of the sorted degrees, and which of its columns make up degrees in any order, repeated ones too."""
    plan = plan_of(tuple(sorted(set(degrees))), normalize, normalization)
    if degrees == plan.degrees:
        return plan, None
    start = {d: sum(2 * k + 1 for k in plan.degrees if k < d) for d in plan.degrees}
    return plan, torch.tensor([start[d] + k for d in degrees for k in range(2 * d + 1)])


def _reference(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    return reference(plan.degrees, tensors[0], plan.normalize, plan.normalization)


def _forward(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.harmonics import cpu

    (x,) = tensors
    real, index = plan.tables(x.dtype)
    out = torch.empty((x.shape[0], len(plan.column)), dtype=x.dtype)
    cpu.values(real, index, array(x), out.numpy(), room(7 + plan.count, TILE, dtype=x.dtype))
    return out


def _backward(
    plan: Plan, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.harmonics import cpu

    (x,), n = tensors, plan.count
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
    from geomlib.kernels.harmonics import cpu

    (x,), (v,), n = tensors, tangents, plan.count
    if v is None:
        return None, None
    d_grad = torch.empty((x.shape[0] if needs[0] else 0, len(plan.column)), dtype=x.dtype)
    d_x = torch.empty((x.shape[0] if needs[1] else 0, 3), dtype=x.dtype)
    real, index = plan.tables(x.dtype)
    cpu.curvature(
        real, index, array(x), array(grad), array(v), needs[0], d_grad.numpy(), needs[1], d_x.numpy(),
        room(19 + 3 * n, TILE, dtype=x.dtype), room(TILE, len(plan.column), dtype=x.dtype),
    )  # fmt: skip
    return d_grad, d_x


_HARMONICS = FusedOperation(_reference, _forward, _backward, _double_backward)
