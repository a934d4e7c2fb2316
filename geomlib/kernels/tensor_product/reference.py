"""The specification of tensor products in plain torch, every connection mode.

Paths that read the same blocks are evaluated together, in matrix products: with the filter's matrices
``M_ik = sum_j C_ijk y_j`` for one channel of it, or with the coupling itself where both factors have one channel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps, wigner_3j
from geomlib.algebra.irreps.products import Path, ProductSpec
from geomlib.kernels.tensor_product.layout import exchanged, weights_by_channel

__all__ = ["tensor_product"]

#: So many pairs of channels are multiplied by the coupling itself.
FEW = 4


def tensor_product(spec: ProductSpec, tensors: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the product of rows; weights (rows, n) or (1, n) for all rows alike.

    Shapes: x (B, dim 1), y (B, dim 2), weights (B or 1, weights) to (B, dim out), multiplicities outermost in a block.
    """
    x, y, weight = tensors
    other = exchanged(spec)
    if other is not None:
        return tensor_product(other, (y, x, weights_by_channel(weight, other, 0, inverse=True)))
    rows = x.shape[0]
    xs, ys = _blocks(x, spec.irreps_in1), _blocks(y, spec.irreps_in2)
    sums: list[Tensor | None] = [None] * len(spec.irreps_out)
    for group in _groups(spec):
        weights = [
            weight[:, spec.weight_slices[k]].unflatten(1, p.weight_shape) if p.weighted else None
            for k, p in zip(group.numbers, group.paths, strict=True)
        ]
        values = group.function(spec, group, xs[group.first], [ys[k] for k in group.seconds], weights)
        for path, value in zip(group.paths, values, strict=True):
            old, value = sums[path.out], value.flatten(1)
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


@dataclass(frozen=True)
class _Group:
    """Paths evaluated together, from one block of x and some of y, as ``function`` does it."""

    function: Callable[..., list[Tensor]]
    first: int
    seconds: tuple[int, ...]
    numbers: tuple[int, ...]
    paths: tuple[Path, ...]


@functools.lru_cache(maxsize=256)
def _groups(spec: ProductSpec) -> tuple[_Group, ...]:
    found: dict[tuple[object, ...], list[int]] = {}
    for k, p in enumerate(spec.paths):
        if (
            not spec.irreps_out[p.out].dim
            or not spec.irreps_in1[p.first].dim
            or not spec.irreps_in2[p.second].dim
        ):
            continue
        function = _function(spec, p)
        # One matrix product serves all filters of one channel each, and all weights.
        single = function is _channels and spec.irreps_in2[p.second].mul == 1
        together = -1 if single or function is _fully_connected else p.second
        found.setdefault((function, p.first, together), []).append(k)
    groups = []
    for (function, first, _), numbers in found.items():
        paths = tuple(spec.paths[k] for k in numbers)
        seconds = tuple(dict.fromkeys(p.second for p in paths))
        groups.append(_Group(function, first, seconds, tuple(numbers), paths))  # type: ignore[arg-type]
    return tuple(groups)


def _function(spec: ProductSpec, path: Path) -> Callable[..., list[Tensor]]:
    u, v = spec.irreps_in1[path.first].mul, spec.irreps_in2[path.second].mul
    if path.mode in ("uvu<v", "u<vw"):
        return _pairs
    if path.mode == "uvw":
        return _fully_connected
    if path.mode == "uvv" and u > 1:
        return _second_channels
    if u == v == 1:
        return _single
    if path.mode in ("uuu", "uuw"):
        return _same
    return _outer if u * v <= FEW else _channels


