"""One diagram at a time: permute the inputs, apply a planar diagram, permute the outputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import TensorGroup
from geomlib.algebra.diagrams.matrices import entries, require_group
from geomlib.algebra.permutations import levi_civita
from geomlib.errors import InvalidInput

__all__ = ["Factors", "apply", "factor", "planar_multiply"]


class Factors(NamedTuple):
    """A diagram as ``x.permute(bottom)``, then a planar diagram, then ``y.permute(top)``."""

    top: tuple[int, ...]
    planar: Diagram
    bottom: tuple[int, ...]


def factor(d: Diagram) -> Factors:
    """Write a diagram of partitions or matchings as permutation, planar diagram, permutation.

    In the planar diagram lines do not cross. From left to right its top row has the blocks of that row, largest first,
    the free legs, and the blocks that cross; its bottom row the free legs, the blocks that cross, and those of that row.

    Args:
        d: a diagram of kind ``partition``, ``brauer``, ``symplectic`` or ``grood``.

    Raises:
        InvalidInput: an orbit or jellyfish diagram.

    Source: E. Pearce-Crump, W. Knottenbelt, "A diagrammatic approach to improve computational efficiency in group
    equivariant neural networks", arXiv 2412.10837.

    >>> factor(Diagram([(0, 3), (1, 2), (4,)], 3, 2))
    Factors(top=(0, 1), planar=D[02|13|4: 3 -> 2], bottom=(1, 0, 2))
    """
    if d.kind not in ("partition", "brauer", "symplectic", "grood"):
        raise InvalidInput(f"factor: {d!r} of kind {d.kind!r} is no planar diagram between permutations.")
    l = d.l
    cross, above, below = d.cut()
    above = sorted(above, key=lambda b: (-len(b), b))
    below = sorted(below, key=lambda b: (-len(b), b))
    upper = [[leg for leg in b if leg < l] for b in cross]
    lower = [[leg for leg in b if leg >= l] for b in cross]
    free_top, free_bottom = [x for x in d.free if x < l], [x for x in d.free if x >= l]
    order = [leg for part in (*above, free_top, *upper) for leg in part]
    inputs = [leg for part in (free_bottom, *lower, *below) for leg in part]
    at = {leg: i for i, leg in enumerate([*order, *inputs])}
    blocks = [[at[leg] for leg in b] for b in d.blocks]
    planar = Diagram(blocks, d.k, l, d.kind, [at[leg] for leg in d.free])
    return Factors(tuple(at[leg] for leg in range(l)), planar, tuple(leg - l for leg in inputs))


def apply(d: Diagram, x: Tensor, group: TensorGroup) -> Tensor:  # (..., n, .., n) -> (..., n, .., n)
    """Return the image of tensors under one diagram without its matrix, in time about n^k + n^l.

    **Group**: the one given. **Shapes**: x has k axes of length n after any others, the result l.

    Partitions and matchings are factored; orbit and jellyfish diagrams gather and add signed entries.

    Args:
        d: the diagram.
        x: the tensors, of a floating type.
        group: a group of its kind; S_n without a size takes that of x.

    Raises:
        InvalidInput: axes of other lengths, or a diagram of another group.

    Source: E. Pearce-Crump, W. Knottenbelt, arXiv 2412.10837.

    >>> from geomlib.algebra.diagrams import S
    >>> apply(Diagram([(0, 1), (2,)], 2, 1), torch.arange(4.0).reshape(2, 2), S())
    tensor([1., 5.])
    """
    if x.dim() < d.k or (d.k and len(set(x.shape[x.dim() - d.k :])) > 1):
        raise InvalidInput(
            f"apply {d!r}: x of shape {tuple(x.shape)}, expected {d.k} last axes of one length n."
        )
    if d.k:
        group = group.sized(x.shape[-1])
    n = require_group(d, group)
    batch = x.shape[: x.dim() - d.k]
    if d.kind in ("orbit", "orbit+", "orbit-", "jellyfish"):
        where, value = entries(d, group)
        where, value = where.to(x.device), value.to(x)
        rows, columns = where // n**d.k, where % n**d.k
        flat = x.reshape(*batch, n**d.k)
        made = flat.new_zeros(*batch, n**d.l).index_add(-1, rows, flat[..., columns] * value)
        return made.reshape((*batch, *[n] * d.l))
    top, planar, bottom = factor(d)
    ahead = tuple(range(len(batch)))
    y = planar_multiply(planar, x.permute((*ahead, *(len(batch) + i for i in bottom))), group)
    return y.permute((*ahead, *(len(batch) + i for i in top)))


def planar_multiply(d: Diagram, x: Tensor, group: TensorGroup) -> Tensor:
    """Apply a planar diagram of `factor`: contract, transfer, copy.

    Args:
        d: the planar diagram.
        x: tensors with k last axes of length n.
        group: the group, with a size.
    """
    n, l = group.size, d.l
    cross, above, below = d.cut()
    upper_form, lower_form = (form.to(x) for form in group.forms())
    formed = d.kind == "symplectic" or group.kind == "Lorentz"
    for block in reversed(below):  # the last axes, one block after the other
        if formed:
            x = torch.tensordot(x, lower_form, dims=2)
            continue
        for _ in block[1:]:
            x = x.diagonal(0, -2, -1)
        x = x.sum(-1)
    free_top = [leg for leg in d.free if leg < l]
    lower = [[leg for leg in b if leg >= l] for b in cross]
    upper = [len(b) - len(low) for b, low in zip(cross, lower, strict=True)]
    if d.free:
        x = _epsilon(x, n, len(free_top), len(d.free) - len(free_top), sum(map(len, lower)))
    # Transfer: the diagonal of the lower part of every block, axes (free of the top row, one of each block).
    labels = list(range(len(free_top)))
    for i, low in enumerate(lower):
        labels += [len(free_top) + i] * len(low)
    held = list(range(len(free_top) + len(lower)))
    if labels != held:
        x = torch.einsum(x, [..., *labels], [..., *held])
    sizes = [1] * len(free_top) + upper
    if formed:
        return _with_forms(x, upper_form, len(above), len(cross))
    # Copy: blocks of the top row come first, and hold the same value everywhere on their diagonals.
    own = [len(b) for b in above]
    batch = x.dim() - len(held)
    x = x.reshape((*x.shape[:batch], *[1] * len(own), *x.shape[batch:]))
    return _on_diagonals(x, n, own + sizes)


def _epsilon(x: Tensor, n: int, above: int, below: int, others: int) -> Tensor:
    """Contract epsilon with the first ``below`` of the last ``below + others`` axes; its other legs come in their place."""
    epsilon = levi_civita(n).to(x)
    batch = x.shape[: x.dim() - below - others]
    flat = x.reshape(*batch, n**below, n**others)
    y = epsilon.reshape(n**above, n**below) @ flat
    return y.reshape((*batch, *[n] * (above + others)))


def _on_diagonals(x: Tensor, n: int, sizes: Sequence[int]) -> Tensor:
    """Return tensors that hold x on the diagonals of blocks of axes and zeros elsewhere; x may have axes of length 1."""
    if all(size == 1 for size in sizes):
        return x.expand((*x.shape[: x.dim() - len(sizes)], *[n] * len(sizes))).contiguous()
    batch = x.shape[: x.dim() - len(sizes)]
    y = x.new_zeros((*batch, *[n] * sum(sizes)))
    strides, steps = list(y.stride()), list[int]()
    at = len(batch)
    for size in sizes:
        steps.append(sum(strides[at : at + size]))
        at += size
    view = y.as_strided((*batch, *[n] * len(sizes)), (*strides[: len(batch)], *steps))
    view.copy_(x.expand_as(view))  # a view of different entries of a fresh tensor
    return y


def _with_forms(x: Tensor, form: Tensor, pairs: int, others: int) -> Tensor:
    """Return products with one form for each pair of axes that comes before the ``others`` last axes."""
    n, batch = form.shape[0], x.shape[: x.dim() - others]
    x = x.reshape((*batch, *[1] * (2 * pairs), *x.shape[len(batch) :]))
    for i in range(pairs):
        shape = [1] * (2 * pairs + others)
        shape[2 * i] = shape[2 * i + 1] = n
        x = x * form.reshape(shape)
    return x
