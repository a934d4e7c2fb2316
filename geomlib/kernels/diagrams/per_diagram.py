r"""One diagram at a time, as published: permute, multiply by a planar diagram, permute, for each diagram of the plan.

Source: E. Pearce-Crump and W. J. Knottenbelt, "A diagrammatic approach to improve computational efficiency in group
equivariant neural networks", arXiv 2412.10837.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from geomlib.algebra.diagrams.factor import Factors, factor, planar_multiply
from geomlib.kernels.diagrams.plan import Plan

__all__ = ["per_diagram_map"]

_PLANAR = ("partition", "brauer", "symplectic", "grood")


@lru_cache(maxsize=64)
def _factors(plan: Plan) -> tuple[Factors | None, ...]:
    """Return the factors of every diagram, None where it has none: jellyfish, orbits."""
    return tuple(factor(d) if getattr(d, "kind", "") in _PLANAR else None for d in plan.diagrams)


def per_diagram_map(
    x: Tensor, weights: Tensor, plan: Plan, n: int
) -> Tensor:  # (B, C_in, n, ..) -> (B, C_out, n, ..)
    """Return the sum over the diagrams, each applied by itself; differentiable to any order."""
    group = plan.group.sized(n)
    y = x.new_zeros(x.shape[0], weights.shape[1], *[n] * plan.l)
    for diagram, parts, w in zip(plan.diagrams, _factors(plan), weights.unbind(0), strict=True):
        if parts is None:
            image = diagram.apply(x, group)
        else:
            z = planar_multiply(parts.planar, x.permute(0, 1, *(2 + i for i in parts.bottom)), group)
            image = z.permute(0, 1, *(2 + i for i in parts.top))
        y = y + torch.einsum("oi,bi...->bo...", w, image)
    return y
