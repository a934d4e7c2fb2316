"""Axes that become one and sums over them, as views with the strides of the tensor at hand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geomlib.algebra.diagrams import TensorGroup
from geomlib.kernels.diagrams.constants import Constant
from geomlib.kernels.diagrams.waist import Blocks

__all__ = ["Form", "Forms", "forms_of", "merge_axes", "summed", "summed_into"]

#: A form by its diagonals: offset, and weights along it; None for ones.
Form = tuple[tuple[int, Constant | None], ...]
_DELTA: Form = ((0, None),)


@dataclass(frozen=True)
class Forms:
    """The forms of a group on pairs of legs in the top row and in the bottom row."""

    top: Form
    bottom: Form


def forms_of(group: TensorGroup) -> Forms:
    """Return the forms by diagonals; plain ones for groups of permutations and of rotations."""
    if group.kind not in ("Sp", "Lorentz"):
        return Forms(_DELTA, _DELTA)
    top, bottom = (_diagonals(form) for form in group.forms())
    return Forms(top, bottom)


def _diagonals(form: Tensor) -> Form:
    lines = {offset: form.diagonal(offset) for offset in range(1 - len(form), len(form))}
    return tuple((offset, Constant(v)) for offset, v in lines.items() if bool(v.any()))


def merge_axes(t: Tensor, groups: Blocks, lead: int) -> Tensor:
    """Return a view of the diagonal where the axes of each group are one, groups in order.

    Args:
        t: with ``lead`` axes first, and then the axes that are counted from 0 in ``groups``, all of them in one group;
            any other axes last.
        groups: axes that become one.
        lead: number of axes in front.

    >>> import torch
    >>> merge_axes(torch.arange(8).view(2, 2, 2), ((0, 2), (1,)), 0)
    tensor([[0, 2],
            [5, 7]])
    """
    if all(len(g) == 1 for g in groups):
        order = [g[0] for g in groups]
        if order == list(range(len(order))):
            return t
    count = sum(map(len, groups))
    labels = [*range(-lead, 0), *range(count), *range(count, t.dim() - lead)]
    for g in groups:
        for other in g[1:]:
            i, j = labels.index(g[0]), labels.index(other)
            t = t.diagonal(0, i, j)
            labels = [a for a in labels if a not in (g[0], other)] + [g[0]]
    order = [
        *range(-lead, 0),
        *(g[0] for g in groups),
        *range(count, count + len(labels) - lead - len(groups)),
    ]
    return t.permute([labels.index(a) for a in order])


def _line(t: Tensor, axes: tuple[int, ...], lead: int, offset: int) -> Tensor:
    """Return the diagonal over some axes as the last axis of a view."""
    if len(axes) == 1:
        return t.movedim(lead + axes[0], -1)
    line = t.diagonal(offset, lead + axes[0], lead + axes[1])
    for done, axis in enumerate(axes[2:]):
        # Both axes of a diagonal leave their places; the line is last.
        line = line.diagonal(0, lead + axis - 2 - done, -1)
    return line


def summed(t: Tensor, axes: tuple[int, ...], lead: int, form: Form) -> Tensor:
    """Return the sum over axes that become one; two axes meet in the form.

    >>> import torch
    >>> summed(torch.ones(3, 3), (0, 1), 0, ((0, None),))
    tensor(3.)
    """
    if len(axes) == 1:
        return t.sum(lead + axes[0])
    if len(axes) > 2:
        return _line(t, axes, lead, 0).sum(-1)
    total = None
    for offset, weights in form:
        line = _line(t, axes, lead, offset)
        part = (line if weights is None else line * weights.like(line)).sum(-1)
        total = part if total is None else total + part
    return t.new_zeros(()) if total is None else total


def summed_into(target: Tensor, u: Tensor, axes: tuple[int, ...], lead: int, form: Form) -> None:
    """Add to a tensor what the transposed of :func:`summed` makes of ``u``; the places written do not overlap."""
    if len(axes) != 2:
        _line(target, axes, lead, 0).add_(u.unsqueeze(-1))
        return
    for offset, weights in form:
        line = _line(target, axes, lead, offset)
        line.add_(u.unsqueeze(-1) if weights is None else u.unsqueeze(-1) * weights.like(u))
