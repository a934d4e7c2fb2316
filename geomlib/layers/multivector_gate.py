"""Gates that read some components of a multivector or vector, with learned weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import (
    checked_field,
    checked_held,
    checked_sizes,
    example_of,
    held_blades,
    rows_symmetry,
    shaken,
    symmetry_of,
)

__all__ = ["MVAct", "VectorSiLU"]

_KINDS = ("linear", "sum", "mean")


class Depthwise(nn.Module):
    """One weight per channel and component, and one bias per channel; the shape is that of a convolution's kernel."""

    def __init__(self, channels: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, *shape))
        bound = 1 / math.sqrt(math.prod(shape))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def gates(self, x: Tensor) -> Tensor:  # (..., C, K) -> (..., C)
        """Return the weighted sums of the last axis."""
        return (x * self.weight.flatten(1)).sum(-1) + self.bias


def checked_kind(layer: str, kind: str) -> str:
    """Return ``kind``.

    Raises:
        InvalidInput: none of linear, sum and mean.
    """
    if kind not in _KINDS:
        raise InvalidInput(f"{layer}: agg={kind!r}, expected one of {', '.join(_KINDS)}.")
    return kind


class MVAct(nn.Module):
    r"""Multiply every multivector by the sigmoid of a combination of some of its blades.

    .. math:: y_c = \sigma\Big(\sum_{j \in B} a_{cj}\, x_{cj} + b_c\Big)\, x_c, \quad\text{or}\quad
              \sigma\Big(\sum_{j \in B} x_{cj}\Big)\, x_c, \quad \sigma\Big(\tfrac1{|B|} \sum_{j \in B} x_{cj}\Big)\, x_c

    **Group** Pin(p,q,r) if the only blade read is the scalar and all blades are held; otherwise permutations of rows only:
    a combination of other blades is no invariant, and the gate turns with no input. :class:`MVSiLU` reads invariants.
    **Shapes** ``x`` (..., channels, blades) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        agg: ``"linear"`` for learned combinations, ``"sum"`` or ``"mean"``.
        input_blades: names or numbers of the blades that the input holds; all by default.
        kernel_blades: those among them that the gate reads; all by default.

    Raises:
        InvalidInput: an unknown kind, blades that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> layer = MVAct(CliffordAlgebra(3, 0, 1), 4)
    >>> layer(torch.randn(5, 4, 16)).shape
    torch.Size([5, 4, 16])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        channels: int,
        agg: str = "linear",
        input_blades: Sequence[int] | Sequence[str] | None = None,
        kernel_blades: Sequence[int] | Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        checked_sizes("MVAct", algebra, channels=channels)
        self.algebra, self.channels, self.agg = algebra, channels, checked_kind("MVAct", agg)
        self.input_blades = held_blades("MVAct", algebra, input_blades)
        read = self.input_blades if kernel_blades is None else held_blades("MVAct", algebra, kernel_blades)
        if missing := [algebra.blade_names[b] for b in read if b not in self.input_blades]:
            raise InvalidInput(f"MVAct: kernel_blades: the input does not hold {', '.join(missing)}.")
        self.kernel_blades = read
        self._read = [self.input_blades.index(b) for b in read]
        self.conv = Depthwise(channels, [len(read)]) if agg == "linear" else None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, blades)
        """Return the gated multivectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        like = x if self.conv is None else self.conv.weight
        checked_held("MVAct", x, self.channels, self.input_blades, self.algebra, like)
        part = x if len(self._read) == x.shape[-1] else x[..., self._read]
        if self.conv is not None:
            gate = self.conv.gates(part)
        else:
            gate = part.sum(-1) if self.agg == "sum" else part.mean(-1)
        return torch.sigmoid(gate).unsqueeze(-1) * x

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r) for gates that read scalars, else permutations of rows."""
        if self.kernel_blades == (0,) and len(self.input_blades) == self.algebra.size:
            return symmetry_of(self.algebra)
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVAct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3, 0, 1)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the channels, the kind and the blades that are read."""
        names = ", ".join(self.algebra.blade_names[b] for b in self.kernel_blades)
        return f"{self.channels}, agg={self.agg!r}, reads {names}"


class VectorSiLU(nn.Module):
    r"""Multiply the vectors of a field by the sigmoid of a combination of their components.

    .. math:: y_c = \sigma(a_c \cdot v_c + b_c)\, v_c, \quad\text{or}\quad \sigma(v_{c1} + v_{c2} + v_{c3})\, v_c,
              \quad \sigma(\tfrac13 (v_{c1} + v_{c2} + v_{c3}))\, v_c

    **Group** permutations of the fields of a batch only: components are no invariants.
    **Shapes** ``x`` (batch, channels, space, 3) to the same.

    Args:
        channels: of the input.
        agg: ``"linear"`` for learned combinations, ``"sum"`` or ``"mean"``.
        dims: number of axes of space.

    Raises:
        InvalidInput: an unknown kind; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> VectorSiLU(4)(torch.randn(2, 4, 8, 8, 3)).shape
    torch.Size([2, 4, 8, 8, 3])
    """

    def __init__(self, channels: int, agg: str = "linear", dims: int = 2) -> None:
        super().__init__()
        if channels < 1 or dims < 0:
            raise InvalidInput(
                f"VectorSiLU: channels={channels}, dims={dims}: expected 1 or more, 0 or more."
            )
        self.channels, self.dims, self.agg = channels, dims, checked_kind("VectorSiLU", agg)
        self.conv = Depthwise(channels, [*[1] * dims, 3]) if agg == "linear" else None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, *space, 3)
        """Return the gated vectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        like = x if self.conv is None else self.conv.weight
        checked_field("VectorSiLU", x, self.channels, self.dims, 3, like)
        if self.conv is not None:
            gate = self.conv.gates(x.movedim(1, -2)).movedim(-1, 1)
        else:
            gate = x.sum(-1) if self.agg == "sum" else x.mean(-1)
        return torch.sigmoid(gate).unsqueeze(-1) * x

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the batch."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[VectorSiLU, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return shaken(cls(2), generator), {"x": torch.randn(3, 2, 4, 5, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the channels and the kind."""
        return f"{self.channels}, agg={self.agg!r}, dims={self.dims}"
