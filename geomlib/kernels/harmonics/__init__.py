r"""Spherical harmonics with hand-written first and second derivatives, recomputed instead of stored.

The gradient of a solid harmonic is a combination of solid harmonics one degree lower, so the value, the gradient and the
gradient of the gradient are three contractions of one recursion with one small table.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps import spherical_harmonics as reference
from geomlib.algebra.irreps.harmonics import check_harmonics, degrees_of
from geomlib.kernels.dispatch import choose, traced
from geomlib.kernels.harmonics.cuda import refusal
from geomlib.kernels.harmonics.loops import OPERATION
from geomlib.kernels.harmonics.operators import arranged, as_operator
from geomlib.kernels.harmonics.plan import Plan, plan_of

__all__ = ["spherical_harmonics"]


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
        backend: "auto", "torch", "cpu" or "cuda". Traced code notes down one operator, which chooses when it runs; after
            "torch" it notes down the plain operations, which a compiler can join with others.

    Raises:
        InvalidInput: as the reference; a backend that cannot serve ``x``.

    >>> import torch
    >>> spherical_harmonics([0, 1], torch.randn(5, 3)).shape
    torch.Size([5, 4])
    """
    check_harmonics(x, normalization)
    if traced(x) and backend != "torch":
        return as_operator(tuple(degrees_of(l)), x, bool(normalize), normalization, backend)
    degrees = _degrees(l if isinstance(l, (int, str, Irreps)) else tuple(l))
    if not degrees or _choose(degrees, x, backend) == "torch":
        return reference(degrees, x, normalize, normalization)
    plan = _plan(degrees, bool(normalize), normalization)
    # A view would be one more step of the backward pass, as long as the harmonics of hundreds of points.
    out = OPERATION(plan, x if x.dim() == 2 else x.reshape(-1, 3))
    if degrees != plan.degrees:
        out = arranged(out, plan.degrees, degrees)
    return out if x.dim() == 2 else out.reshape(*x.shape[:-1], out.shape[-1])


def _choose(degrees: tuple[int, ...], x: Tensor, backend: str | None) -> str:
    return choose("spherical_harmonics", (x,), backend, cuda=lambda: refusal(degrees))


@functools.lru_cache(maxsize=256)
def _degrees(l: int | tuple[int, ...] | str | Irreps) -> tuple[int, ...]:
    return tuple(degrees_of(l))


@functools.lru_cache(maxsize=256)
def _plan(degrees: tuple[int, ...], normalize: bool, normalization: str) -> Plan:
    return plan_of(tuple(sorted(set(degrees))), normalize, normalization)
