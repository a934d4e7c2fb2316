r"""Spherical harmonics with hand-written first and second derivatives, recomputed instead of stored.

The gradient of a solid harmonic is a combination of solid harmonics one degree lower, so the value, the gradient and the
gradient of the gradient are three contractions of one recursion with one small table.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps import spherical_harmonics as reference
from geomlib.algebra.irreps.harmonics import checked_harmonics
from geomlib.kernels.arrays import array
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
    degrees = checked_harmonics(l, x, normalization)
    # Traced code takes plain operators, which have derivatives of any order there too.
    plain = not degrees or (backend != "cpu" and traced(x))
    if plain or choose("spherical_harmonics", (x,), backend) != "cpu":
        return reference(degrees, x, normalize, normalization)
    plan = plan_of(tuple(sorted(set(degrees))), normalize, normalization)
    out = _HARMONICS(plan, x.reshape(-1, 3))
    if degrees != list(plan.degrees):
        out = out[:, _chosen(tuple(degrees))]
    return out.reshape(*x.shape[:-1], out.shape[-1])


@functools.lru_cache(maxsize=256)
def _chosen(degrees: tuple[int, ...]) -> Tensor:
    """Return the columns of the sorted degrees that make up degrees in any order, repeated ones too."""
    start = {d: sum(2 * k + 1 for k in set(degrees) if k < d) for d in set(degrees)}
    return torch.tensor([start[d] + k for d in degrees for k in range(2 * d + 1)])


def _tables(plan: Plan, like: Tensor) -> tuple[Any, ...]:
    return *plan.constants(like.dtype), plan.column, plan.step, plan.lower, plan.normalize


def _room(like: Tensor, *rows: int) -> list[Any]:
    room = torch.empty((sum(rows), TILE), dtype=like.dtype).numpy()
    ends = list(itertools.accumulate(rows, initial=0))
    return [room[a:b] for a, b in itertools.pairwise(ends)]


def _rows(plan: Plan, like: Tensor) -> Any:
    return torch.empty((TILE, len(plan.column)), dtype=like.dtype).numpy()


def _reference(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    return reference(plan.degrees, tensors[0], plan.normalize, plan.normalization)


def _forward(plan: Plan, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.harmonics import cpu

    (x,) = tensors
    out = torch.empty((x.shape[0], len(plan.column)), dtype=x.dtype)
    cpu.values(*_tables(plan, x), array(x), out.numpy(), *_room(x, 4, 3, plan.count))
    return out


def _backward(
    plan: Plan, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.harmonics import cpu

    (x,), n = tensors, plan.count
    out = torch.empty((x.shape[0], 3), dtype=x.dtype)
    cpu.slopes(
        *_tables(plan, x), array(x), array(grad), out.numpy(), *_room(x, 4, 3, n, n, 3), _rows(plan, x)
    )
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
    cpu.curvature(
        *_tables(plan, x), array(x), array(grad), array(v), needs[0], d_grad.numpy(), needs[1], d_x.numpy(),
        *_room(x, 4, 3, n, n, n, 3, 3, 3, 3), _rows(plan, x),
    )  # fmt: skip
    return d_grad, d_x


_HARMONICS = FusedOperation(_reference, _forward, _backward, _double_backward)
