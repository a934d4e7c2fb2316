"""Convolutions of fields of 3-vectors whose kernels are scaled rotations, after geometric Clifford algebra networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.layers._fields import (
    TRANSPOSED,
    checked_groups,
    checked_padding_mode,
    convolution_options,
    convolved,
    merged,
    per_axis,
    shaken_field,
    split_channels,
)
from geomlib.layers._multivectors import checked_field, rows_symmetry

__all__ = [
    "RotationConv1d",
    "RotationConv2d",
    "RotationConv3d",
    "RotationConvTranspose1d",
    "RotationConvTranspose2d",
    "RotationConvTranspose3d",
]


class _RotationKernel(nn.Module):
    """The parameters: a quaternion and a scale per pair of channels and place, a bias per component and channel."""

    dims: ClassVar[int]
    in_channels: int
    out_channels: int
    _options: dict[str, Any]

    def __init__(self, shape: Sequence[int], biases: int) -> None:
        super().__init__()
        self.scale_param = nn.Parameter(torch.empty(*shape))
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(*shape)) for _ in range(4)])
        for p in (self.scale_param, *self.weights):
            nn.init.kaiming_uniform_(p, a=math.sqrt(5))
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.bias = (
            nn.ParameterList([nn.Parameter(torch.empty(biases).uniform_(-bound, bound)) for _ in range(3)])
            if biases
            else None
        )

    def kernel(self) -> Tensor:  # (first, 3, second, 3, *kernel)
        r"""Return the scaled rotation matrices.

        .. math:: s\, R(q), \qquad q = (w_0, w_1, w_2, w_3) / \sqrt{|w|^2 + 10^{-4}}
        """
        w = torch.stack(list(self.weights))
        r, i, j, k = (w * (w.square().sum(0) + 1e-4).rsqrt()).unbind(0)
        rows = [
            1 - 2 * (j * j + k * k), 2 * (i * j - r * k), 2 * (i * k + r * j),
            2 * (i * j + r * k), 1 - 2 * (i * i + k * k), 2 * (j * k - r * i),
            2 * (i * k - r * j), 2 * (j * k + r * i), 1 - 2 * (i * i + j * j),
        ]  # fmt: skip
        matrix = torch.stack(rows).unflatten(0, (3, 3)) * self.scale_param  # (3, 3, first, second, *kernel)
        return matrix.permute(2, 0, 3, 1, *range(4, matrix.dim()))

    def merged_bias(self) -> Tensor | None:
        """Return the biases as those of merged channels."""
        return None if self.bias is None else torch.stack(list(self.bias), 1).flatten()

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the batch."""
        return rows_symmetry()

    def extra_repr(self) -> str:
        """Return the channels and options."""
        kind = ", ".join(f"{k}={v}" for k, v in self._options.items())
        return (
            f"{self.in_channels} -> {self.out_channels}, kernel {tuple(self.scale_param.shape[2:])}, {kind}"
        )


