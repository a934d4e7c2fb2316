"""Linear maps and convolutions that multiply multivectors by multivectors from the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.blades import signs_of, xor_indices
from geomlib.algebra.symmetry import Symmetry
from geomlib.layers._fields import (
    checked_groups,
    checked_padding_mode,
    convolution_options,
    convolved,
    merged,
    per_axis,
    shaken_field,
    split_channels,
)
from geomlib.layers._multivectors import checked, checked_field, checked_sizes, example_of, rows_symmetry

__all__ = ["CliffordConv1d", "CliffordConv2d", "CliffordConv3d", "CliffordLinear"]


class _RightProduct(nn.Module):
    """Multivector weights (2^n, out, in, ...), and the real matrix by which they act."""

    def __init__(self, algebra: CliffordAlgebra, shape: Sequence[int], bias: bool) -> None:
        super().__init__()
        self.algebra = algebra
        self.weight = nn.Parameter(torch.empty(algebra.size, *shape))
        bound = 1 / math.sqrt(algebra.size * math.prod(shape[1:]))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.zeros(algebra.size, shape[0])) if bias else None
        # x_i w_k lands on i xor k = j, so entry (j, i) of the matrix is w_k with k = i xor j, and the sign of (i, k).
        k = xor_indices(algebra.n)
        signs = [
            [float(signs_of(algebra.metric)[i, k[i, j]]) for i in range(algebra.size)]
            for j in range(algebra.size)
        ]
        self.register_buffer("_right", torch.from_numpy(k.copy()), persistent=False)
        self.register_buffer("_signs", torch.tensor(signs), persistent=False)  # -1, 0 or 1: exact in any type
        self._right: Tensor
        self._signs: Tensor

    def matrix(self) -> Tensor:  # (out 2^n, in 2^n, ...)
        """Return the real matrix, with the blades of a channel next to one another."""
        w, size = self.weight, self.algebra.size
        found = w.index_select(0, self._right.flatten()).unflatten(0, (size, size))
        found = found * self._signs.to(w.dtype).view(size, size, *[1] * (w.dim() - 1))
        order = (2, 0, 3, 1, *range(4, found.dim()))  # (out, j, in, i, ...)
        return found.permute(order).flatten(2, 3).flatten(0, 1)

    def merged_bias(self) -> Tensor | None:
        """Return the bias in the order of the rows of :meth:`matrix`."""
        return None if self.bias is None else self.bias.T.flatten()

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows, or of the batch."""
        return rows_symmetry()


class CliffordLinear(_RightProduct):
    r"""A linear layer whose weights are multivectors that multiply from the right.

    .. math:: y_o = \sum_i x_i\, w_{oi} + b_o

    Without bias it commutes with multiplication of all inputs by one multivector from the left.

    **Group** permutations of rows only: :math:`u\, x\, u^{-1}\, w` is not :math:`u\, x\, w\, u^{-1}`, so the layer does not
    turn with its input; :class:`MVLinear` does. **Shapes** ``x`` (..., in, 2^n) to (..., out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the input.
        out_channels: of the output.
        bias: add a multivector per channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> CliffordLinear(CliffordAlgebra(0, 2), 4, 8)(torch.randn(5, 4, 4)).shape
    torch.Size([5, 8, 4])
    """

    def __init__(
        self, algebra: CliffordAlgebra, in_channels: int, out_channels: int, bias: bool = True
    ) -> None:
        checked_sizes("CliffordLinear", algebra, in_channels=in_channels, out_channels=out_channels)
        super().__init__(algebra, (out_channels, in_channels), bias)
        self.in_channels, self.out_channels = in_channels, out_channels

    def forward(self, x: Tensor) -> Tensor:  # (..., in, 2^n) -> (..., out, 2^n)
        """Return the products.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("CliffordLinear", x, self.algebra, self.in_channels, self.weight)
        out = nn.functional.linear(x.flatten(-2), self.matrix(), self.merged_bias())
        return out.unflatten(-1, (self.out_channels, self.algebra.size))

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CliffordLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(2, 1)
        return example_of(lambda: cls(algebra, 3, 2), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the algebra and the channels."""
        return f"{self.algebra}, {self.in_channels} -> {self.out_channels}, bias={self.bias is not None}"


