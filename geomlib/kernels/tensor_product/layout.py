"""Between multiplicity outside (the public layout) and channels inside (what the loops read)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.products import Path, ProductSpec

__all__ = ["exchanged", "ir_mul", "mul_ir", "weights_by_channel"]


def ir_mul(x: Tensor, irreps: Irreps) -> Tensor:  # (..., dim) -> (..., dim)
    """Return features with components outermost in every block; free where nothing moves."""
    return _swap(x, irreps, outer_mul=True)


def mul_ir(x: Tensor, irreps: Irreps) -> Tensor:  # (..., dim) -> (..., dim)
    """Return features with multiplicities outermost in every block; the inverse of :func:`ir_mul`."""
    return _swap(x, irreps, outer_mul=False)


def _swap(x: Tensor, irreps: Irreps, *, outer_mul: bool) -> Tensor:
    if all(b.mul == 1 or b.ir.l == 0 for b in irreps):
        return x
    parts = []
    for s, b in zip(irreps.slices(), irreps, strict=True):
        part = x[..., s]
        if b.mul > 1 and b.ir.l > 0:
            shape = (b.mul, b.ir.dim) if outer_mul else (b.ir.dim, b.mul)
            part = part.unflatten(-1, shape).transpose(-1, -2).flatten(-2)
        parts.append(part)
    return torch.cat(parts, dim=-1)


def weights_by_channel(w: Tensor, spec: ProductSpec, ones: int, *, inverse: bool = False) -> Tensor:
    """Return weights of ``uvu`` paths with u innermost, followed by ``ones`` columns of ones; or undo that."""
    columns = spec.weight_numel
    source = w[:, :columns]
    if any(p.weighted and p.weight_shape[1] > 1 for p in spec.paths):
        parts = []
        for path, part in zip(spec.paths, spec.weight_slices, strict=True):
            u, v = path.weight_shape
            block = source[:, part]
            if path.weighted and v > 1:
                block = block.unflatten(1, (v, u) if inverse else (u, v)).transpose(1, 2).flatten(1)
            parts.append(block)
        source = torch.cat(parts, dim=1)
    if inverse or not ones:
        return source
    return torch.cat([source, source.new_ones(source.shape[0], ones)], dim=1)


@functools.lru_cache(maxsize=256)
def exchanged(spec: ProductSpec) -> ProductSpec | None:
    """Return a product of paths ``uvv`` as one of paths ``uvu`` with its factors exchanged, or None.

    The weights by channel of the new product are the weights of the old one.
    """
    if not spec.paths or any(p.mode != "uvv" for p in spec.paths):
        return None
    paths = []
    for p in spec.paths:
        degrees = spec.irreps_in1[p.first].ir.l + spec.irreps_in2[p.second].ir.l + spec.irreps_out[p.out].ir.l
        sign, shape = (-1.0) ** degrees, (p.weight_shape[1], p.weight_shape[0])
        paths.append(Path(p.second, p.first, p.out, "uvu", p.weighted, sign * p.coefficient, shape))
    return ProductSpec(spec.irreps_in2, spec.irreps_in1, spec.irreps_out, tuple(paths))
