"""Inputs that a target does not read: a check learns nothing about them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch

from geomlib.errors import InvalidInput
from geomlib.verify.moves import Types
from geomlib.verify.statistic import Evaluated
from geomlib.verify.target import COTANGENT, GRADIENT, Target
from geomlib.verify.values import Tree, leaves, replaced

__all__ = ["unread_inputs"]


def unread_inputs(target: Target, at: Evaluated, other: Tree, inputs: Types) -> list[str]:
    """Return the inputs that the group can move, but that change no output when they are exchanged.

    Typical are networks whose last weights start at zero, and a cell beside ``pbc=False``.

    Args:
        target: the callable.
        at: one input with its outputs.
        other: unrelated inputs, from which single tensors are taken.
        inputs: types of the inputs.
    """
    before, found = leaves(other), list[str]()
    outputs = {n: x for n, x in at.wide.items() if not n.startswith(GRADIENT)}
    for name, x in leaves(at.tree).items():
        t, y = inputs.get(name), before.get(name)
        if t is None or y is None or not t.moves or name.startswith(COTANGENT) or not x.is_floating_point():
            continue
        if y.shape != x.shape or torch.equal(x, y):
            continue
        try:
            after = target.wide(replaced(at.tree, {name: y}), gradients=False)
        except (InvalidInput, RuntimeError, ValueError, IndexError):
            continue  # the two inputs do not go together
        if all(
            n in after and after[n].shape == z.shape and torch.equal(after[n], z) for n, z in outputs.items()
        ):
            found.append(name)
    return found