class _RotationConv(_RotationKernel):
    def __init__(
        self,
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
        checked_groups(name, groups, in_channels=in_channels, out_channels=out_channels)
        size = per_axis(name, "kernel_size", kernel_size, dims, 1)
        super().__init__((out_channels, in_channels // groups, *size), out_channels * bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.padding_mode = checked_padding_mode(name, padding_mode)
        self._options = convolution_options(
            name, dims, groups, stride=stride, padding=padding, dilation=dilation
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in, *space, 3) -> (B, out, *space', 3)
        """Return the convolved field.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_field(type(self).__name__, x, self.in_channels, self.dims, 3, self.scale_param)
        kernel = self.kernel().flatten(2, 3).flatten(0, 1)
        out = convolved(merged(x), kernel, self.merged_bias(), self._options, self.padding_mode, self.dims)
        return split_channels(out, 3)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Any, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return shaken_field(cls(2, 3, 3, padding=1), generator, 2, cls.dims, 3)


class _RotationConvTranspose(_RotationKernel):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        name, dims = type(self).__name__, self.dims
        checked_groups(name, groups, in_channels=in_channels, out_channels=out_channels)
        size = per_axis(name, "kernel_size", kernel_size, dims, 1)
        super().__init__((in_channels, out_channels // groups, *size), out_channels * bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self._options = convolution_options(
            name,
            dims,
            groups,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in, *space, 3) -> (B, out, *space', 3)
        """Return the upsampled field.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_field(type(self).__name__, x, self.in_channels, self.dims, 3, self.scale_param)
        kernel = self.kernel().flatten(2, 3).flatten(0, 1)
        out = TRANSPOSED[self.dims](merged(x), kernel, self.merged_bias(), **self._options)
        return split_channels(out, 3)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Any, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return shaken_field(cls(2, 3, 4, stride=2, padding=1), generator, 2, cls.dims, 3)


class RotationConv1d(_RotationConv):
    r"""Convolution of vector fields on a line, whose kernel entries are scaled rotations.

    .. math:: y_o(p) = b_o + \sum_{i,u} s_{oi}(u)\, R(q_{oi}(u))\, x_i(p + u)

    Rotations are learned templates with the quaternion :math:`q = w / \sqrt{|w|^2 + 10^{-4}}`, whose matrices are built once
    per call for one ordinary convolution. Weights are named as in the authors' code.

    **Group** permutations of the batch (and shifts of the grid, as for any convolution): turning the vectors of the input does
    not turn those of the output. **Shapes** ``x`` (batch, in, space, 3) to (batch, out, space', 3).

    Args are those of ``torch.nn.Conv1d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConv1d(2, 4, 3, padding=1)(torch.randn(5, 2, 8, 3)).shape
    torch.Size([5, 4, 8, 3])
    """

    dims = 1


class RotationConv2d(_RotationConv):
    r"""Convolution of vector fields in the plane, whose kernel entries are scaled rotations.

    .. math:: y_o(p) = b_o + \sum_{i,u} s_{oi}(u)\, R(q_{oi}(u))\, x_i(p + u)

    Rotations are learned templates with the quaternion :math:`q = w / \sqrt{|w|^2 + 10^{-4}}`, whose matrices are built once
    per call for one ordinary convolution. Weights are named as in the authors' code.

    **Group** permutations of the batch (and shifts of the grid, as for any convolution): turning the vectors of the input does
    not turn those of the output. **Shapes** ``x`` (batch, in, space, 3) to (batch, out, space', 3).

    Args are those of ``torch.nn.Conv2d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConv2d(2, 4, 3, padding=1)(torch.randn(5, 2, 8, 8, 3)).shape
    torch.Size([5, 4, 8, 8, 3])
    """

    dims = 2


class RotationConv3d(_RotationConv):
    r"""Convolution of vector fields in space, whose kernel entries are scaled rotations.

    .. math:: y_o(p) = b_o + \sum_{i,u} s_{oi}(u)\, R(q_{oi}(u))\, x_i(p + u)

    Rotations are learned templates with the quaternion :math:`q = w / \sqrt{|w|^2 + 10^{-4}}`, whose matrices are built once
    per call for one ordinary convolution. Weights are named as in the authors' code.

    **Group** permutations of the batch (and shifts of the grid, as for any convolution): turning the vectors of the input does
    not turn those of the output. **Shapes** ``x`` (batch, in, space, 3) to (batch, out, space', 3).

    Args are those of ``torch.nn.Conv3d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConv3d(2, 4, 3, padding=1)(torch.randn(5, 2, 4, 4, 4, 3)).shape
    torch.Size([5, 4, 4, 4, 4, 3])
    """

    dims = 3


class RotationConvTranspose1d(_RotationConvTranspose):
    r"""The transpose of :class:`RotationConv1d`, for upsampling: kernel entries act as scaled inverse rotations.

    .. math:: y_o(p) = b_o + \sum_{i} \sum_{S u + v = p} s_{io}(v)\, R(q_{io}(v))^{\top}\, x_i(u)

    with stride S. The authors' code uses the block kernel of the convolution, so it applies :math:`R^\top` too, and its
    checkpoints load.

    **Group** permutations of the batch: see :class:`RotationConv1d`.
    **Shapes** ``x`` (batch, in, space, 3) to (batch, out, larger space, 3).

    Args are those of ``torch.nn.ConvTranspose1d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConvTranspose1d(2, 4, 4, stride=2, padding=1)(torch.randn(5, 2, 8, 3)).shape
    torch.Size([5, 4, 16, 3])
    """

    dims = 1


class RotationConvTranspose2d(_RotationConvTranspose):
    r"""The transpose of :class:`RotationConv2d`, for upsampling: kernel entries act as scaled inverse rotations.

    .. math:: y_o(p) = b_o + \sum_{i} \sum_{S u + v = p} s_{io}(v)\, R(q_{io}(v))^{\top}\, x_i(u)

    with stride S. The authors' code uses the block kernel of the convolution, so it applies :math:`R^\top` too, and its
    checkpoints load.

    **Group** permutations of the batch: see :class:`RotationConv2d`.
    **Shapes** ``x`` (batch, in, space, 3) to (batch, out, larger space, 3).

    Args are those of ``torch.nn.ConvTranspose2d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConvTranspose2d(2, 4, 4, stride=2, padding=1)(torch.randn(5, 2, 8, 8, 3)).shape
    torch.Size([5, 4, 16, 16, 3])
    """

    dims = 2


class RotationConvTranspose3d(_RotationConvTranspose):
    r"""The transpose of :class:`RotationConv3d`, for upsampling: kernel entries act as scaled inverse rotations.

    .. math:: y_o(p) = b_o + \sum_{i} \sum_{S u + v = p} s_{io}(v)\, R(q_{io}(v))^{\top}\, x_i(u)

    with stride S. The authors' code uses the block kernel of the convolution, so it applies :math:`R^\top` too, and its
    checkpoints load.

    **Group** permutations of the batch: see :class:`RotationConv3d`.
    **Shapes** ``x`` (batch, in, space, 3) to (batch, out, larger space, 3).

    Args are those of ``torch.nn.ConvTranspose3d``, with one bias per component and channel.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> RotationConvTranspose3d(2, 4, 4, stride=2, padding=1)(torch.randn(5, 2, 4, 4, 4, 3)).shape
    torch.Size([5, 4, 8, 8, 8, 3])
    """

    dims = 3
