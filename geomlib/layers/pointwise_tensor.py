"""Functions of single entries, where the group allows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.diagrams.masks import kept
from geomlib.layers._tensors import (
    checked_channels,
    checked_mask,
    checked_tensor,
    declared,
    random_tensors,
)

__all__ = ["PointwiseTensor"]


class PointwiseTensor(nn.Module):
    r"""A function of every entry of a tensor.

    .. math:: y_{I} = \phi(x_{I})

    Permutations of the axes keep this form: S_n, A_n and automorphisms of graphs allow every function, signed permutations
    odd ones. No other group does, and the layer refuses it. With a mask, entries of absent nodes are zero again.

    **Group** S_n, A_n, Aut(G); B(n) for odd functions. **Shapes** ``x`` (B, C, n, ..., n), ``mask`` (B, n), to the shape
    of x.

    Args:
        group: as text, ``"S_n"``, ``"A_5"``, ``"B(3)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        fn: the function; for B(n) its oddness is tried out on a grid.
        order: number of axes of x that the group acts on.

    Raises:
        InvalidInput: a group that does not allow the function; wrong shapes at the call.

    Source: Pearce-Crump, *Connecting permutation equivariant neural networks and partition diagrams*, arXiv 2212.08648.

    >>> PointwiseTensor("S_n", torch.relu)(torch.tensor([[[-1.0, 2.0]]]))
    tensor([[[0., 2.]]])
    >>> PointwiseTensor("O(3)", torch.relu)
    Traceback (most recent call last):
    ...
    geomlib.errors.InvalidInput: PointwiseTensor: a pointwise relu is not O(3)-equivariant. Use GatedTensor or NormTensor.
    """

    def __init__(
        self, group: str | TensorGroup, fn: Callable[[Tensor], Tensor] = torch.relu, order: int = 1
    ) -> None:
        super().__init__()
        checked_channels("PointwiseTensor", order=order)
        self.group, self.fn, self.order = tensor_group(group), fn, order
        self.called = getattr(fn, "__name__", type(fn).__name__)
        if not self.group.pointwise and self.group.kind != "B":
            raise InvalidInput(
                f"PointwiseTensor: a pointwise {self.called} is not {self.group.name}-equivariant. "
                "Use GatedTensor or NormTensor."
            )
        if self.group.kind == "B" and not _odd(fn):
            raise InvalidInput(
                f"PointwiseTensor: {self.group.name} flips signs, and {self.called} is not odd. Use an odd function such as "
                "torch.tanh, or GatedTensor."
            )

    @full_precision
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # (B, C, n, ..., n), (B, n)
        """Return the values.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_tensor("PointwiseTensor", "x", x, self.group, self.order, None)
        y = self.fn(x)
        if mask is not None:
            checked_mask("PointwiseTensor", mask, self.group, x.shape[0], x.shape[-1])
            y = kept(y, mask)
        return y

    @property
    def symmetry(self) -> Symmetry:
        """The group on both sides."""
        return declared(self.group, {"x": self.order}, self.order)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": random_tensors(self.group, {self.order: 3}, generator)[self.order]}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[PointwiseTensor, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("S_n", nn.functional.silu, order=2)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group, the function and the order."""
        return f"{self.group}, {self.called}, order {self.order}"


def _odd(fn: Callable[[Tensor], Tensor]) -> bool:
    grid = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)
    with torch.no_grad():
        return torch.allclose(fn(grid), -fn(-grid), rtol=1e-12, atol=1e-12)
