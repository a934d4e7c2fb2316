"""Which backend is quicker: a closed rule on the operations of each."""

from __future__ import annotations

from torch import Tensor

from geomlib.kernels.diagrams.plan import Plan

__all__ = ["best_backend"]


def best_backend(plan: Plan, x: Tensor, weights: Tensor, n: int) -> str:
    """Return ``"dense"`` or ``"grouped"``."""
    del x, weights
    return "dense" if n ** max(plan.k, plan.l) <= 27 else "grouped"
