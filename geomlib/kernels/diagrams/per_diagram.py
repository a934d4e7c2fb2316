r"""One diagram at a time, as published: permute, multiply by a planar diagram, permute, for each diagram of the plan.

Source: E. Pearce-Crump and W. J. Knottenbelt, "A diagrammatic approach to improve computational efficiency in group
equivariant neural networks", arXiv 2412.10837.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.kernels.diagrams.plan import Plan

__all__ = ["per_diagram_map"]


def per_diagram_map(
    x: Tensor, weights: Tensor, plan: Plan, n: int
) -> Tensor:  # (B, C_in, n, ..) -> (B, C_out, n, ..)
    """Return the sum over the diagrams, each applied by itself; differentiable to any order."""
    group = plan.group.sized(n)
    y = x.new_zeros(x.shape[0], weights.shape[1], *[n] * plan.l)
    for diagram, w in zip(plan.diagrams, weights.unbind(0), strict=True):
        y = y + torch.einsum("oi,bi...->bo...", w, diagram.apply(x, group))
    return y