@functools.lru_cache(maxsize=4096)
def _couplings(
    spec: ProductSpec, group: tuple[int, ...], order: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the couplings of paths with the same input blocks side by side, axes in the given order of i, j, k."""
    parts = []
    for p in (spec.paths[k] for k in group):
        ls = spec.irreps_in1[p.first].ir.l, spec.irreps_in2[p.second].ir.l, spec.irreps_out[p.out].ir.l
        parts.append(p.coefficient * wigner_3j(*ls))
    c = torch.cat(parts, dim=2).permute(*("ijk".index(a) for a in order))
    return c.contiguous().to(dtype=dtype, device=device)


def _sizes(spec: ProductSpec, paths: tuple[Path, ...]) -> list[int]:
    return [spec.irreps_out[p.out].ir.dim for p in paths]


def _single(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """One channel each: the outer product times the coupling."""
    c = _couplings(spec, group.numbers, "ijk", x.dtype, x.device)
    outer = (x.transpose(1, 2) * ys[0]).flatten(1)  # (B, ij)
    values = (outer @ c.flatten(0, 1)).split(_sizes(spec, group.paths), dim=1)
    return [
        z[:, None] if w is None else w.reshape(w.shape[0], -1, 1) * z[:, None]
        for z, w in zip(values, weights, strict=True)
    ]


def _outer(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Modes ``uvu`` and ``uvuv``, and ``uvv`` of one u, of few channels: outer products times the coupling."""
    c = _couplings(spec, group.numbers, "ijk", x.dtype, x.device)
    outer = (x[:, :, None, :, None] * ys[0][:, None, :, None, :]).flatten(3)  # (B, u, v, ij)
    values = (outer @ c.flatten(0, 1)).split(_sizes(spec, group.paths), dim=3)
    return [_weighted(p, z, w) for p, z, w in zip(group.paths, values, weights, strict=True)]


def _channels(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Modes ``uvu`` and ``uvuv``, and ``uvv`` of one u: all channels of x times the matrices of the filters."""
    matrices, sizes = [], _sizes(spec, group.paths)
    for second, y in zip(group.seconds, ys, strict=True):
        numbers = tuple(k for k, p in zip(group.numbers, group.paths, strict=True) if p.second == second)
        c = _couplings(spec, numbers, "jik", x.dtype, x.device)
        m = (y @ c.flatten(1)).unflatten(2, c.shape[1:])  # (B, v, i, k)
        matrices.append(m.transpose(1, 2).flatten(2))  # (B, i, v k)
    order = [k for s in group.seconds for k, p in enumerate(group.paths) if p.second == s]
    v = ys[0].shape[1]
    z = (x @ (matrices[0] if len(matrices) == 1 else torch.cat(matrices, dim=2))).unflatten(2, (v, -1))
    parts = dict(zip(order, z.split([sizes[k] for k in order], dim=3), strict=True))
    return [_weighted(p, parts[k], w) for k, (p, w) in enumerate(zip(group.paths, weights, strict=True))]


def _weighted(path: Path, z: Tensor, w: Tensor | None) -> Tensor:
    """Weigh channels (B, u, v, k), and sum those that the mode sums."""
    if path.mode == "uvu" and z.shape[2] > 1:
        return z.sum(2) if w is None else (w[:, :, None] @ z)[:, :, 0]
    return z if w is None else w[..., None] * z


def _second_channels(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Mode ``uvv``: the sum over u comes first."""
    found = []
    for k, w in zip(group.numbers, weights, strict=True):
        c = _couplings(spec, (k,), "jik", x.dtype, x.device)
        m = (ys[0] @ c.flatten(1)).unflatten(2, c.shape[1:])  # (B, v, i, k)
        mixed = x.sum(1, keepdim=True).expand(-1, ys[0].shape[1], -1) if w is None else w.transpose(1, 2) @ x
        found.append((mixed[:, :, None] @ m)[:, :, 0])
    return found


def _same(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Modes ``uuu`` and ``uuw``: channel u of x with channel u of y."""
    c = _couplings(spec, group.numbers, "ijk", x.dtype, x.device)
    outer = (x[..., None] * ys[0][:, :, None]).flatten(2)  # (B, u, ij)
    values = (outer @ c.flatten(0, 1)).split(_sizes(spec, group.paths), dim=2)
    return [_mixed(p, z, w) for p, z, w in zip(group.paths, values, weights, strict=True)]


def _pairs(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Modes ``uvu<v`` and ``u<vw``: channel u of x with channel v of y for all u < v."""
    u, v = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    return _same(spec, group, x[:, u], [ys[0][:, v]], weights)


def _mixed(path: Path, z: Tensor, w: Tensor | None) -> Tensor:
    """Weigh channels (B, u, k), or mix them into new ones."""
    if path.mode in ("uuu", "uvu<v"):
        return z if w is None else w[..., None] * z
    if w is None:
        return z.sum(1, keepdim=True)
    return _matmul(z.transpose(1, 2), w).transpose(1, 2)


def _fully_connected(
    spec: ProductSpec, group: _Group, x: Tensor, ys: list[Tensor], weights: list[Tensor | None]
) -> list[Tensor]:
    """Mode ``uvw``: weights first where x has no more components than the result, else the coupling first."""
    inner = x.transpose(1, 2).contiguous()  # (B, i, u)
    given = [w for w in weights if w is not None]  # (B or 1, u, v, w), as every path has them
    early = [k for k, size in enumerate(_sizes(spec, group.paths)) if x.shape[2] <= size]
    mixed: dict[int, Tensor] = {}
    if early:
        matrix = torch.cat([given[k].flatten(2) for k in early], dim=2)
        parts = _matmul(inner, matrix).split([given[k].shape[2] * given[k].shape[3] for k in early], dim=2)
        mixed = dict(zip(early, parts, strict=True))
    found = []
    for k, w in enumerate(given):
        y = ys[group.seconds.index(group.paths[k].second)]
        c = _couplings(spec, (group.numbers[k],), "jki", x.dtype, x.device)
        if k not in mixed:
            m = (y @ c.flatten(1)).unflatten(2, c.shape[1:]).transpose(1, 2)  # (B, k, v, i)
            features = (m.flatten(1, 2) @ inner).unflatten(1, m.shape[1:3]).flatten(2)  # (B, k, v u)
            z = _matmul(features, w.transpose(1, 2).flatten(1, 2))
        elif y.shape[1] == y.shape[2] == 1:  # a scalar filter couples nothing
            z = mixed[k] * (y * c[0, 0, 0])
        else:
            m = (y @ c.flatten(1)).unflatten(2, c.shape[1:])  # (B, v, k, i)
            t = mixed[k].unflatten(2, w.shape[2:])  # (B, i, v, w)
            if m.shape[1] == m.shape[3] == 1:
                z = m[:, 0] * t[:, 0]
            else:
                z = m.permute(0, 2, 3, 1).flatten(2) @ t.flatten(1, 2)
        found.append(z.transpose(1, 2))
    return found


def _matmul(a: Tensor, matrix: Tensor) -> Tensor:
    """Return rows of matrices (B, i, j) times one matrix each, or times one for all (1, j, k)."""
    return a @ (matrix[0] if matrix.shape[0] == 1 else matrix)