class _CliffordConv(_RightProduct):
    dims: ClassVar[int]

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        name, dims = type(self).__name__, self.dims
        checked_sizes(name, algebra)
        checked_groups(name, groups, in_channels=in_channels, out_channels=out_channels)
        size = per_axis(name, "kernel_size", kernel_size, dims, 1)
        super().__init__(algebra, (out_channels, in_channels // groups, *size), bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.padding_mode = checked_padding_mode(name, padding_mode)
        self._options = convolution_options(
            name, dims, groups, stride=stride, padding=padding, dilation=dilation
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in, *space, 2^n) -> (B, out, *space', 2^n)
        """Return the convolved field.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        size = self.algebra.size
        checked_field(type(self).__name__, x, self.in_channels, self.dims, size, self.weight)
        out = convolved(
            merged(x), self.matrix(), self.merged_bias(), self._options, self.padding_mode, self.dims
        )
        return split_channels(out, size)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Any, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(1, 1)
        return shaken_field(cls(algebra, 2, 3, 3, padding=1), generator, 2, cls.dims, algebra.size)

    def extra_repr(self) -> str:
        """Return the algebra, the channels and options."""
        kind = ", ".join(f"{k}={v}" for k, v in self._options.items())
        return (
            f"{self.algebra}, {self.in_channels} -> {self.out_channels}, kernel {tuple(self.weight.shape[3:])}, {kind}, "
            f"bias={self.bias is not None}"
        )


class CliffordConv1d(_CliffordConv):
    r"""Convolution of multivector fields on a line, by multivectors that multiply from the right.

    .. math:: y_o(p) = \sum_{i,u} x_i(p + u)\, w_{oi}(u) + b_o

    The algebra may be any; the weights become the kernel of one ordinary convolution.

    **Group** permutations of the batch (and shifts of the grid): see :class:`CliffordLinear`.
    **Shapes** ``x`` (batch, in, space, 2^n) to (batch, out, space', 2^n).

    Args are the algebra, then those of ``torch.nn.Conv1d``, with one bias per blade and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> CliffordConv1d(CliffordAlgebra(1), 2, 4, 3, padding=1)(torch.randn(5, 2, 8, 2)).shape
    torch.Size([5, 4, 8, 2])
    """

    dims = 1


class CliffordConv2d(_CliffordConv):
    r"""Convolution of multivector fields in the plane, by multivectors that multiply from the right.

    .. math:: y_o(p) = \sum_{i,u} x_i(p + u)\, w_{oi}(u) + b_o

    The algebra may be any; the weights become the kernel of one ordinary convolution.

    **Group** permutations of the batch (and shifts of the grid): see :class:`CliffordLinear`.
    **Shapes** ``x`` (batch, in, space, 2^n) to (batch, out, space', 2^n).

    Args are the algebra, then those of ``torch.nn.Conv2d``, with one bias per blade and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> CliffordConv2d(CliffordAlgebra(2), 2, 4, 3, padding=1)(torch.randn(5, 2, 8, 8, 4)).shape
    torch.Size([5, 4, 8, 8, 4])
    """

    dims = 2


class CliffordConv3d(_CliffordConv):
    r"""Convolution of multivector fields in space, by multivectors that multiply from the right.

    .. math:: y_o(p) = \sum_{i,u} x_i(p + u)\, w_{oi}(u) + b_o

    The algebra may be any; the weights become the kernel of one ordinary convolution.

    **Group** permutations of the batch (and shifts of the grid): see :class:`CliffordLinear`.
    **Shapes** ``x`` (batch, in, space, 2^n) to (batch, out, space', 2^n).

    Args are the algebra, then those of ``torch.nn.Conv3d``, with one bias per blade and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> CliffordConv3d(CliffordAlgebra(3), 2, 4, 3, padding=1)(torch.randn(5, 2, 4, 4, 4, 8)).shape
    torch.Size([5, 4, 4, 4, 4, 8])
    """

    dims = 3
