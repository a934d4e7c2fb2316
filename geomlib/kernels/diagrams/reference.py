r"""The specification: :math:`y = \sum_d W_d \otimes M_d\, x` with every diagram as a dense matrix and one product."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams.plan import Plan

__all__ = ["LARGEST", "dense_map", "dense_weight", "matrices"]

#: Largest number of entries of all matrices together: 2 GB of float64.
LARGEST = 2**28


@lru_cache(maxsize=32)
def _matrices(plan: Plan, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    group = plan.group.sized(n)
    with torch.inference_mode(False), torch.no_grad():
        # Out of a trace: a constant that a compiler made would belong to it.
        rows = [d.matrix(group, dtype) for d in plan.diagrams]
        return torch.stack(rows).to(device) if rows else torch.zeros(0, n**plan.l, n**plan.k, dtype=dtype)


def matrices(plan: Plan, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:  # (D, n^l, n^k)
    """Return the matrices of all diagrams, kept for the next call.

    Raises:
        InvalidInput: they would not fit in memory.
    """
    size = len(plan.diagrams) * n ** (plan.k + plan.l)
    if size > LARGEST:
        raise InvalidInput(
            f"tensor_map: backend 'dense' for {plan} at n = {n} needs {len(plan.diagrams):,} matrices of "
            f"{n**plan.l:,} x {n**plan.k:,}, {size * dtype.itemsize / 1e9:.3g} GB. Use backend='grouped' or 'auto'."
        )
    return _matrices(plan, n, dtype, device)


def dense_weight(weights: Tensor, plan: Plan, n: int) -> Tensor:  # (D, C_out, C_in) -> (C_in n^k, C_out n^l)
    """Return the matrix that maps flat inputs to flat outputs."""
    maps = matrices(plan, n, weights.dtype, weights.device)
    _, c_out, c_in = weights.shape
    whole = weights.flatten(1).mT @ maps.flatten(1)  # (C_out C_in, n^l n^k)
    return whole.view(c_out, c_in, n**plan.l, n**plan.k).permute(1, 3, 0, 2).flatten(2).flatten(0, 1)


def dense_map(
    x: Tensor, weights: Tensor, plan: Plan, n: int
) -> Tensor:  # (B, C_in, n, ..) -> (B, C_out, n, ..)
    """Return the map of a plan by one product with an assembled matrix; differentiable to any order."""
    flat = x.reshape(x.shape[0], x.shape[1] * n**plan.k)
    y = flat @ dense_weight(weights, plan, n)
    return y.view(x.shape[0], weights.shape[1], *[n] * plan.l)
