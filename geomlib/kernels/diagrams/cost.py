"""Which way is quicker: estimates from numbers of operations, with constants measured on one thread (benchmarks/diagrams.py).

Small maps cost what their calls cost: compiled loops need few, the dense product fewest. Loops read entry by entry, torch's
operators copy whole lines: from some size on these are quicker.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from torch import Tensor

from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.diagrams.planes import has_planes

__all__ = ["best_backend", "best_loops", "estimates", "loops_pay"]


@lru_cache(maxsize=512)
def _entries(plan: Plan, n: int) -> tuple[int, int]:
    """Return how many entries all types of the bottom and of the top row read, permutations below."""
    stages, _, _ = plan.grouped
    below = above = 0
    for stage in stages:
        for row in stage.rows[1]:
            below += len(stage.sigmas) * n ** (len(row.marked) + len(row.free) + len(row.closed))
        for row in stage.rows[0]:
            above += n ** (len(row.marked) + len(row.free) + len(row.closed))
    return below, above


@lru_cache(maxsize=4096)
def estimates(plan: Plan, batch: int, c_in: int, c_out: int, n: int) -> dict[str, float]:
    """Return microseconds of a forward pass for ``"dense"``, ``"loops"``, ``"torch"`` and, where there are, ``"planes"``.

    >>> from geomlib.kernels.diagrams import tensor_plan
    >>> few = estimates(tensor_plan("O(3)", 1, 1), 10, 4, 4, 3)
    >>> min(few, key=few.get)
    'dense'
    """
    stages, bottom, top = plan.grouped
    pairs, whole, count = c_in * c_out, n ** (plan.k + plan.l), len(plan)
    # Out of the caches every entry of the assembled matrix takes three times as long.
    spread = 6e-3 if pairs * whole > 2**20 else 2e-3
    dense = 30 + whole * (pairs * spread + count * max(2e-4, 2e-5 * pairs) + 2e-5 * pairs * batch)
    below, above = _entries(plan, n)
    products = sum(s.places * n**s.order for s in stages) * batch * pairs * 2e-5
    moved = batch * (c_in * below + c_out * above)
    loops = 60 + 45 * len(stages) + moved * (2.7e-3 if min(c_in, c_out) == 1 else 7.5e-4) + products
    types = sum(len(group) for side in (bottom, top) for group in side.types)
    plain = 120 + 13 * types + moved * 6e-4 + products
    cost = {"dense": dense, "loops": loops, "torch": plain}
    if n and has_planes(plan):
        products = batch * pairs * (2 * n * n * 2e-5 + 15 * n * 2e-5) + pairs * 1e-2
        cost["planes"] = 70 + batch * n * n * (c_in * 2e-3 + c_out * 5e-4) + products
    return cost


def best_backend(plan: Plan, x: Tensor, weights: Tensor, n: int) -> str:
    """Return ``"dense"`` or ``"grouped"``."""
    cost = estimates(plan, x.shape[0], weights.shape[2], weights.shape[1], n)
    quickest = min(v for name, v in cost.items() if name != "dense") if x.is_cpu else cost["torch"]
    return "dense" if cost["dense"] < quickest else "grouped"


def loops_pay(plan: Plan, x: Tensor, weights: Tensor, n: int) -> bool:
    """Return whether compiled loops contract and embed faster than torch's operators."""
    cost = estimates(plan, x.shape[0], weights.shape[2], weights.shape[1], n)
    return min(cost["loops"], cost.get("planes", cost["loops"])) < cost["torch"]


def best_loops(plan: Plan, x: Tensor, weights: Tensor, n: int) -> Literal["loops", "planes"]:
    """Return which loops: those of any diagrams, or those of matrices."""
    cost = estimates(plan, x.shape[0], weights.shape[2], weights.shape[1], n)
    return "planes" if cost.get("planes", cost["loops"]) < cost["loops"] else "loops"
