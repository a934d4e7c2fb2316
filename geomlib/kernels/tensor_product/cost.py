"""What a tensor product costs, counted from its table."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from geomlib.algebra.irreps import wigner_3j
from geomlib.algebra.irreps.products import Path, ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.tensor_product.eager import chosen_backend

__all__ = ["ORDERS", "Cost", "explain_product", "product_cost"]

ORDERS = ("forward", "backward", "double_backward")


@dataclass(frozen=True)
class Cost:
    """Operations and bytes of one evaluation.

    Args:
        flops: multiplications and additions.
        bytes: read and written, every tensor once.
    """

    flops: float
    bytes: float

    def seconds(self, bandwidth: float = 4.3e12, flops_per_second: float = 67e12) -> float:
        """Return the time that no implementation can beat; the defaults are those of an H200 in single precision.

        >>> Cost(flops=67e12, bytes=8.6e12).seconds()
        2.0
        """
        return max(self.bytes / bandwidth, self.flops / flops_per_second)


def product_cost(
    spec: ProductSpec,
    edges: int,
    nodes: int | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    order: str = "forward",
    shared_weights: bool = False,
) -> Cost:
    r"""Return the cost of a fused convolution, or of a product of rows.

    An edge costs ``2 T + 2 G`` operations per channel: T products of a component with a number that the filter gives, G
    weights. The backward has three such contractions, the double backward nine. Bytes are those of every tensor once: weights
    and filters are rows of edges, features and results rows of nodes.

    Args:
        spec: the product.
        edges: number of edges or rows.
        nodes: number of nodes; None for a product of rows.
        dtype: of the features.
        order: ``"forward"``, ``"backward"`` or ``"double_backward"``.
        shared_weights: one row of weights serves all edges.

    Raises:
        InvalidInput: another order, or negative numbers.
    """
    if order not in ORDERS:
        raise InvalidInput(f"order={order!r}: expected one of {', '.join(ORDERS)}.")
    if edges < 0 or (nodes is not None and nodes < 0):
        raise InvalidInput(f"edges={edges}, nodes={nodes}: expected numbers of rows, none below zero.")
    contraction, matrix = _operations(spec)
    level = ORDERS.index(order)
    times = (1, 3, 9)[level]
    rows = edges if nodes is None else nodes
    weights = (1 if shared_weights else edges) * spec.weight_numel
    # Forward: x, y, w in, z out. Backward: x, y, w, g in, three gradients out. Then: those, their tangents, four gradients.
    copies_in, copies_out = (1, 2, 3)[level], (1, 1, 2)[level]
    numbers = copies_in * (weights + edges * spec.irreps_in2.dim + rows * spec.irreps_in1.dim)
    numbers += copies_out * rows * spec.irreps_out.dim
    index = 0 if nodes is None else 8 * edges
    return Cost(float(times * edges * (contraction + matrix)), float(numbers * dtype.itemsize + index))


@functools.lru_cache(maxsize=256)
def _operations(spec: ProductSpec) -> tuple[int, int]:
    """Return the operations of a row: of the couplings, and of the matrix products after them."""
    coupling = matrix = 0
    for p in spec.paths:
        one, two, out = spec.irreps_in1[p.first], spec.irreps_in2[p.second], spec.irreps_out[p.out]
        u, v, w = one.mul, two.mul, out.mul
        tensor = np.abs(wigner_3j(one.ir.l, two.ir.l, out.ir.l).numpy())
        kept = tensor > 1e-12 * tensor.max()
        terms, components = int(kept.any(axis=1).sum()), out.ir.dim
        pairs = {"uuu": u, "uuw": u, "uvu<v": math.comb(u, 2), "u<vw": math.comb(u, 2)}.get(p.mode, u * v)
        # Filters are turned into matrices once per channel of the filter, whatever the number of channels of x.
        filters = pairs if p.mode in ("uuu", "uuw", "uvu<v", "u<vw") else v
        coupling += pairs * (2 * terms + 2 * components) + 2 * filters * int(kept.sum())
        if p.mode in ("uvw", "u<vw") or (p.mode == "uuw" and p.weighted):
            matrix += 2 * pairs * w * components
    return coupling, matrix


def explain_product(spec: ProductSpec, backend: str | None = None) -> str:
    """Say what a product is made of, what an edge costs, and what serves it."""
    modes = ", ".join(dict.fromkeys(p.mode for p in spec.paths)) or "no mode"
    couplings = sum(_couplings(spec, p) for p in spec.paths)
    cost = product_cost(spec, 1)
    some = torch.zeros(1)
    return "\n".join(
        (
            f"{spec.irreps_in1} x {spec.irreps_in2} -> {spec.irreps_out}: {len(spec.paths)} paths ({modes}), "
            f"{spec.weight_numel} weights, {couplings} couplings",
            f"an edge: {cost.flops:.0f} operations, {cost.bytes:.0f} bytes in single precision",
            f"float32 and float64 on a CPU: {chosen_backend(spec, (some, some, some), backend)}",
        )
    )


def _couplings(spec: ProductSpec, path: Path) -> int:
    ls = spec.irreps_in1[path.first].ir.l, spec.irreps_in2[path.second].ir.l, spec.irreps_out[path.out].ir.l
    tensor = np.abs(wigner_3j(*ls).numpy())
    return int((tensor > 1e-12 * tensor.max()).sum())
