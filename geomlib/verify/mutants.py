"""Automatic mutants: slightly broken copies of a module, which a check must catch.

A check that cannot fail proves nothing, so the harness breaks every module on purpose and demands BROKEN.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry, TensorType
from geomlib.verify.values import leaves, map_leaves

__all__ = ["SIZE", "Mutant", "mutant"]

#: Relative size of the fault.
SIZE = 1e-4


class Mutant(nn.Module):
    """A module whose outputs (or, for invariant outputs, inputs) are slightly anisotropic.

    Args:
        inner: the correct module, with ``symmetry`` and ``example``.
        fault: ``"output"`` scales one axis of every output that turns, and the first node of every output with an axis of
            nodes, ``"input"`` the same of every input, ``"order"`` the first row of every output.
    """

    def __init__(self, inner: nn.Module, fault: str):
        super().__init__()
        self.inner, self.fault = inner, fault

    @property
    def symmetry(self) -> Symmetry:
        """What the correct module declares."""
        declared = cast(Symmetry, self.inner.symmetry)
        return Symmetry(declared.group, declared.inputs, declared.outputs)

    def example(self, generator: torch.Generator) -> Any:
        """Return the example of the correct module."""
        return self.inner.example(generator)  # pyright: ignore[reportCallIssue]

    @property
    def example_inputs(self) -> Any:
        """Inputs of the very instance that is broken here, where it makes them; else None."""
        return getattr(self.inner, "example_inputs", None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of the correct module, with the fault."""
        declared = self.symmetry
        if self.fault == "input":
            types = declared.input_types()
            args = tuple(map_leaves({str(i): a for i, a in enumerate(args)}, _stretch(types)).values())
            return self.inner(*args, **map_leaves(kwargs, _stretch(types)))
        out = self.inner(*args, **kwargs)
        change = _stretch(declared.output_types()) if self.fault == "output" else _favour_first
        if isinstance(out, Tensor):
            return change("out", out)
        if isinstance(out, Mapping):
            return map_leaves(dict(out), change)
        return tuple(change(str(i), x) if isinstance(x, Tensor) else x for i, x in enumerate(out))


def mutant(module: nn.Module, example: Mapping[str, Any]) -> Mutant:
    """Return a broken copy of a module, with the fault that its types make visible.

    Args:
        module: the correct module.
        example: its inputs, which say which optional arguments and outputs exist.
    """
    declared = cast(Symmetry, module.symmetry)
    turns = "(3)" in declared.group and "T(3)" not in declared.group
    present = set(leaves(dict(example)))
    if turns and any(t.moves and _axis(t) is not None for t in declared.output_types().values()):
        return Mutant(module, "output")
    if turns and any(t.moves for name, t in declared.input_types().items() if name in present):
        return Mutant(module, "input")
    if any(t.kind == "perm" for t in declared.output_types().values()):
        return Mutant(module, "output")
    if any(t.kind == "perm" for name, t in declared.input_types().items() if name in present):
        return Mutant(module, "input")
    return Mutant(module, "order")


def _axis(t: TensorType) -> tuple[int, int] | None:
    """Return axis and position of one component that a rotation, or a permutation of nodes, mixes with others."""
    if t.kind == "perm":
        return (0, 0) if t.scope == "node" else (-1, 0)
    if t.kind == "cartesian":
        return -2, 1
    if t.kind == "irreps":
        start = 0
        for block in t.irreps:
            if block.l > 0 and block.mul:
                return -1, start
            start += block.dim
        return None
    return (-1, 0) if t.moves and t.kind != "pseudoscalar" else None


def _stretch(types: Mapping[str, TensorType]) -> Any:
    def change(name: str, x: Tensor) -> Tensor:
        t = types.get(name)
        where = None if t is None else _axis(t)
        if where is None or not x.is_floating_point():
            return x
        axis, position = where
        factor = torch.ones(x.shape[axis], dtype=x.dtype, device=x.device)
        factor[position] += SIZE
        return x * factor.reshape(-1, *[1] * ((x.dim() if axis >= 0 else 0) - axis - 1))

    return change


def _favour_first(_: str, x: Tensor) -> Tensor:
    if not x.is_floating_point() or x.dim() == 0 or not x.shape[0]:
        return x
    factor = torch.ones(x.shape[0], dtype=x.dtype, device=x.device)
    factor[0] += SIZE
    return x * factor.reshape(-1, *[1] * (x.dim() - 1))
