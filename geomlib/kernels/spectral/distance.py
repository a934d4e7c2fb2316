"""The squared affine-invariant distance by the backend that serves a call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.kernels.dispatch import choose, traced
from geomlib.kernels.spectral.groupwise import flat, limits, workspace
from geomlib.kernels.spectral.served import loops_pay

__all__ = ["ai_sqdist"]


def ai_sqdist(P: Tensor, Q: Tensor, eig_dtype: torch.dtype, backend: str | None) -> Tensor | None:
    """Return the squared affine-invariant distance, or None where the loops do not serve the call."""
    if traced(P, Q):
        return None
    if P.shape != Q.shape:
        P, Q = torch.broadcast_tensors(P, Q)
    if choose("ai_sqdist", (P, Q), backend, loops_pay=lambda: loops_pay(P)) != "cpu":
        return None
    if torch.is_grad_enabled() and (P.requires_grad or Q.requires_grad):
        return _Distance.apply(P, Q, eig_dtype)
    return distances(P, Q, eig_dtype, (False, False))[0]


def distances(
    P: Tensor, Q: Tensor, eig_dtype: torch.dtype, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances and those gradients that are wanted; the others are empty.

    Raises:
        InvalidInput: as the reference.
    """
    from geomlib.kernels.spectral import pencil

    n, dtype = P.shape[-1], torch.promote_types(P.dtype, eig_dtype)
    out = torch.empty(P.shape[:-2], dtype=P.dtype)
    gp, gq = (torch.empty(P.shape if w else 0, dtype=P.dtype) for w in wanted)
    bad = pencil.distances(
        flat(P), flat(Q), n, flat(out), flat(gp), flat(gq), workspace(4, n, dtype), limits(n, P.dtype, dtype)
    )
    if bad:  # the one who knows the words
        from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist_reference

        ai_sqdist_reference(P.detach(), Q.detach(), eig_dtype=eig_dtype)
    return out, gp, gq


class _Distance(Function):
    @staticmethod
    def forward(ctx: Any, P: Tensor, Q: Tensor, eig_dtype: torch.dtype) -> Tensor:
        value, *slopes = distances(P, Q, eig_dtype, ctx.needs_input_grad[:2])
        ctx.eig_dtype = eig_dtype
        ctx.save_for_backward(P, Q, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needs = ctx.needs_input_grad[:2]
        P, Q, *slopes = ctx.saved_tensors
        if not torch.is_grad_enabled():
            g = grads[0][..., None, None]
            return *(g * s if n else None for s, n in zip(slopes, needs, strict=True)), None
        from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist_gradients

        found = ai_sqdist_gradients(grads[0], P, Q, eig_dtype=ctx.eig_dtype)
        return *(s if n else None for s, n in zip(found, needs, strict=True)), None
