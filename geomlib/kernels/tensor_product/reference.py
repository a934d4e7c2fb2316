"""The specification of tensor products in plain torch, every connection mode."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps, wigner_3j
from geomlib.algebra.irreps.products import Path, ProductSpec

__all__ = ["tensor_product"]


def tensor_product(spec: ProductSpec, tensors: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the product of rows; weights (rows, n) or (1, n) for all rows alike.

    Shapes: x (B, dim 1), y (B, dim 2), weights (B or 1, weights) to (B, dim out), multiplicities outermost in a block.
    """
    x, y, weight = tensors
    rows = x.shape[0]
    xs, ys = _blocks(x, spec.irreps_in1), _blocks(y, spec.irreps_in2)
    sums: list[Tensor | None] = [None] * len(spec.irreps_out)
    for path, part in zip(spec.paths, spec.weight_slices, strict=True):
        block = spec.irreps_out[path.out]
        if not block.dim:
            continue
        w = weight[:, part].unflatten(1, path.weight_shape) if path.weighted else None
        value = _path(spec, path, xs[path.first], ys[path.second], w).flatten(1)
        old = sums[path.out]
        sums[path.out] = value if old is None else old + value
    columns = [
        x.new_zeros(rows, b.dim) if s is None else s for s, b in zip(sums, spec.irreps_out, strict=True)
    ]
    return torch.cat(columns, dim=1) if columns else x.new_zeros(rows, 0)


def _blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """Return the blocks as (B, mul, dim)."""
    return [
        x[:, s].reshape(x.shape[0], b.mul, b.ir.dim) for s, b in zip(irreps.slices(), irreps, strict=True)
    ]


@functools.lru_cache(maxsize=4096)
def _coupling(
    l1: int, l2: int, l3: int, coefficient: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return (coefficient * wigner_3j(l1, l2, l3)).to(dtype=dtype, device=device)


def _path(spec: ProductSpec, path: Path, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
    """Return (B, mul out, dim out) of one path."""
    l1, l2 = spec.irreps_in1[path.first].ir.l, spec.irreps_in2[path.second].ir.l
    c = _coupling(l1, l2, spec.irreps_out[path.out].ir.l, path.coefficient, x.dtype, x.device)
    mode = path.mode
    if mode in ("uuu", "uuw"):
        z = torch.einsum("buik,bui->buk", torch.einsum("buj,ijk->buik", y, c), x)
        if mode == "uuu":
            return z if w is None else w[..., None] * z
        return (
            z.sum(1, keepdim=True) if w is None else torch.einsum("buw,buk->bwk", w.expand(len(z), -1, -1), z)
        )
    matrix = torch.einsum("bvj,ijk->bvik", y, c)  # (B, v, dim 1, dim out)
    if mode == "uvu" and y.shape[1] == 1:
        z = x @ matrix[:, 0]
        return z if w is None else w * z
    if mode == "uvv":
        # Sum over u first: it is the cheaper order.
        mixed = (
            x.sum(1, keepdim=True).expand(-1, y.shape[1], -1)
            if w is None
            else torch.einsum("buv,bui->bvi", w.expand(len(x), -1, -1), x)
        )
        return torch.einsum("bvi,bvik->bvk", mixed, matrix)
    z = torch.einsum("bui,bvik->buvk", x, matrix)
    if mode in ("uvu<v", "u<vw"):
        u, v = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        z = z[:, u, v]
        if mode == "uvu<v":
            return z if w is None else w[..., None] * z
        return torch.einsum("bpw,bpk->bwk", _given(w).expand(len(z), -1, -1), z)
    if mode == "uvw":
        return torch.einsum("buvw,buvk->bwk", _given(w).expand(len(z), -1, -1, -1), z)
    if w is not None:
        z = w[..., None] * z
    return z.sum(2) if mode == "uvu" else z.flatten(1, 2)


def _given(w: Tensor | None) -> Tensor:
    if w is None:
        raise ValueError("a fully connected path has weights")
    return w
