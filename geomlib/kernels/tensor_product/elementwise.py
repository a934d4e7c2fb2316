"""Products of the u-th channel of one feature with the u-th of the other, as one differentiable operation.

The form ``F = sum C g_k w x_i y_j`` is the same in all four arguments, so one loop with its arguments exchanged is the value
and every derivative.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps import wigner_3j
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.arrays import array, zeros
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.tensor_product import reference
from geomlib.kernels.tensor_product.loops import blocks_of

__all__ = ["Elementwise", "elementwise", "elementwise_of", "entries_of"]

Maybe = Tensor | None
_ROLES = "gxyw"


@dataclass(frozen=True, eq=False)
class Elementwise:
    """Entries of a product with paths ``uuu``.

    Args:
        spec: the product; x, y and weights are in its public order.
        offset: where an entry finds its channels in g, x, y and w (or -1), one row each.
        size: number of channels of each entry.
        coefficient: of each entry.
        blocks: how g, x, y and w are rearranged.
        width: columns of the output.
        columns: for an output left as the loops make it, where each column of the public output goes.
    """

    spec: ProductSpec
    offset: np.ndarray  # (4, R)
    size: np.ndarray  # (R,)
    coefficient: np.ndarray  # (R,)
    blocks: tuple[np.ndarray, ...]
    width: int
    columns: np.ndarray | None = None
    _cast: dict[tuple[torch.dtype, str, bool], tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, repr=False
    )

    def entries(self, order: str, dtype: torch.dtype, *, weighted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the entries, or those with weights, with their offsets in the given order of roles, and coefficients."""
        key = dtype, order, weighted
        if key not in self._cast:
            kept = self.offset[3] >= (0 if weighted else -1)
            rows = [self.offset[_ROLES.index(r)][kept] for r in order] + [self.size[kept]]
            c = torch.from_numpy(self.coefficient[kept]).to(dtype).numpy()
            self._cast[key] = np.ascontiguousarray(np.stack(rows, axis=1)), c
        return self._cast[key]


@functools.lru_cache(maxsize=256)
def elementwise_of(spec: ProductSpec) -> Elementwise | None:
    """Return the entries of a product, or None if some path is not ``uuu``."""
    if any(p.mode != "uuu" for p in spec.paths):
        return None
    starts = [s.start for s in spec.irreps_out.slices()]
    muls = [b.mul for b in spec.irreps_out]
    return entries_of(spec, [(starts[p.out], muls[p.out]) for p in spec.paths], None, spec.irreps_out.dim)


def entries_of(
    spec: ProductSpec, places: list[tuple[int, int]], columns: np.ndarray | None, width: int
) -> Elementwise:
    """Return the entries of ``uuu`` paths whose component k goes to column ``base + k step`` of the output."""
    one, two = spec.irreps_in1, spec.irreps_in2
    starts1, starts2 = ([s.start for s in r.slices()] for r in (one, two))
    rows: list[tuple[int, int, int, int, int]] = []
    coefficient: list[float] = []
    for path, part, (base, step) in zip(spec.paths, spec.weight_slices, places, strict=True):
        r, s, mul = one[path.first].ir, two[path.second].ir, one[path.first].mul
        tensor = path.coefficient * wigner_3j(r.l, s.l, spec.irreps_out[path.out].ir.l).numpy()
        tiny = 1e-12 * np.abs(tensor).max()
        for k in range(tensor.shape[2] if mul else 0):
            for i, j in zip(*np.nonzero(np.abs(tensor[:, :, k]) > tiny), strict=True):
                x, y = starts1[path.first] + int(i) * mul, starts2[path.second] + int(j) * mul
                rows.append((base + k * step, x, y, part.start if path.weighted else -1, mul))
                coefficient.append(float(tensor[i, j, k]))
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    none = np.zeros((0, 3), dtype=np.int64)
    outs = blocks_of(spec.irreps_out) if columns is None else none
    blocks = (outs, blocks_of(one), blocks_of(two), none)
    offset, size = np.ascontiguousarray(table[:, :4].T), np.ascontiguousarray(table[:, 4])
    return Elementwise(spec, offset, size, np.array(coefficient), blocks, width, columns)


def elementwise(product: Elementwise, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Evaluate the product of rows; weights (B, n) or (1, n)."""
    return OPERATION(product, x, y, weight)


def _reference(product: Elementwise, tensors: tuple[Tensor, ...]) -> Tensor:
    out = reference.tensor_product(product.spec, (tensors[0], tensors[1], tensors[2]))
    if product.columns is None:
        return out
    return out.new_zeros(out.shape[0], product.width).index_add(1, torch.from_numpy(product.columns), out)


def _add(
    product: Elementwise, out: Tensor, target: str, given: dict[str, Tensor], *, weighted: bool = False
) -> None:
    """Add the partial derivative of F, or of its terms with weights, to ``out``."""
    from geomlib.kernels.tensor_product import cpu

    order = {"g": "gxyw", "x": "xgyw", "y": "ygxw", "w": "wgxy"}[target]
    entry, coefficient = product.entries(order, out.dtype, weighted=weighted or target == "w")
    if not entry.shape[0]:
        return
    a, b, c = (given[r] for r in order[1:])
    blocks = [product.blocks[_ROLES.index(r)] for r in order]
    room = [torch.empty(t.shape[1], dtype=out.dtype).numpy() for t in (a, b, c, out)]
    cpu.elementwise(
        entry, coefficient, *blocks[1:], blocks[0], array(a), array(b), array(c), out.numpy(), *room
    )


def _forward(product: Elementwise, tensors: tuple[Tensor, ...]) -> Tensor:
    out = zeros(tensors[0].shape[0], product.width, dtype=tensors[0].dtype)
    _add(product, out, "g", dict(zip("xyw", tensors, strict=True)))
    return out


def _backward(
    product: Elementwise, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    given = dict(zip(_ROLES, (grad, *tensors), strict=True))
    found: list[Maybe] = []
    for role, t, need in zip("xyw", tensors, needs, strict=True):
        out = zeros(*t.shape, dtype=t.dtype) if need else None
        if out is not None:
            _add(product, out, role, given)
        found.append(out)
    return tuple(found)


def _double_backward(
    product: Elementwise,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    given = dict(zip(_ROLES, (grad, *tensors), strict=True))
    found: list[Maybe] = []
    for role, need in zip(_ROLES, needs, strict=True):
        out = zeros(*given[role].shape, dtype=grad.dtype) if need else None
        for other, tangent in zip("xyw", tangents, strict=True):
            if out is None or tangent is None or other == role:
                continue
            # Paths without weights have no tangent of weights.
            _add(product, out, role, {**given, other: tangent}, weighted=other == "w")
        found.append(out)
    return tuple(found)


OPERATION = FusedOperation(_reference, _forward, _backward, _double_backward)
