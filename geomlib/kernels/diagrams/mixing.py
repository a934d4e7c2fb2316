r"""The product between the rows, :math:`u_T = \sum_{\sigma B} W_{T \sigma B}\, \sigma(z_B)`, for all positions and channels.

Channel-last: one matrix product, with the permutations applied on the side that has fewer columns. Permuted copies of large
tensors are made piece by piece, so that they stay in a cache and are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["Sigmas", "inverses", "mix", "mix_gradients"]

Sigmas = tuple[tuple[int, ...], ...]

#: Numbers in one piece of permuted copies, and from how many on there is more than one piece.
_PIECE, _LARGE = 2**18, 2**19
#: Channels from which on a product for each permutation costs less than to write all of them side by side.
_WIDE = 32


def inverses(sigmas: Sigmas) -> Sigmas:
    """Return the inverse of each permutation.

    >>> inverses(((1, 2, 0),))
    ((2, 0, 1),)
    """
    return tuple(tuple(s.index(i) for i in range(len(s))) for s in sigmas)


def _moved(z: Tensor, sigma: tuple[int, ...]) -> Tensor:
    """Return z with its first axes after the batch permuted."""
    if sigma == tuple(range(len(sigma))):
        return z
    return z.permute(0, *(1 + i for i in sigma), *range(1 + len(sigma), z.dim()))


def _columns(zs: Sequence[Tensor], sigmas: Sigmas) -> list[Tensor]:
    return [_moved(z, s) for z in zs for s in sigmas]


def _side_by_side(columns: Sequence[Tensor]) -> Tensor:  # (..., columns C)
    return columns[0] if len(columns) == 1 else torch.cat(list(columns), -1)


def _rows(columns: Sequence[Tensor]) -> Tensor:  # (N n .. n, columns C)
    x = _side_by_side(columns)
    return x.reshape(-1, x.shape[-1])


def _pieces(columns: Sequence[Tensor], others: Sequence[Tensor] = ()) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Return parts of the rows of two lists of columns, and where each part begins."""
    first = columns[0]
    batch, width = first.shape[0], len(columns) * first.shape[-1]
    each = first.shape[1:-1].numel()  # rows of one sample
    both = [*columns, *others]
    if first.dim() < 3 or batch * each * width < _LARGE:
        samples, parts = [0], [[(c,) for c in both]]
    elif each * width <= _PIECE:
        samples, parts = [0], [[c.split(_PIECE // (each * width)) for c in both]]
    else:
        step = max(1, _PIECE * first.shape[1] // (each * width))
        samples = range(batch)
        parts = ([c.select(0, b).split(step) for c in both] for b in samples)
    for b, lists in zip(samples, parts, strict=True):
        start = b * each
        for piece in zip(*lists, strict=True):
            rows = _rows(piece[: len(columns)])
            yield start, rows, _rows(piece[len(columns) :]) if others else rows
            start += len(rows)


def _batches(columns: Sequence[Tensor]) -> list[tuple[int, Sequence[Tensor]]]:
    """Return which columns are multiplied together: all, or one by one where they are wide enough to be."""
    first = columns[0]
    if first.shape[-1] < _WIDE or first.numel() < _PIECE // 4:
        return [(0, columns)]
    return [(i, [c]) for i, c in enumerate(columns)]


def _each(t: Tensor, axis: int) -> list[Tensor]:
    """Return the slices along an axis; unlike those of ``unbind``, autograd lets them be written to."""
    return [t.select(axis, i) for i in range(t.shape[axis])]


def _added(v: Tensor, sigmas: Sigmas) -> list[Tensor]:  # (..., T, S, C) -> T times (..., C)
    found: list[Tensor] = []
    for pieces in _each(v, -3):
        total, *rest = (_moved(p, s) for p, s in zip(_each(pieces, -2), sigmas, strict=True))
        if rest:
            total = total + rest[0]
        for piece in rest[1:]:
            total = total.add_(piece)
        found.append(total)
    return found


def mix(
    weights: Tensor,  # (T, S, B, C_out, C_in)
    sigmas: Sigmas,
    zs: Sequence[Tensor],  # B times (N, n, .., n, C_in)
    into: Tensor | None = None,
    *,
    sparing: bool = False,
) -> list[Tensor]:  # T times (N, n, .., n, C_out)
    """Return the mixed tensors.

    Args:
        weights: of top types, permutations, bottom types, channels.
        sigmas: permutations of the first axes.
        zs: tensors of the bottom types.
        into: what to add to a single mixed tensor; its memory may be overwritten.
        sparing: work in pieces; no derivative is recorded.
    """
    tops, count, bottoms, c_out, c_in = weights.shape
    lead = zs[0].shape[:-1]
    if bottoms * c_in <= tops * c_out:
        columns = _columns(zs, sigmas)
        matrix = weights.permute(2, 1, 4, 0, 3).reshape(bottoms * count * c_in, tops * c_out)
        shape = columns[0].shape[:-1]
        if sparing and matrix.numel() == len(columns):  # one channel, one top type
            return [_weighed(columns, matrix[:, 0], into)]
        held = None if into is None else into.contiguous().view(-1, c_out)  # a copy of what is expanded
        if not sparing:
            rows = _rows(columns)
            v = rows @ matrix if held is None else held + rows @ matrix
        else:
            v = zs[0].new_empty(shape.numel(), tops * c_out) if held is None else held
            for first, some in _batches(columns):
                block = matrix[first * c_in : (first + len(some)) * c_in]
                for start, rows, _ in _pieces(some):
                    part = v[start : start + len(rows)]
                    if held is None and first == 0:
                        torch.mm(rows, block, out=part)
                    else:
                        part.addmm_(rows, block)
        return _each(v.view(*shape, tops, c_out), -2)
    matrix = weights.permute(2, 4, 0, 1, 3).reshape(bottoms * c_in, tops * count * c_out)
    v = _rows(zs) @ matrix
    found = _added(v.view(*lead, tops, count, c_out), sigmas)
    return found if into is None else [found[0] + into]


def _weighed(columns: Sequence[Tensor], weights: Tensor, into: Tensor | None) -> Tensor:
    """Return the weighed sum of columns of one channel, without writing them side by side."""
    first = columns[0]
    total = first.new_zeros(first.shape) if into is None else into.contiguous()
    size = first[0].numel() if len(first) else 0
    # Samples one by one where all of them would leave the cache between two columns.
    parts = [total] if size * len(first) < _LARGE // 4 else list(total.split(max(1, _PIECE // 4 // size)))
    lists = [c.split([len(p) for p in parts]) for c in columns]
    for i, part in enumerate(parts):
        for pieces, w in zip(lists, weights, strict=True):
            part.addcmul_(pieces[i], w)
    return total


def mix_gradients(
    weights: Tensor,  # (T, S, B, C_out, C_in)
    sigmas: Sigmas,
    gs: Sequence[Tensor],  # T times (N, n, .., n, C_out)
    zs: Sequence[Tensor] | None,  # B times (N, n, .., n, C_in)
    into: Tensor | None,
    *,
    features: bool,
) -> tuple[list[Tensor] | None, Tensor | None]:
    """Return the gradients of :func:`mix` with respect to ``zs`` and, unless these are None, the weights.

    Args:
        weights: as there.
        sigmas: as there.
        gs: gradients of the mixed tensors.
        zs: as there; None if the weights need no gradient.
        into: what to add to the single gradient of ``zs``; its memory may be overwritten.
        features: whether ``zs`` need gradients.
    """
    tops, count, bottoms, c_out, c_in = weights.shape
    back = inverses(sigmas)
    single = weights.numel() == count
    if zs is None or single or bottoms * c_in * 2 < tops * c_out:
        found = None
        if features:
            found = mix(weights.permute(2, 1, 0, 4, 3), back, gs, into, sparing=True)
        if zs is None:
            return found, None
        if single:
            sums = [(g * zs[0]).sum() for g in _columns(gs, back)]
            return found, torch.stack(sums).view(weights.shape)
        return found, _weights_alone(gs, zs, sigmas)
    # Permuted copies of the gradients serve both products.
    columns = _columns(gs, back)
    matrix = weights.permute(0, 1, 3, 2, 4).reshape(tops * count * c_out, bottoms * c_in)
    total = gs[0].new_zeros(tops * count * c_out, bottoms * c_in)
    shape = columns[0].shape[:-1]
    v = None
    if features:
        v = (
            gs[0].new_empty(shape.numel(), bottoms * c_in)
            if into is None
            else into.contiguous().view(-1, c_in)
        )
    for first, some in _batches(columns):
        block = slice(first * c_out, (first + len(some)) * c_out)
        for start, rows, below in _pieces(some, zs):
            total[block].addmm_(rows.mT, below)
            if v is not None:
                part = v[start : start + len(rows)]
                if into is None and first == 0:
                    torch.mm(rows, matrix[block], out=part)
                else:
                    part.addmm_(rows, matrix[block])
    gw = total.view(tops, count, c_out, bottoms, c_in).permute(0, 1, 3, 2, 4)
    return None if v is None else _each(v.view(*shape, bottoms, c_in), -2), gw


def _weights_alone(gs: Sequence[Tensor], zs: Sequence[Tensor], sigmas: Sigmas) -> Tensor:
    tops, bottoms, count, c_out, c_in = len(gs), len(zs), len(sigmas), gs[0].shape[-1], zs[0].shape[-1]
    if bottoms * c_in < tops * c_out:
        columns, others = _columns(zs, sigmas), list(gs)
        total = gs[0].new_zeros(bottoms * count * c_in, tops * c_out)
        order, sizes = (3, 1, 0, 4, 2), (bottoms, count, c_in, tops, c_out)
    else:
        columns, others = _columns(gs, inverses(sigmas)), list(zs)
        total = gs[0].new_zeros(tops * count * c_out, bottoms * c_in)
        order, sizes = (0, 1, 3, 2, 4), (tops, count, c_out, bottoms, c_in)
    for _, rows, below in _pieces(columns, others):
        total.addmm_(rows.mT, below)
    return total.view(sizes).permute(order)
